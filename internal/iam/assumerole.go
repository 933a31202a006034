package iam

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Shapes of the STS service model.
var (
	assumedARN  = shape{min: 20, max: 2048}
	sessionName = newShape(2, 64, `[\w+=,.@-]*`, ``)
	externalID  = newShape(2, 1224, `[\w+=,.@:/\\-]*`, `[\w+=,.@:\/-]*`)
)

// chained is the longest session, in seconds, of a role that another role's session assumes.
// Source: IAM User Guide, "Terms and concepts", role chaining.
const chained = 3600

// AssumeRole gives a temporary key of a role. The role's trust policy must name the caller, or its
// account, which leaves it to the caller's own policies. The root key may assume every role that
// trusts its account: here it stands for all the account's users. (AWS refuses it.)
func (s *Service) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	if err := onlyMembers(in, "RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "ExternalId"); err != nil {
		return nil, err
	}
	var c check
	of := session{Name: c.required("roleSessionName", in.RoleSessionName, sessionName), Policy: c.optional("policy", in.Policy, document)}
	role := c.required("roleArn", in.RoleArn, assumedARN)
	external := c.optional("externalId", in.ExternalId, externalID)
	seconds := c.number("durationSeconds", in.DurationSeconds, 900, 43200, 3600)
	if err := c.err(); err != nil {
		return nil, err
	}
	if of.Policy != "" {
		d, err := policy.Parse(of.Policy)
		if err == nil {
			err = d.CheckPermissions()
		}
		if err != nil {
			return nil, malformedPolicy(err)
		}
	}
	caller := awsauth.CallerFrom(ctx)
	var key awsauth.Key
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		r, err := state.RoleOf(tx, caller.Account, role)
		if errors.Is(err, store.ErrNotFound) {
			return deniedAssume(caller, role) // whether it exists isn't told
		}
		if err != nil {
			return err
		}
		if err := s.mayAssume(tx, caller, r, external); err != nil {
			return err
		}
		if most := r.MaxSessionDuration; seconds > most {
			return validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
		}
		if caller.Role != "" && seconds > chained {
			return validation("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
		}
		of.Account, of.Role, of.RoleID = r.Account, r.Name, r.ID
		of.Expires = s.o.Now().Add(time.Duration(seconds) * time.Second)
		key, err = s.newKey(of)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.tell(ctx, "role assumed", of.Role)
	return &sts.AssumeRoleOutput{
		AssumedRoleUser: &types.AssumedRoleUser{Arn: &key.ARN, AssumedRoleId: &key.UserID},
		Credentials: &types.Credentials{AccessKeyId: &key.AccessKeyID, SecretAccessKey: &key.SecretAccessKey,
			SessionToken: &key.SessionToken, Expiration: aws.Time(key.Expires)},
	}, nil
}

// Private

// mayAssume asks the role's trust policy, then the caller's own policies.
// Source: IAM User Guide, "Policy evaluation logic", trust policies.
func (s *Service) mayAssume(tx store.Reader, caller awsauth.Caller, role state.Role, external string) error {
	trust, err := policy.Parse(role.Trust)
	if err != nil {
		return err
	}
	r := request(caller)
	if external != "" {
		r["sts:ExternalId"] = external
	}
	names := []string{caller.ARN}
	if caller.Role != "" {
		own, err := state.RoleOf(tx, caller.Account, caller.Role)
		if err != nil {
			return err
		}
		names = append(names, own.ARN())
	}
	byName := trust.Principal(names, r)
	byAccount := trust.Principal([]string{caller.Account, "arn:aws:iam::" + caller.Account + ":root"}, r)
	if byName == policy.Deny || byAccount == policy.Deny {
		return deniedAssume(caller, role.ARN())
	}
	own, err := s.decide(tx, caller, "sts:AssumeRole", role.ARN(), r)
	if err != nil {
		return err
	}
	switch {
	case own == policy.Deny:
	case byName == policy.Allow && caller.SessionPolicy == "":
		return nil
	case byName == policy.Allow || byAccount == policy.Allow:
		if own == policy.Allow {
			return nil
		}
	}
	return deniedAssume(caller, role.ARN())
}

func deniedAssume(c awsauth.Caller, role string) error {
	return iamError("AccessDenied", 403, "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.ARN, role)
}
