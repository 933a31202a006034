package secrets

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Staging labels that Secrets Manager moves by itself.
const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
)

// Limits. Source: "Secrets Manager quotas", and PutSecretValue.
const (
	maxValue    = 65536 // bytes
	maxVersions = 100   // that are kept; younger ones than keepAll are kept all
	keepAll     = 24 * time.Hour
	maxStages   = 20 // of a version
)

// A value is what a request gives for a new version.
type value struct {
	data   []byte
	binary bool
}

// valueOf reads a request's value; ok is false if there is none.
func valueOf(text *string, binary []byte) (v value, ok bool, err error) {
	switch {
	case text != nil && binary != nil:
		return v, false, errTwoValues
	case text != nil:
		v = value{[]byte(*text), false}
	case binary != nil:
		v = value{binary, true}
	default:
		return v, false, nil
	}
	if len(v.data) == 0 || len(v.data) > maxValue {
		return v, false, awsError("ValidationException", "1 validation error detected: The secret value failed to satisfy constraint: Member must have length between 1 and 65536")
	}
	return v, true, nil
}

// tokenOf is the ID of a request's new version.
func tokenOf(token *string) (string, error) {
	t := aws.ToString(token)
	switch {
	case t == "":
		return uuid.NewString(), nil
	case len(t) < 32 || len(t) > 64 || bytes.ContainsAny([]byte(t), "\x00/:"):
		return "", errToken
	}
	return t, nil
}

// add makes a version of a secret with staging labels, unless it is there already with the same value: then nothing changes.
// The secret's record is changed, not put.
func (s *Service) add(tx *store.WriteTx, sec *state.Secret, id string, v value, stages []string) (added bool, err error) {
	o, err := state.SecretVersions.Get(tx, state.SecretVersionKey(sec.Scope, sec.Name, id))
	if err == nil {
		return false, s.same(*sec, o.Val, v)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	if len(sec.Stages) == 0 && !slices.Contains(stages, current) {
		stages = append(stages, current)
	}
	o.Val = state.SecretVersion{ID: id, Binary: v.binary, CreatedAt: tx.Now()}
	if o.Val.Sealed, err = s.o.Key.Seal(v.data, recordOf(*sec, id)); err != nil {
		return false, err
	}
	for _, stage := range stages {
		move(sec, stage, id)
	}
	sec.ChangedAt = tx.Now()
	if err := state.SecretVersions.Put(tx, &o); err != nil {
		return false, err
	}
	return true, prune(tx, *sec)
}

// same says whether a version that is there has the value of a request that names it.
func (s *Service) same(sec state.Secret, have state.SecretVersion, v value) error {
	b, err := s.open(sec, have)
	if err == nil && (have.Binary != v.binary || !bytes.Equal(b, v.data)) {
		err = awsError("ResourceExistsException", "You can't use ClientRequestToken "+have.ID+" because that value is already in use for a version of secret "+sec.ARN()+".")
	}
	return err
}

// open is a version's value.
func (s *Service) open(sec state.Secret, v state.SecretVersion) ([]byte, error) {
	b, err := s.o.Key.Open(v.Sealed, recordOf(sec, v.ID))
	if err != nil {
		return nil, &awswire.Error{Code: "DecryptionFailure", Err: err, Message: "Secrets Manager can't decrypt the protected secret text using the provided KMS key. The server's log tells why."}
	}
	return b, nil
}

// move gives a staging label to a version. The one that loses AWSCURRENT becomes AWSPREVIOUS.
func move(sec *state.Secret, stage, id string) {
	if sec.Stages == nil {
		sec.Stages = map[string]string{}
	}
	if old := sec.Stages[stage]; stage == current && old != "" && old != id {
		sec.Stages[previous] = old
	}
	sec.Stages[stage] = id
	if stage == current && sec.Stages[previous] == id {
		delete(sec.Stages, previous)
	}
}

// stagesOf are a version's staging labels in order.
func stagesOf(sec state.Secret, id string) []string {
	var out []string
	for stage, of := range sec.Stages {
		if of == id {
			out = append(out, stage)
		}
	}
	slices.Sort(out)
	return out
}

// versions reads all versions of a secret, the oldest first.
func versions(tx store.Reader, sec state.Secret) (out []store.Object[state.SecretVersion], err error) {
	for v, err := range state.SecretVersions.List(tx, state.SecretVersionKey(sec.Scope, sec.Name, "")) {
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b store.Object[state.SecretVersion]) int { return a.Val.CreatedAt.Compare(b.Val.CreatedAt) })
	return out, nil
}

// prune deletes the oldest versions beyond the limit, of those without a staging label and older than a day.
func prune(tx *store.WriteTx, sec state.Secret) error {
	all, err := versions(tx, sec)
	if err != nil {
		return err
	}
	over := len(all) - maxVersions
	for _, v := range all {
		if over <= 0 || tx.Now().Sub(v.Val.CreatedAt) < keepAll {
			return nil
		}
		if len(stagesOf(sec, v.Val.ID)) > 0 {
			continue
		}
		if err := state.SecretVersions.Delete(tx, v.Key, v.Rev); err != nil {
			return err
		}
		over--
	}
	return nil
}

// recordOf is what a version's value is sealed for: with the ARN's suffix, so that it isn't another secret's of the same name.
func recordOf(sec state.Secret, id string) string {
	return state.SecretVersions.Kind() + "/" + state.SecretVersionKey(sec.Scope, sec.Name, id) + "/" + sec.Suffix
}
