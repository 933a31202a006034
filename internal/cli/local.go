package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/lotse-project/lotse/internal/build"
	"github.com/lotse-project/lotse/internal/deploy"
)

// local is what a Lotse server has beyond the AWS API; deploy.Local.
type local struct {
	t       *target
	front   string
	inputs  buildInputs            // how to build
	display io.Writer              // for all that the builder says; nil: only what the reporter shows of it
	scratch func() (string, error) // a directory for what is not to be kept
	archive string                 // the image that another builder than the server's made
}

// Build builds on the server, or with the builder that was chosen.
func (l *local) Build(ctx context.Context, in deploy.BuildInput) (deploy.BuildOutput, error) {
	var out deploy.BuildOutput
	o, err := l.inputs.options(in.Dir, in.Build)
	if err != nil {
		return out, err
	}
	if in.Line != nil {
		o.Progress = func(p build.Progress) {
			for _, line := range p.Lines {
				in.Line(line.Text)
			}
		}
	}
	if l.display != nil {
		o.Display, o.DisplayMode, o.Progress = l.display, "plain", nil
	}
	r, err := l.build(ctx, o)
	if err != nil {
		return out, err
	}
	if l.display != nil {
		showWarnings(l.display, r.Warnings)
	}
	tag, err := o.Tag(ctx)
	if err != nil {
		return out, err
	}
	return deploy.BuildOutput{Digest: r.Digest, Tag: tag, Port: int(r.Config.Port()), HasHealth: r.Config.Healthcheck != nil, Steps: r.Steps, Cached: r.Cached, Platform: r.Platform}, nil
}

// build builds, with logins for the server's own registry and a failure that says what to do. An image of another
// builder than the server's is kept until Adopt.
func (l *local) build(ctx context.Context, o build.Options) (build.Result, error) {
	c, err := build.NewClient(build.ClientOptions{Builder: l.inputs.builder, Endpoint: l.t.endpoint, Credentials: l.t.cfg.Credentials, Region: l.t.cfg.Region})
	if err != nil {
		return build.Result{}, err
	}
	if err := l.complete(ctx, &o); err != nil {
		return build.Result{}, err
	}
	o.Auth = l.login
	if l.inputs.builder != "lotse" {
		dir, err := l.scratch()
		if err != nil {
			return build.Result{}, err
		}
		o.Archive = filepath.Join(dir, "image.tar")
	}
	r, err := c.Build(ctx, o)
	var be *build.Error
	var ie *build.InputError
	switch {
	case errors.As(err, &be):
		err = buildFailure(be)
	case errors.As(err, &ie):
		err = usageError{err}
	}
	l.archive = r.Archive
	return r, err
}

// login is how the builder reads base images from the server's own registry; to it that is always on
// its own machine. Other registries get no answer.
func (l *local) login(ctx context.Context, host string) (user, secret string, err error) {
	name, _, err := net.SplitHostPort(host)
	if a, bad := netip.ParseAddr(name); err != nil || name != "localhost" && (bad != nil || !a.IsLoopback()) {
		return "", "", nil
	}
	out, err := l.t.clients.ECR.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return "", "", err
	}
	b, err := base64.StdEncoding.DecodeString(aws.ToString(out.AuthorizationData[0].AuthorizationToken))
	if err != nil {
		return "", "", err
	}
	user, secret, _ = strings.Cut(string(b), ":")
	return user, secret, nil
}

// Adopt gives what was built to a repository. What another builder built is pushed.
func (l *local) Adopt(ctx context.Context, repository, tag, digest string) error {
	if l.archive != "" {
		r, err := registryOf(ctx, l.t)
		if err != nil {
			return err
		}
		return r.pushArchive(l.archive, repository, tag)
	}
	return l.call(ctx, http.MethodPost, "/_lotse/adopt", map[string]string{"repository": repository, "tag": tag, "digest": digest}, nil)
}

// Answered asks which target answered a request. The balancer notes it after the answer is
// out, so a moment's patience is part of the question.
func (l *local) Answered(ctx context.Context, traceID string) (string, error) {
	for try := 0; ; try++ {
		var out struct{ Target string }
		err := l.call(ctx, http.MethodGet, "/_lotse/trace?id="+url.QueryEscape(traceID), nil, &out)
		if err != nil || out.Target != "" || try == 20 {
			return out.Target, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// AccessLog waits for lines of a load balancer's access log.
func (l *local) AccessLog(ctx context.Context, balancer, group string, from int64) ([]string, int64, error) {
	var out struct {
		Next  int64
		Lines []string
	}
	q := url.Values{"balancer": {balancer}, "group": {group}, "from": {strconv.FormatInt(from, 10)}}
	err := l.call(ctx, http.MethodGet, "/_lotse/access?"+q.Encode(), nil, &out)
	return out.Lines, out.Next, err
}

// Front is where the machine takes requests for all balancers.
func (l *local) Front(context.Context) (string, error) {
	if l.front == "" {
		return "", errors.New("the server has no front address: start it with --front")
	}
	return l.front, nil
}

// Private

// call sends a signed request to one of the server's own paths.
func (l *local) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in)
	}
	return l.send(ctx, method, path, bytes.NewReader(body), hash(body), out)
}

// send signs the request with the given hash of its body.
func (l *local) send(ctx context.Context, method, path string, body io.Reader, sum string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(l.t.endpoint, "/")+path, body)
	if err != nil {
		return err
	}
	creds, err := l.t.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	req.Header.Set("X-Amz-Content-Sha256", sum)
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, sum, "lotse", l.t.cfg.Region, time.Now()); err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		var e struct{ Message string }
		if json.Unmarshal(b, &e) == nil && e.Message != "" {
			return errors.New(e.Message)
		}
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

func hash(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// buildFailure shows a Dockerfile's own error, where it is, and the last lines of the step.
func buildFailure(e *build.Error) error {
	f := &deploy.Failure{Exit: deploy.ExitBuild, Cause: "The Dockerfile does not build.", Known: []string{e.Error()}, Fix: e.Hint, Logs: e.Log}
	if full := "no space left on device"; strings.Contains(e.Error(), full) || slices.ContainsFunc(e.Log, func(l string) bool { return strings.Contains(l, full) }) {
		f.Code, f.Cause, f.Fix = "D-DISK-901", "The disk of the Lotse server is full.", "Free some space in its data directory (lotse build prune, lotse image gc), then try again."
		return f
	}
	for line := range strings.Lines(e.Excerpt) {
		f.Known = append(f.Known, strings.TrimRight(line, "\n"))
	}
	return f
}

// showWarnings prints them as docker buildx does.
func showWarnings(w io.Writer, list []build.Warning) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\nWarnings: %d\n", len(list))
	for _, x := range list {
		fmt.Fprintf(w, " - %s\n", x.Text)
		for _, more := range append(x.More, x.URL) {
			if more != "" {
				fmt.Fprintf(w, "   %s\n", more)
			}
		}
	}
	fmt.Fprintln(w)
}
