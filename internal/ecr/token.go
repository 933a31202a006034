package ecr

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/awsauth"
)

// tokenUser is the user of every login. Source: ECR user guide, registry authentication.
const tokenUser = "AWS"

var (
	errTokenInvalid = errors.New("not a token of this registry")
	errTokenExpired = errors.New("expired token")
)

// claims is what a token says; nothing about it is stored.
type claims struct {
	Account    string `json:"account"`
	ARN        string `json:"arn"`
	Expiration int64  `json:"expiration"` // Unix seconds
	// Of a session of a role; "" for the account's root.
	Role   string `json:"role,omitempty"`
	Policy string `json:"policy,omitempty"`
}

// GetAuthorizationToken gives a password for docker login. It ends with the caller's own key, if that is temporary.
func (s *Service) GetAuthorizationToken(ctx context.Context, in *ecr.GetAuthorizationTokenInput) (*ecr.GetAuthorizationTokenOutput, error) {
	if err := onlyMembers(in, "RegistryIds"); err != nil {
		return nil, err
	}
	ids := in.RegistryIds
	if len(ids) == 0 {
		ids = []string{scope(ctx).Account}
	}
	token, expires := s.token(awsauth.CallerFrom(ctx))
	out := &ecr.GetAuthorizationTokenOutput{}
	for _, id := range ids {
		if !accountRE.MatchString(id) {
			return nil, invalid("registryIds", "must satisfy regular expression '[0-9]{12}'")
		}
		out.AuthorizationData = append(out.AuthorizationData, types.AuthorizationData{
			AuthorizationToken: aws.String(base64.StdEncoding.EncodeToString([]byte(tokenUser + ":" + token))),
			ExpiresAt:          aws.Time(expires),
			// As on AWS, with a scheme that docker and others cut off: what counts is the host.
			ProxyEndpoint: aws.String("https://" + s.o.RegistryHost),
		})
	}
	return out, nil
}

// Private

func (s *Service) token(c awsauth.Caller) (token string, expires time.Time) {
	expires = s.o.Now().Add(s.o.TokenTTL)
	if !c.Expires.IsZero() && c.Expires.Before(expires) {
		expires = c.Expires
	}
	expires = expires.Truncate(time.Second)
	raw, err := json.Marshal(claims{Account: c.Account, ARN: c.ARN, Expiration: expires.Unix(), Role: c.Role, Policy: c.SessionPolicy})
	if err != nil {
		panic(err) // strings and a number
	}
	payload := base64.RawURLEncoding.EncodeToString(raw)
	return payload + "." + s.sign(payload), expires
}

func (s *Service) sign(payload string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(payload))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// verify finds out who a token was given to.
func (s *Service) verify(token string) (claims, error) {
	var c claims
	payload, sig, _ := strings.Cut(token, ".")
	if !hmac.Equal([]byte(sig), []byte(s.sign(payload))) {
		return c, errTokenInvalid
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(raw, &c) != nil {
		return c, errTokenInvalid
	}
	if s.o.Now().Unix() >= c.Expiration {
		return c, errTokenExpired
	}
	return c, nil
}
