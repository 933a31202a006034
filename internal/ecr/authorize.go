package ecr

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
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
	return s.permitAll(r, c, repo, action)
}

// Private

// Source: ECR user guide; 403 and the text as users of the real service have published them. For a wrong password it
// answers 400 there, too.
var (
	errLoginExpired = &oci.Error{Status: 403, Code: "DENIED", Message: "Your authorization token has expired. Reauthenticate and try again."}
	errLogin        = &oci.Error{Status: 400, Code: "DENIED", Message: "Your authorization token is invalid. Log in as user AWS with the password of: aws ecr get-login-password"}
)

// permission is the operation of ECR's API that a request stands for.
// Source: ECR user guide, the permissions to push and to pull an image; and what AWS names when it refuses one.
func permission(r *http.Request, action oci.Action) string {
	is := func(kind string) bool { return strings.Contains(r.URL.Path, "/"+kind+"/") }
	switch {
	case action == oci.Delete:
		return "BatchDeleteImage"
	case action == oci.Push && is("manifests"):
		return "PutImage"
	case action == oci.Push && r.Method == http.MethodPatch:
		return "UploadLayerPart"
	case action == oci.Push && r.Method == http.MethodPut:
		return "CompleteLayerUpload"
	case action == oci.Push:
		return "InitiateLayerUpload"
	case is("blobs") && r.Method == http.MethodHead:
		return "BatchCheckLayerAvailability"
	case is("blobs"):
		return "GetDownloadUrlForLayer"
	case is("tags"):
		return "ListImages"
	case is("referrers"):
		return "ListImageReferrers"
	}
	return "BatchGetImage"
}

// permitAll asks for all that a request needs: what it does, and the right to make a repository if that is what a push
// would do first. Other accounts need the repository's or the registry's leave.
func (s *Service) permitAll(r *http.Request, c claims, repo string, action oci.Action) error {
	sc, name := arn.ScopeOf(repo)
	resource := state.Repository{Scope: sc, Name: name}.ARN()
	needs := []string{permission(r, action)}
	err := s.o.DB.View(r.Context(), func(tx *store.ReadTx) error {
		if sc.Account != c.Account {
			who := state.Principal{Account: c.Account, Role: c.Role, ARN: c.ARN}
			d, err := state.DecideRepository(tx, sc, name, who, "ecr:"+needs[0], policy.Request{"aws:PrincipalAccount": c.Account})
			if err != nil || d == policy.Allow {
				return err
			}
			return &oci.Error{Status: 403, Code: "DENIED", Message: textDenied(c.ARN, needs[0], resource)}
		}
		if action != oci.Push || c.Role == "" {
			return nil
		}
		makes, err := creatable(tx, repo)
		if makes {
			needs = append(needs, "CreateRepository")
		}
		return err
	})
	for _, n := range needs {
		if err == nil {
			err = s.permit(r.Context(), c, sc.Region, n, resource)
		}
	}
	return err
}

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
