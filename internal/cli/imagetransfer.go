package cli

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/spf13/cobra"

	"github.com/lotse-project/lotse/internal/deploy"
)

func (a *app) imageInspect() *cobra.Command {
	return &cobra.Command{Use: "inspect IMAGE", Short: "What an image is and how it starts", Args: cobra.ExactArgs(1),
		Example: "  lotse image inspect shop:1.4\n  lotse image inspect shop:1.4 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.registry(cmd.Context())
			if err != nil {
				return err
			}
			images, err := r.images(args[0])
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', 0)
			for _, i := range images {
				digest, err := i.Digest()
				if err != nil {
					return err
				}
				c, err := i.ConfigFile()
				if err != nil {
					return err
				}
				platform := "none: an attestation"
				if p := c.Platform(); p != nil {
					platform = p.String()
				}
				if a.flags.output == "json" {
					if err := json.NewEncoder(a.out).Encode(map[string]any{"digest": digest.String(), "config": c}); err != nil {
						return err
					}
					continue
				}
				layers, err := i.Layers()
				if err != nil {
					return err
				}
				var bytes int64
				for _, l := range layers {
					n, err := l.Size()
					if err != nil {
						return err
					}
					bytes += n
				}
				for _, row := range [][2]string{
					{"digest", digest.String()}, {"platform", platform}, {"layers", fmt.Sprintf("%d, %s", len(layers), size(bytes))},
					{"entry point", strings.Join(c.Config.Entrypoint, " ")}, {"command", strings.Join(c.Config.Cmd, " ")}, {"user", c.Config.User},
					{"directory", c.Config.WorkingDir}, {"ports", strings.Join(keys(c.Config.ExposedPorts), " ")}, {"environment", strings.Join(c.Config.Env, "\n\t")},
				} {
					if row[1] != "" {
						fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
					}
				}
			}
			return w.Flush()
		}}
}

func (a *app) imageExport() *cobra.Command {
	var format string
	c := &cobra.Command{Use: "export IMAGE FILE|DIR", Short: "Write an image to a file, for docker load or `lotse image import` elsewhere", Args: cobra.ExactArgs(2),
		Long:    "Writes an archive as docker save does or, with --format oci, a directory that is an OCI layout, with all of\nthe image's platforms.",
		Example: "  lotse image export shop:1.4 shop.tar\n  lotse image export shop:1.4 shop/ --format oci",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.registry(cmd.Context())
			if err != nil {
				return err
			}
			ref, err := r.reference(args[0])
			if err != nil {
				return err
			}
			switch format {
			case "docker":
				images, err := r.images(args[0])
				if err != nil {
					return err
				}
				if len(images) != 1 {
					return &deploy.Failure{Exit: deploy.ExitUsage, Cause: fmt.Sprintf("%s has %d platforms.", args[0], len(images)), Fix: "Take --format oci."}
				}
				return whole(args[1], func(path string) error { return tarball.WriteToFile(path, ref, images[0]) })
			case "oci":
				return whole(args[1], func(path string) error { return r.layout(ref, path) })
			}
			return &deploy.Failure{Exit: deploy.ExitUsage, Cause: fmt.Sprintf("There is no format %q.", format), Fix: "Take docker or oci."}
		}}
	c.Flags().StringVar(&format, "format", "docker", "docker or oci")
	return c
}

func (a *app) imageCopy() *cobra.Command {
	return &cobra.Command{Use: "copy IMAGE IMAGE", Short: "Copy an image, all of its platforms, to another name or registry", Args: cobra.ExactArgs(2),
		Long:    "Copies between repositories, and from or to other registries, for which Docker's logins are used. Layers that\nare there already don't move.",
		Example: "  lotse image copy shop:1.4 shop:stable\n  lotse image copy ghcr.io/me/shop:1.4 shop:1.4",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.registry(cmd.Context())
			if err != nil {
				return err
			}
			from, err := r.reference(args[0])
			if err != nil {
				return err
			}
			to, err := r.reference(args[1])
			if err != nil {
				return err
			}
			d, err := remote.Get(from, r.options...)
			if err != nil {
				return err
			}
			if d.MediaType.IsIndex() {
				i, err := d.ImageIndex()
				if err != nil {
					return err
				}
				if err := remote.WriteIndex(to, i, r.options...); err != nil {
					return err
				}
			} else {
				i, err := d.Image()
				if err != nil {
					return err
				}
				if err := remote.Write(to, i, r.options...); err != nil {
					return err
				}
			}
			fmt.Fprintf(a.out, "%s@%s\n", to, d.Digest)
			return nil
		}}
}

// Private

// registry is where image names without a host are.
type registry struct {
	ctx     context.Context
	t       *target
	token   authn.AuthConfig
	host    string
	options []remote.Option
}

func (a *app) registry(ctx context.Context) (*registry, error) {
	t, err := a.target(ctx)
	if err != nil {
		return nil, err
	}
	return registryOf(ctx, t)
}

func registryOf(ctx context.Context, t *target) (*registry, error) {
	out, err := t.clients.ECR.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return nil, err
	}
	data := out.AuthorizationData[0]
	r := &registry{ctx: ctx, t: t, token: authn.AuthConfig{Auth: *data.AuthorizationToken}}
	_, r.host, _ = strings.Cut(*data.ProxyEndpoint, "://")
	r.options = []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(r)}
	return r, nil
}

// Resolve is authn.Keychain: our own token for our own registry, Docker's logins for others.
func (r *registry) Resolve(of authn.Resource) (authn.Authenticator, error) {
	if of.RegistryStr() == r.host {
		return authn.FromConfig(r.token), nil
	}
	return authn.DefaultKeychain.Resolve(of)
}

// reference is an image's full name.
func (r *registry) reference(s string) (name.Reference, error) {
	host, _, ok := strings.Cut(s, "/")
	if !ok || !strings.ContainsAny(host, ".:") {
		s = r.host + "/" + s
	}
	ref, err := name.ParseReference(s)
	if err != nil {
		return nil, &deploy.Failure{Exit: deploy.ExitUsage, Cause: fmt.Sprintf("%q is no image: %v", s, err)}
	}
	return ref, nil
}

// images are an image's, one for each platform.
func (r *registry) images(s string) ([]v1.Image, error) {
	ref, err := r.reference(s)
	if err != nil {
		return nil, err
	}
	d, err := remote.Get(ref, r.options...)
	if err != nil {
		return nil, err
	}
	if !d.MediaType.IsIndex() {
		i, err := d.Image()
		return []v1.Image{i}, err
	}
	index, err := d.ImageIndex()
	if err != nil {
		return nil, err
	}
	return partial.FindImages(index, func(d v1.Descriptor) bool { return d.MediaType.IsImage() })
}

// layout writes an OCI layout.
func (r *registry) layout(ref name.Reference, dir string) error {
	d, err := remote.Get(ref, r.options...)
	if err != nil {
		return err
	}
	var add mutate.Appendable
	if d.MediaType.IsIndex() {
		add, err = d.ImageIndex()
	} else {
		add, err = d.Image()
	}
	if err != nil {
		return err
	}
	entry := mutate.IndexAddendum{Add: add}
	if t, ok := ref.(name.Tag); ok {
		entry.Annotations = map[string]string{"org.opencontainers.image.ref.name": t.TagStr()}
	}
	_, err = layout.Write(dir, mutate.AppendManifests(empty.Index, entry))
	return err
}

// pushArchive pushes the image of an archive that is an OCI layout.
func (r *registry) pushArchive(file, repository, tag string) error {
	dir := file + ".layout"
	if err := untar(file, dir); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	all, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return err
	}
	m, err := all.IndexManifest()
	if err != nil {
		return err
	}
	if len(m.Manifests) != 1 {
		return fmt.Errorf("%s holds %d images, not one", file, len(m.Manifests))
	}
	ref, err := name.NewTag(r.host+"/"+repository+":"+tag, name.StrictValidation)
	if err != nil {
		return err
	}
	if d := m.Manifests[0]; d.MediaType.IsIndex() {
		i, err := all.ImageIndex(d.Digest)
		if err != nil {
			return err
		}
		return remote.WriteIndex(ref, i, r.options...)
	}
	i, err := all.Image(m.Manifests[0].Digest)
	if err != nil {
		return err
	}
	return remote.Write(ref, i, r.options...)
}

// untar unpacks the files of an archive that a builder made.
func untar(file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) {
			continue
		}
		path := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		w, err := os.Create(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
	}
}

// whole has something written beside path, and puts it there when it is complete.
func whole(path string, write func(path string) error) error {
	path = filepath.Clean(path)
	if _, err := os.Lstat(path); err == nil {
		return &deploy.Failure{Exit: deploy.ExitRefused, Cause: path + " exists already.", Fix: "Remove it, or take another name."}
	}
	part, err := os.MkdirTemp(filepath.Dir(path), ".lotse-export-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	if err := write(filepath.Join(part, "image")); err != nil {
		return err
	}
	return os.Rename(filepath.Join(part, "image"), path)
}

func keys[V any](m map[string]V) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}
