package cli

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/lotse-project/lotse/internal/build"
	"github.com/lotse-project/lotse/internal/deploy"
)

// buildResults are the flags that say what becomes of a build.
type buildResults struct {
	tags, labels, annotations, outputs []string
	metadata, iidfile                  string
	provenance, sbom                   string
	progress                           string
}

func (a *app) buildCommand() *cobra.Command {
	var out buildResults
	c := &cobra.Command{Use: "build [DIR | URL | -]", Short: "Build the image and push it to its repository; deploy nothing", Args: cobra.MaximumNArgs(1),
		Long: `Builds a Dockerfile on the server, with BuildKit, and pushes the image to a repository, which is made if it is
missing; on the server's machine no byte is copied for that. Without --tag the repository is the
application's, and the tag is the commit (with a hash of the content, if something was changed).
Prints the image's reference. lotse.yml's image.build counts; flags are docker buildx's and come on top.

With --output, results are written on this machine, and pushed only with --output type=image, too.

An archive or a Dockerfile is read from standard input with -. Builds reach no network: base images
are those that were imported (lotse image import) or are in the server's repositories.

The same source gives the same image, byte by byte, also elsewhere and from an empty cache, because
timestamps in the layers are set to 1980-01-01; --source-date-epoch none leaves them as they are.`,
		Example: `  lotse build
  lotse build -t shop:1.4 -t shop:latest --build-arg VERSION=1.4 .
  lotse build -t shop:1.4 --secret id=npm,src=$HOME/.npmrc --ssh default .
  lotse build --target test --output type=local,dest=report .
  lotse build -t shop:1.4 --cache-to type=registry,ref=shop:cache,mode=max --cache-from shop:cache .
  lotse build -t shop:1.4 --platform linux/amd64,linux/arm64 .
  git archive HEAD | lotse build -t shop:1.4 -
  lotse build prune --keep 2GiB`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runBuild(cmd.Context(), folder(args), out) }}
	f := c.Flags()
	a.inputs.flags(f)
	f.StringVarP(&a.inputs.file, "file", "f", "", "the Dockerfile, - for standard input (default DIR/Dockerfile)")
	f.StringArrayVarP(&out.tags, "tag", "t", nil, "REPOSITORY[:TAG], also with the registry's host; several are possible")
	f.StringArrayVar(&out.labels, "label", nil, "KEY=VALUE in the image's config")
	f.StringArrayVar(&out.annotations, "annotation", nil, "KEY=VALUE in the image's manifest")
	f.StringArrayVarP(&out.outputs, "output", "o", nil, "DIR, type=local|tar|oci|docker,dest=PATH (- for standard output), or type=image[,compression=gzip]")
	f.StringVar(&out.metadata, "metadata-file", "", "write what is known of the result to this file, as JSON")
	f.StringVar(&out.iidfile, "iidfile", "", "write the image's id to this file")
	f.StringVar(&out.provenance, "provenance", "", "attach how the image was built: true, mode=min or mode=max (default: not)")
	f.StringVar(&out.sbom, "sbom", "", "attach what is in the image, as found by a scanner's image: true or generator=IMAGE (default: not)")
	f.StringVar(&out.progress, "progress", "auto", "auto, tty, plain, rawjson, json or quiet")
	c.AddCommand(a.buildPrune())
	return c
}

func (a *app) buildPrune() *cobra.Command {
	var o build.PruneOptions
	var keep string
	c := &cobra.Command{Use: "prune", Short: "Free what builds keep for the next ones", Args: cobra.NoArgs,
		Long: `Removes build cache at once. That happens by itself as well, within a minute of a build, as far as
the cache is greater than the server's --build-cache, and when less than 5 % of the disk are free.
Images in repositories stay, and so does what a build uses now.`,
		Example: "  lotse build prune\n  lotse build prune --all\n  lotse build prune --keep 2GiB\n  lotse build prune --unused-for 72h",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep != "" {
				n, err := units.RAMInBytes(keep)
				if err != nil {
					return usageError{fmt.Errorf("--keep: %w", err)}
				}
				o.Keep = n
			}
			t, err := a.target(cmd.Context())
			if err != nil {
				return err
			}
			if t.local == nil {
				return fmt.Errorf("%s is no Lotse server", t.banner())
			}
			var gone build.Pruned
			if err := t.local.call(cmd.Context(), http.MethodPost, "/_lotse/builds/prune", o, &gone); err != nil {
				return err
			}
			if a.flags.output == "json" {
				return json.NewEncoder(a.out).Encode(gone)
			}
			fmt.Fprintf(a.out, "freed %s: %d records\n", size(gone.Bytes), gone.Records)
			return nil
		}}
	c.Flags().BoolVarP(&o.All, "all", "a", false, "also cache mounts, contexts, and what belongs to images")
	c.Flags().StringVar(&keep, "keep", "", "how much may stay, such as 2GiB, the used last (default: nothing)")
	c.Flags().DurationVar(&o.UnusedFor, "unused-for", 0, "only what wasn't used for this long")
	return c
}

// Private

func (a *app) runBuild(ctx context.Context, dir string, out buildResults) error {
	o, app, err := a.buildOptions(dir, out)
	if err != nil {
		return err
	}
	t, err := a.target(ctx)
	if err != nil {
		return err
	}
	if t.local == nil {
		return &deploy.Failure{Exit: deploy.ExitRefused, Cause: "Building and pushing works against a Lotse server so far.", Fix: "Push the image yourself and pass --image REF."}
	}
	t.local.inputs, t.local.scratch = a.inputs, a.scratch
	names, err := t.local.names(out.tags)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.err, "target   %s\n\n", t.banner())
	for _, n := range names {
		if err := pushable(ctx, t.clients.ECR, n.repository); err != nil {
			return err
		}
		o.Names = append(o.Names, n.String())
	}
	begun := time.Now()
	r, err := t.local.build(ctx, o)
	if err != nil && ctx.Err() != nil {
		return interrupted{"the build was stopped; what its steps had finished is in the cache"}
	}
	if err != nil {
		return err
	}
	if o.Display != nil && out.progress != "rawjson" {
		showWarnings(a.err, r.Warnings)
	}
	if out.progress != "quiet" {
		fmt.Fprintf(a.err, "build    %s  %d/%d steps cached  %s\n", seconds(time.Since(begun)), r.Cached, r.Steps, r.Digest)
	}
	if r.Digest != "" {
		if err := a.push(ctx, t, app, o, names, r.Digest); err != nil {
			return err
		}
	}
	return a.notes(out, r)
}

// buildOptions are the build's, and the application that it is, if it has no other name.
func (a *app) buildOptions(dir string, out buildResults) (o build.Options, name string, err error) {
	var in deploy.Build
	here := dir != "-" && (!strings.Contains(dir, "://") && !strings.HasPrefix(dir, "git@"))
	if _, err := os.Stat(dir); err == nil {
		here = true
	}
	if here {
		c, err := deploy.LoadUnnamed(dir)
		if err != nil {
			return o, "", err
		}
		in, name = c.Image.Build, c.Name
	}
	if o, err = a.inputs.options(dir, in); err != nil {
		return o, "", err
	}
	if !here {
		o.Context = dir
	}
	o.Stdin = a.in
	if o.Labels, err = pairs("--label", out.labels); err != nil {
		return o, "", err
	}
	if o.Annotations, err = pairs("--annotation", out.annotations); err != nil {
		return o, "", err
	}
	o.Provenance, o.SBOM = out.provenance, out.sbom
	image := len(out.outputs) == 0
	for _, text := range out.outputs {
		w, err := build.ParseOutput(text)
		if err != nil {
			return o, "", usageError{err}
		}
		w.Stdout = a.out
		image = image || w.Dest == ""
		o.Outputs = append(o.Outputs, w)
	}
	switch out.progress {
	case "auto", "tty", "plain", "rawjson":
		o.Display, o.DisplayMode = a.err, out.progress
	case "json":
		e := json.NewEncoder(a.out)
		o.Progress = func(p build.Progress) { _ = e.Encode(p) }
	case "quiet":
	default:
		return o, "", usageError{fmt.Errorf("--progress is auto, tty, plain, rawjson, json or quiet, not %q", out.progress)}
	}
	if image && len(out.tags) == 0 {
		if !here {
			return o, "", usageError{errors.New("what isn't built of a folder needs a name: --tag REPOSITORY:TAG")}
		}
		if _, err := deploy.LoadConfig(dir); err != nil {
			return o, "", err
		}
	}
	return o, name, nil
}

// push gives the image to its repositories and prints its references.
func (a *app) push(ctx context.Context, t *target, app string, o build.Options, names []imageName, digest string) error {
	if len(names) == 0 {
		tag, err := o.Tag(ctx)
		if err != nil {
			return err
		}
		own := deploy.App{Config: deploy.Config{Name: app}, Env: a.flags.env}
		uri, _, err := deploy.EnsureRepository(ctx, t.clients, own)
		if err != nil {
			return pushFailure(err)
		}
		if err := t.local.Adopt(ctx, own.Repository(), tag, digest); err != nil {
			return pushFailure(err)
		}
		fmt.Fprintln(a.out, uri+"@"+digest)
		return nil
	}
	for _, n := range names {
		uri, err := ensureNamed(ctx, t.clients.ECR, n.repository)
		if err != nil {
			return pushFailure(err)
		}
		if err := t.local.Adopt(ctx, n.repository, n.tag, digest); err != nil {
			return pushFailure(err)
		}
		fmt.Fprintf(a.out, "%s:%s@%s\n", uri, n.tag, digest)
	}
	return nil
}

func pushFailure(err error) error {
	var f *deploy.Failure
	if errors.As(err, &f) {
		return err
	}
	return &deploy.Failure{Exit: deploy.ExitPush, Cause: "The image could not be pushed.", Err: err}
}

// pushable asks before a build what would make its push fail after it: a name that no repository can have, keys that
// aren't accepted.
func pushable(ctx context.Context, c *ecr.Client, repository string) error {
	var none *ecrtypes.RepositoryNotFoundException
	_, err := c.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repository}})
	if err == nil || errors.As(err, &none) {
		return nil
	}
	return &deploy.Failure{Exit: deploy.ExitRefused, Cause: fmt.Sprintf("An image can't be pushed to the repository %q.", repository), Err: err}
}

// ensureNamed makes a repository unless it is there.
func ensureNamed(ctx context.Context, c *ecr.Client, name string) (uri string, err error) {
	var none *ecrtypes.RepositoryNotFoundException
	d, err := c.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{name}})
	if err == nil {
		return aws.ToString(d.Repositories[0].RepositoryUri), nil
	}
	if !errors.As(err, &none) {
		return "", err
	}
	m, err := c.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: &name})
	if err != nil {
		return "", err
	}
	return aws.ToString(m.Repository.RepositoryUri), nil
}

// notes writes what --metadata-file and --iidfile ask for. Source: docker buildx, build.go and commands/build.go.
func (a *app) notes(out buildResults, r build.Result) error {
	if out.metadata != "" {
		m := map[string]any{}
		for k, v := range r.Response {
			m[k] = v
			if b, err := base64.StdEncoding.DecodeString(v); err == nil && json.Valid(b) && len(b) > 0 && b[0] == '{' {
				m[k] = json.RawMessage(b)
			}
		}
		b, err := json.MarshalIndent(m, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(out.metadata, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if out.iidfile == "" {
		return nil
	}
	return os.WriteFile(out.iidfile, []byte(cmp.Or(r.Response["containerimage.config.digest"], r.Digest)), 0o644)
}

// An imageName is one in the server's registry.
type imageName struct{ host, repository, tag string }

func (n imageName) String() string { return n.host + "/" + n.repository + ":" + n.tag }

var ecrHost = regexp.MustCompile(`^[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com$`)

// names reads --tag, and refuses what isn't in the server's registry.
func (l *local) names(tags []string) (out []imageName, err error) {
	api := ""
	if _, rest, ok := strings.Cut(l.t.endpoint, "://"); ok {
		api, _, _ = strings.Cut(rest, "/")
	}
	for _, text := range tags {
		n := imageName{host: api, repository: text, tag: "latest"}
		if host, rest, ok := strings.Cut(text, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
			if !l.ours(host, api) {
				return nil, &deploy.Failure{Exit: deploy.ExitUsage, Cause: fmt.Sprintf("%s is of another registry than this server's.", text),
					Fix: fmt.Sprintf("Build --tag NAME:TAG, then: lotse image copy NAME:TAG %s", text)}
			}
			n.repository = rest
		}
		if i := strings.LastIndexByte(n.repository, ':'); i >= 0 {
			n.repository, n.tag = n.repository[:i], n.repository[i+1:]
		}
		if _, err := reference.Parse(n.String()); err != nil || strings.Contains(n.repository, "@") {
			return nil, usageError{fmt.Errorf("--tag %s: REPOSITORY[:TAG], of small letters, digits and . _ - /", text)}
		}
		out = append(out, n)
	}
	return out, nil
}

// ours tells a name of the server's registry: what the API is called, this machine's at that port, and ECR's own.
func (l *local) ours(host, api string) bool {
	if host == api || ecrHost.MatchString(host) && strings.HasPrefix(host, l.t.account+".dkr.ecr."+l.t.cfg.Region+".") {
		return true
	}
	_, want, _ := net.SplitHostPort(api)
	name, port, err := net.SplitHostPort(host)
	a, bad := netip.ParseAddr(name)
	return err == nil && port == want && (name == "localhost" || bad == nil && a.IsLoopback())
}

func pairs(flag string, list []string) (map[string]string, error) {
	m := map[string]string{}
	for _, text := range list {
		k, v, ok := strings.Cut(text, "=")
		if !ok || k == "" {
			return nil, usageError{fmt.Errorf("%s %s: KEY=VALUE", flag, text)}
		}
		m[k] = v
	}
	return m, nil
}
