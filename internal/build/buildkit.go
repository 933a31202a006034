package build

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"
)

// buildkit builds through BuildKit's API: Lotse's, or one elsewhere.
type buildkit struct {
	client *bkclient.Client
	tunnel net.Conn // to Lotse's; nil: another BuildKit
}

// Private

// newTunnelled connects at once, so that a refusal is told as it is, and not as a broken gRPC connection.
func newTunnelled(ctx context.Context, e *endpoint) (*buildkit, error) {
	conn, err := e.tunnel(ctx)
	if err != nil {
		return nil, err
	}
	var used atomic.Bool
	dial := func(context.Context, string) (net.Conn, error) {
		if used.Swap(true) {
			return nil, errors.New("the connection to the builder was lost")
		}
		return conn, nil
	}
	c, err := bkclient.New(ctx, "tcp://"+e.url.Host, bkclient.WithContextDialer(dial))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &buildkit{client: c, tunnel: conn}, nil
}

func newBuildkit(ctx context.Context, address string) (*buildkit, error) {
	c, err := bkclient.New(ctx, address)
	if err != nil {
		return nil, err
	}
	return &buildkit{client: c}, nil
}

func (b *buildkit) close() {
	b.client.Close()
	if b.tunnel != nil {
		b.tunnel.Close() // it may not have been used
	}
}

func (b *buildkit) build(ctx context.Context, o Options, s *source) (Result, error) {
	opt, err := b.solveOpt(o, s)
	if err != nil {
		return Result{}, err
	}
	t := newTracker()
	news := make(chan *bkclient.SolveStatus)
	var eg errgroup.Group
	eg.Go(func() error { return follow(news, t, o) })
	resp, err := b.client.Solve(ctx, nil, opt, news)
	err = errors.Join(err, eg.Wait())
	if ctx.Err() != nil {
		return Result{}, fmt.Errorf("build: %w", context.Cause(ctx))
	}
	if err != nil {
		return Result{}, buildError(err, t)
	}
	return b.result(o, t, resp.ExporterResponse)
}

func (b *buildkit) solveOpt(o Options, s *source) (bkclient.SolveOpt, error) {
	context, err := fsutil.NewFS(s.context)
	if err != nil {
		return bkclient.SolveOpt{}, err
	}
	dockerfile, err := fsutil.NewFS(filepath.Dir(s.dockerfile))
	if err != nil {
		return bkclient.SolveOpt{}, err
	}
	opt := bkclient.SolveOpt{
		Frontend:      frontend,
		FrontendAttrs: frontendAttrs(o, filepath.Base(s.dockerfile)),
		LocalMounts:   map[string]fsutil.FS{"context": context, "dockerfile": dockerfile},
		SharedKey:     sharedKey(s.context), // files that were sent before needn't be sent again
		Session:       []session.Attachable{&logins{auth: o.Auth}},
	}
	if b.tunnel != nil {
		opt.Exports = []bkclient.ExportEntry{{Type: bkclient.ExporterImage, Attrs: exportAttrs(o.Name)}}
		return opt, nil
	}
	opt.Exports, err = archiveExport(o)
	return opt, err
}

func (b *buildkit) result(o Options, t *tracker, response map[string]string) (Result, error) {
	p := t.progress()
	r := Result{Steps: p.Steps, Cached: p.Cached, Digest: response[exptypes.ExporterImageDigestKey], Builder: "lotse"}
	if b.tunnel == nil {
		r.Builder = "buildkit"
		return fromArchive(r, o.Archive)
	}
	config, err := base64.StdEncoding.DecodeString(response[configKey])
	if err != nil {
		return Result{}, fmt.Errorf("image config from the builder: %w", err)
	}
	r.Platform, r.Config, err = parseConfig(config)
	return r, err
}

// archiveExport makes an OCI archive of the image, in a file beside until it is whole.
func archiveExport(o Options) ([]bkclient.ExportEntry, error) {
	if o.Archive == "" {
		return nil, errors.New("a builder that isn't Lotse's needs a file to leave the image in")
	}
	attrs := exportAttrs(o.Name)
	maps.DeleteFunc(attrs, func(k, _ string) bool { return k == "push" || k == "unpack" })
	return []bkclient.ExportEntry{{
		Type:   bkclient.ExporterOCI,
		Attrs:  attrs,
		Output: func(map[string]string) (io.WriteCloser, error) { return os.Create(o.Archive) },
	}}, nil
}

// sharedKey names a directory of this machine without telling it.
func sharedKey(dir string) string {
	host, _ := os.Hostname()
	h := sha256.Sum256([]byte(host + "\x00" + dir))
	return hex.EncodeToString(h[:16])
}
