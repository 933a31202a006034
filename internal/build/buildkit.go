package build

import (
	"cmp"
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
	"strings"
	"sync/atomic"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session/upload/uploadprovider"
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
	mounts, filename, err := s.mounts()
	if err != nil {
		return bkclient.SolveOpt{}, err
	}
	attached, err := attachments(o)
	if err != nil {
		return bkclient.SolveOpt{}, &InputError{err}
	}
	opt := bkclient.SolveOpt{
		Frontend:      frontend,
		FrontendAttrs: frontendAttrs(o, filename),
		LocalMounts:   mounts,
		SharedKey:     sharedKey(s.context), // files that were sent before needn't be sent again
		Session:       attached,
		CacheImports:  caches(o.CacheFrom),
		CacheExports:  caches(o.CacheTo),
	}
	switch {
	case s.upload != nil:
		up := uploadprovider.New()
		opt.FrontendAttrs["context"] = up.Add(io.NopCloser(s.upload))
		opt.Session = append(opt.Session, up)
	case s.remote != "":
		opt.FrontendAttrs["context"] = s.remote
		if s.text != nil {
			opt.FrontendAttrs["dockerfilekey"] = "dockerfile"
		}
	}
	if err := named(o.Contexts, &opt); err != nil {
		return opt, err
	}
	image := bkclient.ExportEntry{Type: bkclient.ExporterImage, Attrs: exportAttrs(strings.Join(o.Names, ","))}
	if b.tunnel == nil && o.image() {
		if image, err = archiveExport(o); err != nil {
			return opt, err
		}
	}
	if o.epoch() != "" {
		image.Attrs["rewrite-timestamp"] = "true"
	}
	opt.Exports, err = exports(o, image)
	return opt, err
}

func (b *buildkit) result(o Options, t *tracker, response map[string]string) (Result, error) {
	p := t.progress()
	r := Result{Steps: p.Steps, Cached: p.Cached, Builder: "lotse", Platform: o.Platform, Warnings: t.warnings}
	if b.tunnel == nil {
		r.Builder = "buildkit"
	}
	encoded := response[configKey]
	delete(response, configKey)
	r.Response = response
	switch {
	case !o.image():
		return r, nil
	case b.tunnel == nil:
		return fromArchive(r, o.Archive)
	}
	r.Digest = response[exptypes.ExporterImageDigestKey]
	config, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return Result{}, fmt.Errorf("image config from the builder: %w", err)
	}
	platform, info, err := parseConfig(config)
	r.Platform, r.Config = cmp.Or(o.Platform, platform), info
	return r, err
}

// archiveExport makes an OCI archive of the image.
func archiveExport(o Options) (bkclient.ExportEntry, error) {
	if o.Archive == "" {
		return bkclient.ExportEntry{}, errors.New("a builder that isn't Lotse's needs a file to leave the image in")
	}
	attrs := exportAttrs(strings.Join(o.Names, ","))
	maps.DeleteFunc(attrs, func(k, _ string) bool { return k == "push" || k == "unpack" })
	return bkclient.ExportEntry{
		Type:   bkclient.ExporterOCI,
		Attrs:  attrs,
		Output: func(map[string]string) (io.WriteCloser, error) { return os.Create(o.Archive) },
	}, nil
}

// sharedKey names a directory of this machine without telling it.
func sharedKey(dir string) string {
	host, _ := os.Hostname()
	h := sha256.Sum256([]byte(host + "\x00" + dir))
	return hex.EncodeToString(h[:16])
}
