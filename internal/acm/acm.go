// Package acm is the API of Certificate Manager: certificates that users import, and those that the server's own
// authority issues. Listeners of load balancers refer to them by ARN.
package acm

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/seal"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the service needs to know of its surroundings.
type Options struct {
	DB        *store.DB
	Key       *seal.Key  // seals the certificates' private keys; the balancer has it too
	Authority *Authority // issues what is requested
	Log       *slog.Logger
}

// Service answers Certificate Manager's operations.
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
	// Source: ACM service model: awsJson1.1, target prefix CertificateManager.
	a := &awswire.API{SigningName: "acm", Protocol: awswire.JSON11, Target: "CertificateManager"}
	awswire.Handle(a, s.ImportCertificate)
	awswire.Handle(a, s.RequestCertificate)
	awswire.Handle(a, s.DescribeCertificate)
	awswire.Handle(a, s.GetCertificate)
	awswire.Handle(a, s.ListCertificates)
	awswire.Handle(a, s.DeleteCertificate)
	awswire.Handle(a, s.RenewCertificate)
	awswire.Handle(a, s.UpdateCertificateOptions)
	awswire.Handle(a, s.AddTagsToCertificate)
	awswire.Handle(a, s.RemoveTagsFromCertificate)
	awswire.Handle(a, s.ListTagsForCertificate)
	awswire.Handle(a, s.TagResource)
	awswire.Handle(a, s.UntagResource)
	awswire.Handle(a, s.ListTagsForResource)
	return a
}

// Private

// scope is the caller's account and region.
func scope(ctx context.Context) arn.Scope { return awsauth.ScopeFrom(ctx) }

// Source: ACM service model, Arn.
const (
	minARN, maxARN = 20, 2048 // bytes
	arnPattern     = `arn:[\w+=/,.@-]+:acm:[\w+=/,.@-]*:[0-9]+:[\w+=,.@-]+(/[\w+=,.@-]+)*`
)

var arnRE = lazyregexp.New("^" + arnPattern + "$")

// find reads the certificate that an ARN names.
func find(tx store.Reader, sc arn.Scope, given *string) (store.Object[state.Certificate], error) {
	name := aws.ToString(given)
	if err := checkARN(name); err != nil {
		return store.Object[state.Certificate]{}, err
	}
	key := state.CertificateKey(sc, name)
	if key == "" {
		return store.Object[state.Certificate]{}, errNoCertificate(name)
	}
	o, err := state.Certificates.Get(tx, key)
	if errors.Is(err, store.ErrNotFound) {
		return o, errNoCertificate(name)
	}
	return o, err
}

func checkARN(name string) error {
	switch a, err := arn.Parse(name); {
	case len(name) < minARN:
		return constraint(name, "certificateArn", "Member must have length greater than or equal to 20")
	case len(name) > maxARN:
		return constraint(name, "certificateArn", "Member must have length less than or equal to 2048")
	case !arnRE.MatchString(name):
		return constraint(name, "certificateArn", "Member must satisfy regular expression pattern: "+arnPattern)
	case err != nil || a.Type() != "certificate":
		return errBadARN(name)
	}
	return nil
}

// change reads a certificate, has it changed and writes it.
func (s *Service) change(ctx context.Context, given *string, fn func(*state.Certificate) error) error {
	sc := scope(ctx)
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := find(tx, sc, given)
		if err != nil {
			return err
		}
		if err := fn(&o.Val); err != nil {
			return err
		}
		return state.Certificates.Put(tx, &o)
	})
}

// parsed is the X.509 certificate of a record.
func parsed(c state.Certificate) (*x509.Certificate, error) {
	all, err := parseCertificates([]byte(c.Body))
	if err != nil || len(all) != 1 {
		return nil, fmt.Errorf("certificate %s: %d certificates in its body: %w", c.ARN(), len(all), err)
	}
	return all[0], nil
}
