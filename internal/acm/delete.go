package acm

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/acm"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// DeleteCertificate deletes a certificate that no listener has, with its key.
func (s *Service) DeleteCertificate(ctx context.Context, in *acm.DeleteCertificateInput) (*acm.DeleteCertificateOutput, error) {
	sc := scope(ctx)
	return &acm.DeleteCertificateOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := find(tx, sc, in.CertificateArn)
		if err != nil {
			return err
		}
		users, err := state.CertificateUsers(tx, sc, o.Val.ARN())
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return awsError("ResourceInUseException", "Certificate %s in account %s is in use.", o.Val.ARN(), sc.Account)
		}
		return state.Certificates.Delete(tx, o.Key, o.Rev)
	})
}
