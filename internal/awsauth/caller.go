package awsauth

import (
	"context"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
)

// A Caller is who signed a request.
type Caller struct {
	Account     string // 12 digits
	Region      string // of the credential scope
	AccessKeyID string
	ARN         string // such as arn:aws:iam::000000000000:root
	UserID      string
	Root        bool      // may do everything in its account
	Expires     time.Time // of a temporary key; zero for others

	// Of a session of a role, whose policies say what it may do:
	Role          string // name; "" for others
	SessionPolicy string // a policy that narrows the role's; "" for none
}

type callerKey struct{}

// WithCaller returns a context that carries the caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller that the Mux put into a handler's context; the zero Caller if there is none.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// ScopeFrom is the account and region of CallerFrom's caller.
func ScopeFrom(ctx context.Context) arn.Scope {
	c := CallerFrom(ctx)
	return arn.Scope{Account: c.Account, Region: c.Region}
}
