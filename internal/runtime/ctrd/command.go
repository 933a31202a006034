package ctrd

import (
	"fmt"
	"path"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/runtime"
)

// defaultPath is Docker's, for images that set none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// command is a container's process, put together from its specification and its image.
type command struct {
	args []string
	env  []string
	cwd  string
	user string
}

func newCommand(image ocispec.ImageConfig, hostname string, c runtime.ContainerSpec) (command, error) {
	entry, args := image.Entrypoint, image.Cmd
	if c.EntryPoint != nil {
		entry, args = c.EntryPoint, nil
	}
	if c.Command != nil {
		args = c.Command
	}
	out := command{
		args: append(append([]string{}, entry...), args...),
		env:  mergeEnv([]string{defaultPath, "HOSTNAME=" + hostname}, image.Env, c.Env),
		cwd:  image.WorkingDir,
		user: image.User,
	}
	if c.WorkingDir != "" {
		out.cwd = c.WorkingDir
	}
	out.cwd = path.Join("/", out.cwd)
	if c.User != "" {
		out.user = c.User
	}
	if len(out.args) == 0 || out.args[0] == "" {
		return out, fmt.Errorf("no command specified: neither the image nor the container definition has an entry point or a command: %w", runtime.ErrUnrunnable)
	}
	return out, nil
}

// mergeEnv joins lists of NAME=value; a later value takes the place of an earlier one.
func mergeEnv(lists ...[]string) []string {
	var out []string
	at := map[string]int{}
	for _, list := range lists {
		for _, kv := range list {
			name, _, _ := strings.Cut(kv, "=")
			if i, ok := at[name]; ok {
				out[i] = kv
				continue
			}
			at[name] = len(out)
			out = append(out, kv)
		}
	}
	return out
}
