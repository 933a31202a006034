// Package ssm is the API of Systems Manager's Parameter Store: parameters with versions, labels and tags. Every value is
// sealed in the store, a String as well as a SecureString; SecureString decides only who has to ask for decryption.
package ssm

import (
	"context"
	"log/slog"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/seal"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the service needs to know of its surroundings.
type Options struct {
	DB  *store.DB
	Key *seal.Key // seals the values
	Log *slog.Logger
}

// Service answers Parameter Store's operations.
type Service struct{ o Options }

// New makes the service. It starts nothing.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{o: o}
}

// API lists the operations.
func (s *Service) API() *awswire.API {
	// Source: SSM service model: awsJson1.1, target prefix AmazonSSM.
	a := &awswire.API{SigningName: "ssm", Protocol: awswire.JSON11, Target: "AmazonSSM"}
	awswire.Handle(a, s.PutParameter)
	awswire.Handle(a, s.GetParameter)
	awswire.Handle(a, s.GetParameters)
	awswire.Handle(a, s.GetParametersByPath)
	awswire.Handle(a, s.GetParameterHistory)
	awswire.Handle(a, s.DescribeParameters)
	awswire.Handle(a, s.DeleteParameter)
	awswire.Handle(a, s.DeleteParameters)
	awswire.Handle(a, s.LabelParameterVersion)
	awswire.Handle(a, s.UnlabelParameterVersion)
	awswire.Handle(a, s.AddTagsToResource)
	awswire.Handle(a, s.RemoveTagsFromResource)
	awswire.Handle(a, s.ListTagsForResource)
	return a
}

// Private

// scope is the caller's account and region.
func scope(ctx context.Context) arn.Scope { return awsauth.ScopeFrom(ctx) }
