package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lotse-project/lotse/internal/awsauth"
)

// GetCallerIdentity tells callers who they are. It needs no permission and can't be denied.
// Source: STS API reference.
func (s *Service) GetCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	c := awsauth.CallerFrom(ctx)
	return &sts.GetCallerIdentityOutput{Account: aws.String(c.Account), Arn: aws.String(c.ARN), UserId: aws.String(c.UserID)}, nil
}
