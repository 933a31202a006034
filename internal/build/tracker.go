package build

import (
	"strings"

	bkclient "github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// A tracker follows a build by what BuildKit says of it. It belongs to one goroutine until the build has ended.
type tracker struct {
	vertices map[digest.Digest]*vertex
	order    []digest.Digest // as they were first seen
	warnings []Warning
}

// A vertex is a step of the Dockerfile, or one of BuildKit's own.
type vertex struct {
	name    string
	running bool
	done    bool
	cached  bool
	failed  bool
	partial string   // the line that isn't complete yet
	log     []string // the last errorLines lines
}

func newTracker() *tracker { return &tracker{vertices: map[digest.Digest]*vertex{}} }

// update takes in news and tells how far the build is.
func (t *tracker) update(s *bkclient.SolveStatus) Progress {
	for _, v := range s.Vertexes {
		x := t.vertex(v.Digest)
		x.name = v.Name
		x.running = v.Started != nil && v.Completed == nil
		x.done = v.Completed != nil
		x.cached = x.cached || v.Cached
		x.failed = x.failed || v.Error != ""
	}
	var out []Line
	for _, l := range s.Logs {
		x := t.vertex(l.Vertex)
		for _, text := range x.print(string(l.Data)) {
			out = append(out, Line{Step: x.name, Text: text})
		}
	}
	for _, w := range s.Warnings {
		t.warnings = append(t.warnings, warning(w))
	}
	p := t.progress()
	p.Lines = out
	return p
}

// step gives a vertex's name and the last lines it printed.
func (t *tracker) step(dgst string) (name string, log []string) {
	x, ok := t.vertices[digest.Digest(dgst)]
	if !ok {
		return "", nil
	}
	log = x.log
	if x.partial != "" {
		log = append(log, x.partial)
	}
	return x.name, log
}

// failed gives the step of the Dockerfile that failed, if there is one.
func (t *tracker) failed() (name string, log []string) {
	for _, d := range t.order {
		if x := t.vertices[d]; x.failed && x.counts() {
			return t.step(d.String())
		}
	}
	return "", nil
}

// Private

func (t *tracker) vertex(d digest.Digest) *vertex {
	x, ok := t.vertices[d]
	if !ok {
		x = &vertex{}
		t.vertices[d] = x
		t.order = append(t.order, d)
	}
	return x
}

func (t *tracker) progress() Progress {
	var p Progress
	for _, d := range t.order {
		x := t.vertices[d]
		if !x.counts() {
			continue
		}
		p.Steps++
		if x.done {
			p.Done++
		}
		if x.cached {
			p.Cached++
		}
		if x.running {
			p.Current = x.name
		}
	}
	return p
}

// counts tells the Dockerfile's steps, "[build 2/5] COPY . .", from BuildKit's own, "[internal] load .dockerignore"
// and "exporting to image".
func (x *vertex) counts() bool {
	return strings.HasPrefix(x.name, "[") && !strings.HasPrefix(x.name, "[internal]") && !strings.HasPrefix(x.name, "[auth]") && !strings.HasPrefix(x.name, "[context ")
}

// print takes output in and gives the lines that it completed.
func (x *vertex) print(data string) []string {
	all := strings.Split(x.partial+strings.ReplaceAll(data, "\r\n", "\n"), "\n")
	x.partial = all[len(all)-1]
	complete := all[:len(all)-1]
	x.log = append(x.log, complete...)
	if n := len(x.log); n > errorLines {
		x.log = append([]string(nil), x.log[n-errorLines:]...)
	}
	return complete
}

func warning(w *bkclient.VertexWarning) Warning {
	x := Warning{Text: string(w.Short), URL: w.URL}
	for _, d := range w.Detail {
		x.More = append(x.More, string(d))
	}
	if w.SourceInfo != nil {
		x.File = w.SourceInfo.Filename
	}
	if len(w.Range) > 0 {
		x.Line = int(w.Range[0].Start.Line)
	}
	return x
}
