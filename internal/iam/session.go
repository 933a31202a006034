package iam

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// A session is what a temporary key's token says, sealed: nothing of it is stored, so that keys
// outlive the server and there is nothing to clean up.
type session struct {
	KeyID, Secret string
	Account       string
	Role, RoleID  string // a role made later under the same name is another one
	Name          string
	Policy        string    `json:",omitempty"` // narrows the role's
	Expires       time.Time // whole seconds
}

// tokenUse is what session tokens are sealed for.
const tokenUse = "sts.session"

// TaskKey makes a temporary key for a task of ECS: a session of its role that bears the task's id.
// store.ErrNotFound: there is no such role.
func (s *Service) TaskKey(ctx context.Context, account, roleARN, task string, life time.Duration) (awsauth.Key, error) {
	var key awsauth.Key
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		r, err := state.RoleOf(tx, account, roleARN)
		if err != nil {
			return err
		}
		key, err = s.newKey(session{Account: account, Role: r.Name, RoleID: r.ID, Name: task, Expires: s.o.Now().Add(life)})
		return err
	})
	return key, err
}

// Lookup is awsauth.Keys for temporary keys. A key whose role is gone is nobody's.
func (s *Service) Lookup(ctx context.Context, id, token string) (awsauth.Key, error) {
	var open session
	plain, err := s.unseal(token)
	if err != nil || json.Unmarshal(plain, &open) != nil || open.KeyID != id {
		return awsauth.Key{}, awsauth.ErrUnknownKey
	}
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		r, err := state.Roles.Get(tx, state.RoleKey(open.Account, open.Role))
		if err == nil && r.Val.ID != open.RoleID {
			return store.ErrNotFound
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return awsauth.Key{}, awsauth.ErrUnknownKey
	}
	return open.key(token), err
}

// Private

func (s *Service) newKey(of session) (awsauth.Key, error) {
	secret := make([]byte, 30)
	rand.Read(secret)
	of.KeyID, of.Secret = newTemporaryID(), base64.StdEncoding.EncodeToString(secret)
	of.Expires = of.Expires.UTC().Truncate(time.Second)
	plain, err := json.Marshal(of)
	if err != nil {
		return awsauth.Key{}, err
	}
	if s.o.Key == nil {
		return awsauth.Key{}, errors.New("no key to seal session tokens with")
	}
	token, err := s.o.Key.Seal(plain, tokenUse)
	if err != nil {
		return awsauth.Key{}, fmt.Errorf("seal a session token: %w", err)
	}
	return of.key(token), nil
}

func (s *Service) unseal(token string) ([]byte, error) {
	if s.o.Key == nil || token == "" {
		return nil, awsauth.ErrUnknownKey
	}
	return s.o.Key.Open(token, tokenUse)
}

// key is the session as its signer has it. Source: IAM User Guide, "IAM identifiers".
func (s session) key(token string) awsauth.Key {
	return awsauth.Key{
		AccessKeyID: s.KeyID, SecretAccessKey: s.Secret, SessionToken: token, Account: s.Account, Expires: s.Expires,
		ARN:    arn.Scope{Account: s.Account}.ARN("sts", "assumed-role/"+s.Role+"/"+s.Name),
		UserID: s.RoleID + ":" + s.Name, Role: s.Role, SessionPolicy: s.Policy,
	}
}

// newTemporaryID makes the id of a temporary key: ASIA and 16 letters and digits.
func newTemporaryID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return "ASIA" + idText(b)
}
