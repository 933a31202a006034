package awswire

import "net/http"

// An Error is a failure that the caller may see. A handler returns one of its service's errors;
// any other error becomes the service's internal failure, and its text stays in our log.
type Error struct {
	Code    string // as AWS documents it, such as "ClusterNotFoundException"
	Message string
	Status  int               // HTTP status; 0 means 400
	Members map[string]string // of the error's own shape, beside its message; JSON services only
	Err     error             // cause, for the log; never sent
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Code + ": " + e.Message + ": " + e.Err.Error()
	}
	return e.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) status() int {
	if e.Status == 0 {
		return http.StatusBadRequest
	}
	return e.Status
}
