package secrets

import (
	"context"
	"crypto/rand"
	"errors"
	"math/big"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// keyAlias is the key that AWS seals secrets with unless told another one.
const keyAlias = "alias/aws/secretsmanager"

// CreateSecret makes a secret, with a first version if there is a value. Doing it again with the same token and value changes nothing.
func (s *Service) CreateSecret(ctx context.Context, in *secretsmanager.CreateSecretInput) (*secretsmanager.CreateSecretOutput, error) {
	if err := onlyMembers(in, "Name", "ClientRequestToken", "Description", "KmsKeyId", "SecretBinary", "SecretString", "Tags"); err != nil {
		return nil, err
	}
	sc, name := scope(ctx), aws.ToString(in.Name)
	if !nameForm.MatchString(name) {
		return nil, errName
	}
	if err := errors.Join(checkDetails(in.Description, in.KmsKeyId), checkTags(in.Tags)); err != nil {
		return nil, err
	}
	v, hasValue, err := valueOf(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(in.ClientRequestToken)
	if err != nil {
		return nil, err
	}
	out := &secretsmanager.CreateSecretOutput{Name: aws.String(name)}
	return out, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := live(tx, sc, name, tx.Now())
		switch {
		case err == nil && !o.Val.MarkedAt.IsZero():
			return errScheduled
		case err == nil:
			if err := s.repeated(tx, o.Val, token, v, hasValue); err != nil {
				return err
			}
		case !errors.Is(err, store.ErrNotFound):
			return err
		default:
			if err := clear(tx, sc.Key(name)); err != nil {
				return err
			}
			o = store.Object[state.Secret]{Key: sc.Key(name), Val: state.Secret{Scope: sc, Name: name, Suffix: newSuffix(),
				Description: aws.ToString(in.Description), CreatedAt: tx.Now(), ChangedAt: tx.Now(), Tags: tagMap(in.Tags)}}
			if hasValue {
				if _, err := s.add(tx, &o.Val, token, v, []string{current}); err != nil {
					return err
				}
			}
			if err := state.Secrets.Put(tx, &o); err != nil {
				return err
			}
		}
		out.ARN = aws.String(o.Val.ARN())
		if hasValue {
			out.VersionId = aws.String(token)
		}
		return nil
	})
}

// UpdateSecret changes a secret's description and, if there is a value, makes it the current one.
func (s *Service) UpdateSecret(ctx context.Context, in *secretsmanager.UpdateSecretInput) (*secretsmanager.UpdateSecretOutput, error) {
	if err := onlyMembers(in, "SecretId", "ClientRequestToken", "Description", "KmsKeyId", "SecretBinary", "SecretString"); err != nil {
		return nil, err
	}
	if err := checkDetails(in.Description, in.KmsKeyId); err != nil {
		return nil, err
	}
	v, hasValue, err := valueOf(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(in.ClientRequestToken)
	if err != nil {
		return nil, err
	}
	out := &secretsmanager.UpdateSecretOutput{}
	return out, s.change(ctx, in.SecretId, func(tx *store.WriteTx, sec *state.Secret) error {
		out.ARN, out.Name = aws.String(sec.ARN()), aws.String(sec.Name)
		if in.Description != nil && *in.Description != sec.Description {
			sec.Description, sec.ChangedAt = *in.Description, tx.Now()
		}
		if !hasValue {
			return nil
		}
		out.VersionId = aws.String(token)
		_, err := s.add(tx, sec, token, v, []string{current})
		return err
	})
}

// PutSecretValue makes a new version. Doing it again with the same token and value changes nothing.
func (s *Service) PutSecretValue(ctx context.Context, in *secretsmanager.PutSecretValueInput) (*secretsmanager.PutSecretValueOutput, error) {
	if err := onlyMembers(in, "SecretId", "ClientRequestToken", "SecretBinary", "SecretString", "VersionStages"); err != nil {
		return nil, err
	}
	v, hasValue, err := valueOf(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	if !hasValue {
		return nil, errNoValue
	}
	token, err := tokenOf(in.ClientRequestToken)
	if err != nil {
		return nil, err
	}
	stages := in.VersionStages
	if len(stages) == 0 {
		stages = []string{current}
	}
	if err := checkStages(stages); err != nil {
		return nil, err
	}
	out := &secretsmanager.PutSecretValueOutput{VersionId: aws.String(token)}
	return out, s.change(ctx, in.SecretId, func(tx *store.WriteTx, sec *state.Secret) error {
		out.ARN, out.Name = aws.String(sec.ARN()), aws.String(sec.Name)
		_, err := s.add(tx, sec, token, v, stages)
		out.VersionStages = stagesOf(*sec, token)
		return err
	})
}

// Private

// repeated: a secret is there; it is what was asked for if the version of the token has the same value.
func (s *Service) repeated(tx store.Reader, sec state.Secret, token string, v value, hasValue bool) error {
	exists := awsError("ResourceExistsException", "The operation failed because the secret "+sec.Name+" already exists.")
	if !hasValue {
		return exists
	}
	o, err := state.SecretVersions.Get(tx, state.SecretVersionKey(sec.Scope, sec.Name, token))
	if err != nil {
		return or(err, exists)
	}
	return s.same(sec, o.Val, v)
}

// change writes the record of a secret that isn't marked for deletion.
func (s *Service) change(ctx context.Context, id *string, do func(*store.WriteTx, *state.Secret) error) error {
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := usable(tx, scope(ctx), aws.ToString(id), tx.Now())
		if err != nil {
			return err
		}
		if err := do(tx, &o.Val); err != nil {
			return err
		}
		return state.Secrets.Put(tx, &o)
	})
}

func checkDetails(description, key *string) error {
	if utf8.RuneCountInString(aws.ToString(description)) > 2048 {
		return constraint("…", "description", "Member must have length less than or equal to 2048")
	}
	if k := aws.ToString(key); k != "" && k != keyAlias {
		return errKey
	}
	return nil
}

func checkStages(stages []string) error {
	if len(stages) > maxStages {
		return constraint(len(stages), "versionStages", "Member must have length less than or equal to 20")
	}
	for _, stage := range stages {
		if stage == "" || utf8.RuneCountInString(stage) > 256 {
			return constraint(stage, "versionStage", "Member must have length between 1 and 256")
		}
	}
	return nil
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// newSuffix makes six random letters and digits.
func newSuffix() string {
	b := make([]byte, suffixSize-1)
	for i := range b {
		b[i] = letters[below(len(letters))]
	}
	return string(b)
}

// below is a random number from 0 to n-1, for secrets.
func below(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // the kernel has no random numbers
	}
	return int(i.Int64())
}
