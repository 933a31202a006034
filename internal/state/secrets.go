package state

import (
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// Secrets Manager's records: intent. Values are sealed; the key of the version's record is what they are sealed for.
//
// A secret's name has no colon, so NAME: is the prefix of its versions.
var (
	Secrets        = store.NewTable[Secret]("secretsmanager.secret")         // scope/name
	SecretVersions = store.NewTable[SecretVersion]("secretsmanager.version") // scope/name:id
)

// A Secret is what all versions of a secret share.
type Secret struct {
	Scope       arn.Scope
	Name        string
	Suffix      string // six letters and digits at the end of its ARN
	Description string
	CreatedAt   time.Time
	ChangedAt   time.Time
	AccessedAt  time.Time         // midnight of the day, UTC; zero: never
	MarkedAt    time.Time         // deletion was asked for; zero: it wasn't
	DeleteAt    time.Time         // the end of the recovery window; zero: it isn't marked
	Stages      map[string]string // staging label → version's ID
	Tags        map[string]string
}

// Key is the secret's key.
func (s Secret) Key() string { return s.Scope.Key(s.Name) }

// ARN names the secret; a secret of the same name that is made later has another one.
func (s Secret) ARN() string {
	return s.Scope.ARN("secretsmanager", "secret:"+s.Name+"-"+s.Suffix)
}

// Gone says whether the secret's recovery window is over at now: it's there no more, whenever its records go.
func (s Secret) Gone(now time.Time) bool { return !s.DeleteAt.IsZero() && !now.Before(s.DeleteAt) }

// A SecretVersion is one value a secret has or had. Its value never changes.
type SecretVersion struct {
	ID         string // 32 to 64 characters, the caller's
	Sealed     string
	Binary     bool // it was given as SecretBinary
	CreatedAt  time.Time
	AccessedAt time.Time // midnight of the day, UTC; zero: never
}

// SecretVersionKey is a version's key; with an empty id it is the prefix of the secret's versions.
func SecretVersionKey(sc arn.Scope, name, id string) string { return sc.Key(name) + ":" + id }

// DeleteSecret deletes a secret with its versions. store.ErrNotFound: there is none.
func DeleteSecret(tx *store.WriteTx, sc arn.Scope, name string) error {
	if err := Secrets.Delete(tx, sc.Key(name), 0); err != nil {
		return err
	}
	for v, err := range SecretVersions.List(tx, SecretVersionKey(sc, name, "")) {
		if err == nil {
			err = SecretVersions.Delete(tx, v.Key, v.Rev)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// An InitializationError is why a task can't have a value that its definition asks for, in the words that AWS stops the
// task with. It never tells a value.
type InitializationError struct {
	Message   string // "ResourceInitializationError: …"
	Permanent bool   // trying again doesn't help: what is missing has to be made, or the definition to be changed
	Err       error  // cause, for the log; may be nil
}

func (e *InitializationError) Error() string { return e.Message }
func (e *InitializationError) Unwrap() error { return e.Err }
