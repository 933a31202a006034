package ecr

import (
	"context"
	"errors"
	"net/http"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/state"
)

// Authorize implements oci.Authorizer: a token of GetAuthorizationToken opens the repositories of its account, in all
// regions, and imported images for pulling; an address of GetDownloadUrlForLayer opens one layer.
func (s *Service) Authorize(r *http.Request, repo string, action oci.Action) error {
	user, password, given := r.BasicAuth()
	if !given {
		if signed, err := s.signedURL(r, repo, action); signed || err != nil {
			return err
		}
	}
	if !given || user == "" && password == "" { // without a login, skopeo sends two empty strings
		return s.challenge(r)
	}
	if user != tokenUser {
		return errLogin
	}
	c, err := s.verify(password)
	switch {
	case errors.Is(err, errTokenExpired):
		return errLoginExpired
	case err != nil:
		return errLogin
	case repo == "" || oci.IsMirror(repo):
		return nil
	}
	sc, name := arn.ScopeOf(repo)
	resource := state.Repository{Scope: sc, Name: name}.ARN()
	if sc.Account == c.Account {
		return s.permit(r.Context(), c, sc.Region, actions[action], resource)
	}
	return &oci.Error{Status: 403, Code: "DENIED", Message: textDenied(c.ARN, actions[action], resource)}
}

// Private

// Source: ECR user guide; 403 and the text as users of the real service have published them. For a wrong password it
// answers 400 there, too.
var (
	errLoginExpired = &oci.Error{Status: 403, Code: "DENIED", Message: "Your authorization token has expired. Reauthenticate and try again."}
	errLogin        = &oci.Error{Status: 400, Code: "DENIED", Message: "Your authorization token is invalid. Log in as user AWS with the password of: aws ecr get-login-password"}
)

// actions are the permissions that AWS names when it refuses one.
var actions = map[oci.Action]string{oci.Pull: "BatchGetImage", oci.Push: "InitiateLayerUpload", oci.Delete: "BatchDeleteImage"}

// permit asks the policies of a session of a role. The account's root may do all.
func (s *Service) permit(ctx context.Context, c claims, region, action, resource string) error {
	if c.Role == "" {
		return nil
	}
	if s.o.Permit == nil {
		return &oci.Error{Status: 403, Code: "DENIED", Message: textDenied(c.ARN, action, resource)}
	}
	err := s.o.Permit(ctx, awsauth.Caller{Account: c.Account, Region: region, ARN: c.ARN, Role: c.Role, SessionPolicy: c.Policy}, "ecr:"+action, resource)
	var denied *awswire.Error
	if errors.As(err, &denied) {
		return &oci.Error{Status: 403, Code: "DENIED", Message: denied.Message}
	}
	return err
}

// challenge asks for a login, at the host under which the client knows the registry.
func (s *Service) challenge(r *http.Request) *oci.Error {
	host := r.Host
	if host == "" {
		host = s.o.RegistryHost
	}
	return &oci.Error{Status: 401, Message: "Not Authorized\n", Header: http.Header{
		"Www-Authenticate": {`Basic realm="https://` + host + `/",service="ecr.amazonaws.com"`}}}
}
