package build

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
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
	if o.Archive == "" && o.image() {
		return Result{}, errors.New("a builder that isn't Lotse's needs a file to leave the image in")
	}
	cmd := exec.CommandContext(ctx, b.docker, buildxArgs(o, s)...)
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdin = o.Stdin
	if s.upload != nil {
		cmd.Stdin = s.upload
	} else if s.text != nil && s.dockerfile == "" {
		cmd.Stdin = bytes.NewReader(s.text)
	}
	for _, w := range o.Outputs {
		if w.Dest == "-" {
			cmd.Stdout = w.Stdout
		}
	}
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
	r := Result{Steps: p.Steps, Cached: p.Cached, Builder: "docker"}
	if !o.image() {
		return r, nil
	}
	return fromArchive(r, o.Archive)
}

// buildxArgs are docker's arguments for the options.
func buildxArgs(o Options, s *source) []string {
	a := []string{"buildx", "build", "--progress", "rawjson"}
	add := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				a = append(a, flag, v)
			}
		}
	}
	sorted := func(flag string, m map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			a = append(a, flag, k+"="+m[k])
		}
	}
	add("--provenance", cmp.Or(o.Provenance, "false"))
	add("--sbom", cmp.Or(o.SBOM, "false"))
	add("--file", cmp.Or(s.dockerfile, o.Dockerfile))
	attrs := ",oci-mediatypes=true,compression=zstd"
	if o.epoch() != "" {
		attrs += ",rewrite-timestamp=true"
		if _, own := o.Args[epochArg]; !own {
			add("--build-arg", epochArg+"="+o.epoch())
		}
	}
	if o.image() {
		add("--output", "type=oci"+attrs+",dest="+o.Archive)
	}
	for _, w := range o.Outputs {
		if w.image() {
			continue
		}
		text := "type=" + w.Type + ",dest=" + w.Dest
		for _, k := range slices.Sorted(maps.Keys(w.Attrs)) {
			text += "," + k + "=" + w.Attrs[k]
		}
		add("--output", text)
	}
	add("--tag", o.Names...)
	add("--target", o.Target)
	add("--platform", o.Platform)
	if o.ShmSize > 0 {
		add("--shm-size", strconv.FormatInt(o.ShmSize, 10))
	}
	add("--ulimit", o.Ulimits...)
	add("--add-host", o.AddHosts...)
	add("--no-cache-filter", o.NoCacheStages...)
	if o.NoCache {
		a = append(a, "--no-cache")
	}
	if o.Pull {
		a = append(a, "--pull")
	}
	for _, x := range o.Secrets {
		text := "id=" + x.ID
		if x.File != "" {
			text += ",src=" + x.File
		}
		if x.Env != "" {
			text += ",env=" + x.Env
		}
		add("--secret", text)
	}
	for _, x := range o.SSH {
		text := cmp.Or(x.ID, "default")
		if len(x.Paths) > 0 {
			text += "=" + strings.Join(x.Paths, ",")
		}
		add("--ssh", text)
	}
	add("--cache-from", cacheTexts(o.CacheFrom)...)
	add("--cache-to", cacheTexts(o.CacheTo)...)
	sorted("--build-context", o.Contexts)
	sorted("--build-arg", o.Args)
	sorted("--label", o.Labels)
	sorted("--annotation", o.Annotations)
	return append(a, cmp.Or(s.context, o.Context))
}

func cacheTexts(cs []Cache) (out []string) {
	for _, c := range cs {
		text := "type=" + c.Type
		for _, k := range slices.Sorted(maps.Keys(c.Attrs)) {
			text += "," + k + "=" + c.Attrs[k]
		}
		out = append(out, text)
	}
	return out
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
