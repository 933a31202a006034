package awsauth

import (
	"context"
	"errors"
	"time"
)

// ErrUnknownKey is what Keys.Lookup returns for an access key id that nobody has.
var ErrUnknownKey = errors.New("unknown access key")

// A Key is an access key with its owner.
type Key struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // of a temporary key; a request must carry just this one
	Account         string // 12 digits
	ARN             string // of the owner
	UserID          string // of the owner
	Root            bool
	Role            string    // name of the role, of a role's session; "" for others
	SessionPolicy   string    // what a session was narrowed to; "" for none
	Expires         time.Time // zero: never
}

// Keys finds access keys. Any error but ErrUnknownKey is an internal failure.
type Keys interface {
	// Lookup finds a key. token is the request's session token, which holds what a temporary key
	// is; "" if the request has none.
	Lookup(ctx context.Context, accessKeyID, token string) (Key, error)
}
