package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
)

// pulling begins what AWS says of a secret that a task can't have; the message ends with the cause.
const pulling = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): "

// Value is what a container's secret refers to: an ARN, whole or without its suffix, in any region of the account,
// with ":json-key:version-stage:version-id" behind it or not; any of the three may be empty. Of a JSON object's member a
// string is its text, anything else its JSON. Its errors are *state.InitializationError.
func (s *Service) Value(ctx context.Context, sc arn.Scope, valueFrom string) (string, error) {
	// Source: ECS developer guide, "Pass Secrets Manager secrets through environment variables".
	a, err := arn.Parse(valueFrom)
	p := strings.Split(a.Resource, ":")
	if err != nil || a.Service != "secretsmanager" || p[0] != "secret" || len(p) != 2 && len(p) != 5 {
		return "", failed(valueFrom, "ValidationException: Invalid ARN: "+valueFrom, true, err)
	}
	p = append(p, "", "", "")
	name, key, stage, version := p[1], p[2], p[3], p[4]
	a.Resource = "secret:" + name
	if a.Account != sc.Account {
		return "", failed(a.String(), errNoSecret.Code+": "+errNoSecret.Message, true, nil)
	}
	f, err := s.fetch(ctx, arn.Scope{Account: a.Account, Region: a.Region}, a.String(), version, stage)
	var e *awswire.Error
	switch {
	case errors.As(err, &e):
		return "", failed(a.String(), e.Code+": "+e.Message, true, err)
	case err != nil:
		return "", failed(a.String(), "InternalServiceError: it can't be read; the server's log tells why", false, err)
	case f.version.Binary:
		return "", failed(a.String(), "the secret has a SecretBinary; a container can have a SecretString only", true, nil)
	case key == "":
		return string(f.data), nil
	}
	text, problem := member(f.data, key)
	if problem != "" {
		return "", &state.InitializationError{Message: pulling + problem, Permanent: true}
	}
	return text, nil
}

// Private

func failed(secret, cause string, permanent bool, err error) *state.InitializationError {
	return &state.InitializationError{Message: pulling + "failed to fetch secret " + secret + " from secrets manager: " + cause, Permanent: permanent, Err: err}
}

// member is a member of a JSON object. What is wrong is told without telling any of the value.
func member(object []byte, key string) (text, problem string) {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil || members == nil {
		return "", "retrieved secret from Secrets Manager is not a JSON object, so it has no json key " + key
	}
	raw, ok := members[key]
	if !ok {
		return "", "retrieved secret from Secrets Manager did not contain json key " + key
	}
	if json.Unmarshal(raw, &text) == nil && raw[0] == '"' {
		return text, ""
	}
	var b bytes.Buffer
	_ = json.Compact(&b, raw) // it was decoded before
	return b.String(), ""
}
