package ecr

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// namePattern is what repositories may be called, 2 to 256 characters. Source: ECR service model, RepositoryName.
const namePattern = `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`

var (
	nameRE = lazyregexp.New(`^` + namePattern + `$`)
	// scopeRE is the first part of a path that names the account and region of a repository.
	scopeRE = lazyregexp.New(`^(\d{12})\.([a-z0-9-]+)$`)
	// hostRE is a registry on AWS. Source: ECR user guide, registries: also FIPS, China, dual stack.
	hostRE = lazyregexp.New(`^(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com|amazonaws\.com\.cn|on\.aws)$`)
	// accountRE is an account's id.
	accountRE = lazyregexp.New(`^\d{12}$`)
)

// URI is what a repository is called in docker push, docker pull and task definitions. It is never stored.
func (s *Service) URI(sc arn.Scope, name string) string {
	if sc == s.o.Scope {
		return s.o.RegistryHost + "/" + name
	}
	return s.o.RegistryHost + "/" + sc.Account + "." + sc.Region + "/" + name
}

// Private

// repositoryOf finds the repository that a path below /v2/ means. With AWS's registry host as the request's host,
// account and region are in there; else in the first part of the path, or the server's own.
func (s *Service) repositoryOf(r *http.Request, name string) (string, error) {
	if sc, ok := awsHost(r.Host); ok {
		return sc.Key(name), nil
	}
	return s.inPath(name), nil
}

func (s *Service) inPath(name string) string {
	if repo, ok := oci.MirrorName(name); ok {
		return repo
	}
	first, rest, _ := strings.Cut(name, "/")
	if m := scopeRE.FindStringSubmatch(first); m != nil && rest != "" {
		return arn.Scope{Account: m[1], Region: m[2]}.Key(rest)
	}
	return s.o.Scope.Key(name)
}

// awsHost takes account and region out of a registry's host on AWS.
func awsHost(host string) (arn.Scope, bool) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	m := hostRE.FindStringSubmatch(host)
	if m == nil {
		return arn.Scope{}, false
	}
	return arn.Scope{Account: m[1], Region: m[2]}, true
}

// ownHost tells the names of this registry. The port is not looked at: task definitions outlive its change.
func (s *Service) ownHost(host string) bool {
	own, _, err := net.SplitHostPort(s.o.RegistryHost)
	if err != nil {
		own = s.o.RegistryHost
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return host == own || host == "localhost" || host == "127.0.0.1" || host == "::1" || host == "[::1]"
}

// newName checks the name of a repository to be made. Names that would mean something else in a path are taken.
func newName(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	first, _, _ := strings.Cut(name, "/")
	if _, mirror := oci.MirrorName(name); mirror || scopeRE.MatchString(first) {
		return refused("Lotse does not take '%s' as the name of a repository: in the path of an image, '%s/' stands for imported images or another account.", name, first)
	}
	return nil
}

func checkName(name string) error {
	switch {
	case len(name) < 2:
		return invalid("repositoryName", "must have length greater than or equal to 2")
	case len(name) > 256:
		return invalid("repositoryName", "must have length less than or equal to 256")
	case !nameRE.MatchString(name):
		return invalid("repositoryName", "must satisfy regular expression '%s'", namePattern)
	}
	return nil
}

// ownRegistry refuses registries of other accounts: there are no policies yet that could open one.
func ownRegistry(ctx context.Context, id *string, action, name string) error {
	sc := scope(ctx)
	switch {
	case id == nil || *id == sc.Account:
		return nil
	case !accountRE.MatchString(*id):
		return invalid("registryId", "must satisfy regular expression '[0-9]{12}'")
	}
	other := state.Repository{Scope: arn.Scope{Account: *id, Region: sc.Region}, Name: name}
	return errDenied(awsauth.CallerFrom(ctx).ARN, action, other.ARN())
}

// repository finds a repository of the caller's.
func repository(tx store.Reader, sc arn.Scope, name *string) (store.Object[state.Repository], error) {
	n := aws.ToString(name)
	if err := checkName(n); err != nil {
		return store.Object[state.Repository]{}, err
	}
	o, err := state.Repositories.Get(tx, sc.Key(n))
	if errors.Is(err, store.ErrNotFound) {
		err = errNoRepository(n, sc.Account)
	}
	return o, err
}
