package build

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	bkclient "github.com/moby/buildkit/client"
	"golang.org/x/sync/errgroup"
)

// buildx builds through docker's command. It leaves an OCI archive, for which the builder needs a driver that can
// export one (docker-container, or docker with the containerd image store).
type buildx struct{ docker string }

// Private

func newBuildx() (*buildx, error) {
	docker, err := exec.LookPath("docker")
	if err != nil {
		return nil, fmt.Errorf("builder docker: %w", err)
	}
	return &buildx{docker}, nil
}

func (b *buildx) close() {}

func (b *buildx) build(ctx context.Context, o Options, s *source) (Result, error) {
	if o.Archive == "" {
		return Result{}, errors.New("a builder that isn't Lotse's needs a file to leave the image in")
	}
	cmd := exec.CommandContext(ctx, b.docker, buildxArgs(o, s)...)
	cmd.WaitDelay = 10 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return Result{}, err
	}
	if err := cmd.Start(); err != nil {
		return Result{}, err
	}
	t := newTracker()
	news := make(chan *bkclient.SolveStatus)
	var eg errgroup.Group
	eg.Go(func() error { return follow(news, t, o) })
	said := readStatus(stderr, news)
	close(news)
	shown := eg.Wait()
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return Result{}, fmt.Errorf("build: %w", context.Cause(ctx))
		}
		return Result{}, buildxError(err, said, t)
	}
	if shown != nil {
		return Result{}, shown
	}
	p := t.progress()
	return fromArchive(Result{Steps: p.Steps, Cached: p.Cached, Builder: "docker"}, o.Archive)
}

func buildxArgs(o Options, s *source) []string {
	a := []string{"buildx", "build", "--progress", "rawjson", "--provenance", "false", "--sbom", "false", "--file", s.dockerfile,
		"--output", "type=oci,oci-mediatypes=true,compression=zstd,dest=" + o.Archive}
	if o.Name != "" {
		a = append(a, "--tag", o.Name)
	}
	if o.Target != "" {
		a = append(a, "--target", o.Target)
	}
	if o.Platform != "" {
		a = append(a, "--platform", o.Platform)
	}
	if o.NoCache {
		a = append(a, "--no-cache")
	}
	for _, k := range slices.Sorted(maps.Keys(o.Args)) {
		a = append(a, "--build-arg", k+"="+o.Args[k])
	}
	for _, k := range slices.Sorted(maps.Keys(o.Labels)) {
		a = append(a, "--label", k+"="+o.Labels[k])
	}
	return append(a, s.context)
}

// readStatus reads buildx's raw progress, one JSON value per line. It gives the other lines: what buildx itself says.
func readStatus(r io.Reader, news chan<- *bkclient.SolveStatus) string {
	var said bytes.Buffer
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var s bkclient.SolveStatus
		if bytes.HasPrefix(line, []byte("{")) && json.Unmarshal(line, &s) == nil {
			news <- &s
		} else {
			said.Write(line)
		}
		if err != nil {
			return strings.TrimSpace(said.String())
		}
	}
}

// buildxError tells a Dockerfile that doesn't build, where a step failed, from a docker that doesn't work.
func buildxError(err error, said string, t *tracker) error {
	text := fmt.Errorf("docker buildx: %w: %s", err, said)
	step, log := t.failed()
	if step == "" && !strings.Contains(said, "failed to solve") {
		return text
	}
	return &Error{File: "Dockerfile", Step: step, Log: log, Err: text}
}
