// Package secrets is the API of Secrets Manager: secrets with versions, staging labels, tags and a recovery window.
// Every value is sealed in the store. There is no rotation, no replication and no KMS: what asks for them is refused.
package secrets

import (
	"context"
	"log/slog"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/seal"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the service needs to know of its surroundings.
type Options struct {
	DB  *store.DB
	Key *seal.Key        // seals the values
	Now func() time.Time // nil: time.Now
	Log *slog.Logger
}

// Service answers Secrets Manager's operations.
type Service struct{ o Options }

// New makes the service. It starts nothing.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{o: o}
}

// API lists the operations.
func (s *Service) API() *awswire.API {
	// Source: Secrets Manager service model: awsJson1.1, target prefix secretsmanager.
	a := &awswire.API{SigningName: "secretsmanager", Protocol: awswire.JSON11, Target: "secretsmanager"}
	awswire.Handle(a, s.CreateSecret)
	awswire.Handle(a, s.UpdateSecret)
	awswire.Handle(a, s.PutSecretValue)
	awswire.Handle(a, s.GetSecretValue)
	awswire.Handle(a, s.BatchGetSecretValue)
	awswire.Handle(a, s.DescribeSecret)
	awswire.Handle(a, s.ListSecrets)
	awswire.Handle(a, s.ListSecretVersionIds)
	awswire.Handle(a, s.UpdateSecretVersionStage)
	awswire.Handle(a, s.DeleteSecret)
	awswire.Handle(a, s.RestoreSecret)
	awswire.Handle(a, s.TagResource)
	awswire.Handle(a, s.UntagResource)
	awswire.Handle(a, s.GetResourcePolicy)
	awswire.Handle(a, s.GetRandomPassword)
	return a
}

// Private

// scope is the caller's account and region.
func scope(ctx context.Context) arn.Scope { return awsauth.ScopeFrom(ctx) }
