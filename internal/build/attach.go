package build

import (
	"fmt"
	"os"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
)

// A Secret is what RUN --mount=type=secret,id=ID reads. It reaches the step and nothing else: neither the image nor
// the cache.
type Secret struct {
	ID   string
	File string // where it is; or
	Env  string // the environment variable that holds it. Neither: the variable named ID, else the file.
}

// An Agent is what RUN --mount=type=ssh,id=ID talks to.
type Agent struct {
	ID    string   // empty: "default"
	Paths []string // an agent's socket, or private keys; none: SSH_AUTH_SOCK
}

// Private

// attachments are what the builder may ask the client for, besides files of the contexts.
func attachments(o Options) ([]session.Attachable, error) {
	out := []session.Attachable{&logins{auth: o.Auth}}
	if len(o.Secrets) > 0 {
		var files []secretsprovider.Source
		for _, s := range o.Secrets {
			if _, set := os.LookupEnv(s.Env); s.Env != "" && !set {
				return nil, fmt.Errorf("secret %s: the environment variable %s is not set", s.ID, s.Env)
			}
			files = append(files, secretsprovider.Source{ID: s.ID, FilePath: s.File, Env: s.Env})
		}
		store, err := secretsprovider.NewStore(files)
		if err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
		out = append(out, secretsprovider.NewSecretProvider(store))
	}
	if len(o.SSH) > 0 {
		var agents []sshprovider.AgentConfig
		for _, a := range o.SSH {
			agents = append(agents, sshprovider.AgentConfig{ID: a.ID, Paths: a.Paths})
		}
		p, err := sshprovider.NewSSHAgentProvider(agents)
		if err != nil {
			return nil, fmt.Errorf("ssh: %w", err)
		}
		out = append(out, p)
	}
	return out, nil
}
