package secrets

import (
	"errors"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Source: CreateSecret, Name; '!' is in the service's own error text.
var nameForm = lazyregexp.New(`^[A-Za-z0-9/_+=.@!\-]{1,512}$`)

// suffixSize is the length of what an ARN has behind a secret's name, the hyphen with it.
const suffixSize = 7

// find reads the secret that an id names: its name, its ARN, or its ARN without the suffix. Source: GetSecretValue, SecretId;
// and "Finding a secret from a partial ARN" of the user guide.
func find(tx store.Reader, sc arn.Scope, id string, now time.Time) (o store.Object[state.Secret], err error) {
	if id == "" || len(id) > 2048 {
		return o, constraint(id, "secretId", "Member must have length between 1 and 2048")
	}
	name := id
	if arn.IsARN(id) {
		a, err := arn.Parse(id)
		if err != nil || a.Service != "secretsmanager" || !strings.HasPrefix(a.Resource, "secret:") {
			return o, awsError("ValidationException", "Invalid ARN: "+id)
		}
		if a.Account != sc.Account || a.Region != sc.Region {
			return o, errNoSecret
		}
		name = strings.TrimPrefix(a.Resource, "secret:")
		if n := len(name) - suffixSize; n > 0 && name[n] == '-' {
			o, err = live(tx, sc, name[:n], now)
			if err == nil && o.Val.ARN() == id || err != nil && !errors.Is(err, store.ErrNotFound) {
				return o, err
			}
		}
	}
	if !nameForm.MatchString(name) {
		return o, errName
	}
	o, err = live(tx, sc, name, now)
	return o, or(err, errNoSecret)
}

// usable is find for operations that a secret marked for deletion refuses.
func usable(tx store.Reader, sc arn.Scope, id string, now time.Time) (store.Object[state.Secret], error) {
	o, err := find(tx, sc, id, now)
	if err == nil && !o.Val.MarkedAt.IsZero() {
		err = errMarked
	}
	return o, err
}

// live reads a secret whose recovery window isn't over.
func live(tx store.Reader, sc arn.Scope, name string, now time.Time) (store.Object[state.Secret], error) {
	o, err := state.Secrets.Get(tx, sc.Key(name))
	if err == nil && o.Val.Gone(now) {
		err = store.ErrNotFound
	}
	return o, err
}

// versionOf reads a version of a secret by its ID, by a staging label, or by both.
func versionOf(tx store.Reader, s state.Secret, id, stage string) (o store.Object[state.SecretVersion], err error) {
	kind, asked := "VersionId", id
	if id == "" {
		if stage == "" {
			stage = current
		}
		kind, asked, id = "staging label", stage, s.Stages[stage]
		if id == "" {
			return o, errNoVersion(kind, asked)
		}
	}
	o, err = state.SecretVersions.Get(tx, state.SecretVersionKey(s.Scope, s.Name, id))
	if err == nil && stage != "" && s.Stages[stage] != id {
		err = errStage
	}
	return o, or(err, errNoVersion(kind, asked))
}
