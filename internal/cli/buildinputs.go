package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"github.com/lotse-project/lotse/internal/build"
	"github.com/lotse-project/lotse/internal/deploy"
)

// buildInputs are the flags that say what a build reads and how it goes; docker buildx's, with their names and meaning.
// They come on top of lotse.yml.
type buildInputs struct {
	builder, file, target, epoch, shmSize            string
	args, contexts, secrets, ssh, cacheFrom, cacheTo []string
	platforms, noCacheStages, addHosts, ulimits      []string
	noCache, pull                                    bool
}

func (b *buildInputs) flags(f *pflag.FlagSet) {
	f.StringVar(&b.builder, "builder", os.Getenv("LOTSE_BUILDER"), "lotse, docker, or a BuildKit's address such as unix:///run/buildkit/buildkitd.sock (default: the server's, else BUILDKIT_HOST, else docker)")
	f.StringVar(&b.target, "target", "", "stage to build (default: the last)")
	f.StringArrayVar(&b.args, "build-arg", nil, "KEY=VALUE, or KEY for its value in the environment")
	f.StringArrayVar(&b.contexts, "build-context", nil, "NAME=DIR, NAME=docker-image://REF or NAME=oci-layout://DIR[:TAG][@DIGEST]: a further context")
	f.StringArrayVar(&b.secrets, "secret", nil, "id=ID[,src=FILE|,env=VARIABLE], for RUN --mount=type=secret")
	f.StringArrayVar(&b.ssh, "ssh", nil, "default, or ID=SOCKET|KEY[,KEY…], for RUN --mount=type=ssh")
	f.StringArrayVar(&b.cacheFrom, "cache-from", nil, "REF, type=registry,ref=REF or type=local,src=DIR")
	f.StringArrayVar(&b.cacheTo, "cache-to", nil, "type=registry,ref=REF[,mode=max], type=local,dest=DIR or type=inline")
	f.StringSliceVar(&b.platforms, "platform", nil, "such as linux/arm64; several give an image of several (default: the server's own)")
	f.BoolVar(&b.noCache, "no-cache", false, "run every step anew")
	f.StringSliceVar(&b.noCacheStages, "no-cache-filter", nil, "run every step of these stages anew")
	f.BoolVar(&b.pull, "pull", false, "look for base images anew, although they are in the cache")
	f.StringArrayVar(&b.addHosts, "add-host", nil, "NAME:ADDRESS in RUN steps")
	f.StringVar(&b.shmSize, "shm-size", "", "size of /dev/shm in RUN steps, such as 256m")
	f.StringArrayVar(&b.ulimits, "ulimit", nil, "limit in RUN steps, such as nofile=1024:2048")
	f.StringVar(&b.epoch, "source-date-epoch", os.Getenv("SOURCE_DATE_EPOCH"), `what later timestamps in the image are set to, seconds since 1970, so that the same source is the same image (default 1980); "none": they stay`)
}

// options are a build's, of the flags and lotse.yml in dir.
func (b *buildInputs) options(dir string, in deploy.Build) (build.Options, error) {
	o := build.Options{Context: filepath.Join(dir, in.Context), Dockerfile: b.file, Target: in.Target, Args: maps.Clone(in.Args), Contexts: map[string]string{},
		Platform: in.Platform, NoCache: b.noCache, NoCacheStages: b.noCacheStages, Pull: b.pull, AddHosts: b.addHosts, Ulimits: b.ulimits, Epoch: b.epoch}
	if b.file == "" && in.Dockerfile != "" {
		o.Dockerfile = filepath.Join(dir, in.Dockerfile)
	}
	if b.target != "" {
		o.Target = b.target
	}
	if len(b.platforms) > 0 {
		o.Platform = strings.Join(b.platforms, ",")
	}
	if b.shmSize != "" {
		n, err := units.RAMInBytes(b.shmSize)
		if err != nil {
			return o, usageError{fmt.Errorf("--shm-size: %w", err)}
		}
		o.ShmSize = n
	}
	if o.Args == nil {
		o.Args = map[string]string{}
	}
	for _, a := range b.args {
		k, v, given := strings.Cut(a, "=")
		if !given {
			if v, given = os.LookupEnv(k); !given {
				continue
			}
		}
		o.Args[k] = v
	}
	for name, at := range in.Contexts {
		if !strings.Contains(at, "://") && !filepath.IsAbs(at) {
			at = filepath.Join(dir, at)
		}
		o.Contexts[name] = at
	}
	for _, c := range b.contexts {
		name, at, ok := strings.Cut(c, "=")
		if !ok {
			return o, usageError{fmt.Errorf("--build-context %s: NAME=DIR", c)}
		}
		o.Contexts[name] = at
	}
	return o, b.lists(dir, in, &o)
}

// lists adds what can be given several times.
func (b *buildInputs) lists(dir string, in deploy.Build, o *build.Options) error {
	for i, text := range append(in.Secrets[:len(in.Secrets):len(in.Secrets)], b.secrets...) {
		s, err := build.ParseSecret(text)
		if err != nil {
			return usageError{err}
		}
		if s.File != "" && i < len(in.Secrets) && !filepath.IsAbs(s.File) {
			s.File = filepath.Join(dir, s.File)
		}
		o.Secrets = append(o.Secrets, s)
	}
	for _, text := range append(in.SSH[:len(in.SSH):len(in.SSH)], b.ssh...) {
		o.SSH = append(o.SSH, build.ParseAgent(text))
	}
	for flag, list := range map[string][]string{"--cache-from": append(in.CacheFrom[:len(in.CacheFrom):len(in.CacheFrom)], b.cacheFrom...), "--cache-to": append(in.CacheTo[:len(in.CacheTo):len(in.CacheTo)], b.cacheTo...)} {
		for _, text := range list {
			c, err := build.ParseCache(flag, text)
			if err != nil {
				return usageError{err}
			}
			if flag == "--cache-from" {
				o.CacheFrom = append(o.CacheFrom, c)
			} else {
				o.CacheTo = append(o.CacheTo, c)
			}
		}
	}
	return nil
}

// complete gives caches in this server's registry, whose names have no host, their full name, and makes the repositories
// of those that are written.
func (l *local) complete(ctx context.Context, o *build.Options) error {
	for i, c := range slices.Concat(o.CacheFrom, o.CacheTo) {
		if c.Type != "registry" {
			continue
		}
		n, err := l.names([]string{c.Attrs["ref"]})
		if err != nil {
			continue // another registry's
		}
		c.Attrs["ref"] = n[0].String()
		if i >= len(o.CacheFrom) {
			if _, err := ensureNamed(ctx, l.t.clients.ECR, n[0].repository); err != nil {
				return err
			}
		}
	}
	return nil
}
