package oci

import "net/http"

// An Action is what a request wants to do.
type Action int

// The actions. Login is asked of requests that name no repository.
const (
	Login Action = iota
	Pull
	Push
	Delete
)

func (a Action) String() string {
	return [...]string{"login", "pull", "push", "delete"}[a]
}

// An Authorizer lets a request pass (nil) or refuses it, with an *Error that is sent as it is.
// repo is "" for Login. It is asked before anything is said about whether the repository exists.
type Authorizer interface {
	Authorize(r *http.Request, repo string, action Action) error
}
