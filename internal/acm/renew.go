package acm

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	// renewBefore is how long before its end an issued certificate is renewed. Source: ACM user guide, managed renewal: 60 days.
	renewBefore = 60 * 24 * time.Hour
	// renewEvery is the time between two looks at all certificates.
	renewEvery = time.Hour
)

// RenewCertificate renews an issued certificate at once, whatever its age.
func (s *Service) RenewCertificate(ctx context.Context, in *acm.RenewCertificateInput) (*acm.RenewCertificateOutput, error) {
	var c state.Certificate
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := find(tx, scope(ctx), in.CertificateArn)
		c = o.Val
		return err
	})
	if err == nil && c.Type != state.CertificateIssued {
		err = validation("Certificate %s was imported; import it again to renew it.", c.ARN())
	}
	if err != nil {
		return nil, err
	}
	return &acm.RenewCertificateOutput{}, s.renew(ctx, c)
}

// Run renews the issued certificates that listeners have, in time, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		if err := s.renewDue(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.o.Log.Error("certificates not renewed", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Private

// renewDue renews what ends soon, of all accounts and regions.
func (s *Service) renewDue(ctx context.Context, now time.Time) error {
	var due []state.Certificate
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.Certificates.List(tx, "") {
			if err != nil {
				return err
			}
			c := o.Val
			if c.Type != state.CertificateIssued || now.Before(c.NotAfter.Add(-renewBefore)) {
				continue
			}
			users, err := state.CertificateUsers(tx, c.Scope, c.ARN())
			if err != nil {
				return err
			}
			if len(users) > 0 {
				due = append(due, c)
			}
		}
		return nil
	})
	for _, c := range due {
		if err == nil {
			err = s.renew(ctx, c)
			s.o.Log.Info("certificate renewed", "certificate", c.ARN(), "err", err)
		}
	}
	return err
}

// renew gives a certificate a new key and a new term. Its ARN stays.
func (s *Service) renew(ctx context.Context, c state.Certificate) error {
	cert, key, err := s.o.Authority.issue(c.Names, c.KeyAlgorithm, time.Now())
	if err != nil {
		return err
	}
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := find(tx, c.Scope, aws.String(c.ARN()))
		if err != nil {
			return err
		}
		o.Val.RenewedAt = tx.Now()
		if err := s.put(&o.Val, cert, s.o.Authority.pem, key); err != nil {
			return err
		}
		return state.Certificates.Put(tx, &o)
	})
}
