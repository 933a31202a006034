package build

import (
	"context"

	"github.com/docker/cli/cli/config"
	"github.com/moby/buildkit/session/auth"
	"google.golang.org/grpc"
)

// hubKey is what Docker's configuration file calls Docker Hub.
const hubKey = "https://index.docker.io/v1/"

// logins answers BuildKit's questions for registry logins. Tokens BuildKit fetches itself.
type logins struct {
	auth.UnimplementedAuthServer
	auth func(ctx context.Context, host string) (user, secret string, err error)
}

// Register makes it part of a session.
func (l *logins) Register(s *grpc.Server) { auth.RegisterAuthServer(s, l) }

// Credentials gives the login for a registry; empty strings: none.
func (l *logins) Credentials(ctx context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	if l.auth != nil {
		user, secret, err := l.auth(ctx, req.Host)
		if err != nil || secret != "" {
			return &auth.CredentialsResponse{Username: user, Secret: secret}, err
		}
	}
	return fromDocker(req.Host)
}

// Private

// fromDocker looks into Docker's configuration file. One that can't be read is as none: most images are public.
func fromDocker(host string) (*auth.CredentialsResponse, error) {
	if host == "registry-1.docker.io" {
		host = hubKey
	}
	file, err := config.Load(config.Dir())
	if err != nil {
		return &auth.CredentialsResponse{}, nil
	}
	a, err := file.GetAuthConfig(host)
	if err != nil {
		return nil, err // a credential helper that fails
	}
	if a.IdentityToken != "" {
		return &auth.CredentialsResponse{Secret: a.IdentityToken}, nil
	}
	return &auth.CredentialsResponse{Username: a.Username, Secret: a.Password}, nil
}
