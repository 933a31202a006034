package ssm

import (
	"context"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// pulling begins what AWS says of a parameter that a task can't have; the message ends with the cause.
const pulling = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: service call has been retried 1 time(s): "

// Value is the decrypted value that a container's secret refers to: a parameter's name, or its ARN, in any region
// of the account, each with ":version" or ":label" behind it or not. Its errors are *state.InitializationError.
func (s *Service) Value(ctx context.Context, sc arn.Scope, valueFrom string) (string, error) {
	ref, err := parse(sc, valueFrom)
	if err != nil || ref.scope.Account != sc.Account {
		return "", &state.InitializationError{Message: pulling + "invalid ssm parameters: " + valueFrom, Permanent: true, Err: err}
	}
	var value string
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		p, v, err := lookup(tx, ref.scope, ref)
		if err == nil {
			value, err = s.value(p, v)
		}
		return err
	})
	switch {
	case err == nil:
		return value, nil
	case missing(err):
		return "", &state.InitializationError{Message: pulling + "invalid ssm parameters: " + valueFrom, Permanent: true, Err: err}
	}
	return "", &state.InitializationError{Message: pulling + "InternalServerError: " + valueFrom + " can't be read; the server's log tells why", Err: err}
}
