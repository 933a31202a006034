package build

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

func TestTracker(t *testing.T) {
	now := time.Now()
	a, b, c := digest.FromString("a"), digest.FromString("b"), digest.FromString("c")
	tr := newTracker()
	got := []Progress{
		tr.update(&bkclient.SolveStatus{Vertexes: []*bkclient.Vertex{{Digest: c, Name: "[internal] load build definition from Dockerfile", Started: &now}}}),
		tr.update(&bkclient.SolveStatus{Vertexes: []*bkclient.Vertex{{Digest: a, Name: "[1/2] FROM x", Cached: true, Started: &now, Completed: &now}, {Digest: b, Name: "[2/2] RUN y"}}}),
		tr.update(&bkclient.SolveStatus{Vertexes: []*bkclient.Vertex{{Digest: b, Name: "[2/2] RUN y", Started: &now}}}),
		tr.update(&bkclient.SolveStatus{Logs: []*bkclient.VertexLog{{Vertex: b, Data: []byte("one\r\ntw")}}}),
		tr.update(&bkclient.SolveStatus{Logs: []*bkclient.VertexLog{{Vertex: b, Data: []byte("o\nthree")}}}),
		tr.update(&bkclient.SolveStatus{Vertexes: []*bkclient.Vertex{{Digest: b, Name: "[2/2] RUN y", Started: &now, Completed: &now, Error: "exit code: 1"}}}),
	}
	want := []Progress{
		{},
		{Steps: 2, Done: 1, Cached: 1},
		{Steps: 2, Done: 1, Cached: 1, Current: "[2/2] RUN y"},
		{Steps: 2, Done: 1, Cached: 1, Current: "[2/2] RUN y", Lines: []Line{{"[2/2] RUN y", "one"}}},
		{Steps: 2, Done: 1, Cached: 1, Current: "[2/2] RUN y", Lines: []Line{{"[2/2] RUN y", "two"}}},
		{Steps: 2, Done: 2, Cached: 1},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	tr.update(&bkclient.SolveStatus{Warnings: []*bkclient.VertexWarning{{Short: []byte("X: y (line 3)"), Detail: [][]byte{[]byte("why")}, URL: "u",
		SourceInfo: &pb.SourceInfo{Filename: "Dockerfile"}, Range: []*pb.Range{{Start: &pb.Position{Line: 3}}}}}})
	if d := cmp.Diff([]Warning{{File: "Dockerfile", Line: 3, Text: "X: y (line 3)", More: []string{"why"}, URL: "u"}}, tr.warnings); d != "" {
		t.Errorf("warnings (-want +got):\n%s", d)
	}
	name, log := tr.failed()
	if d := cmp.Diff([]string{"one", "two", "three"}, log); name != "[2/2] RUN y" || d != "" {
		t.Errorf("failed() = %q, %q", name, log)
	}
}

func TestError_Error(t *testing.T) {
	for _, tt := range []struct {
		e    Error
		want string
	}{
		{Error{File: "Dockerfile", Line: 5, Step: "[2/2] RUN false", ExitCode: 1, Err: errors.New("long")}, "Dockerfile:5: [2/2] RUN false: exit code 1"},
		{Error{File: "Dockerfile", Line: 2, Err: errors.New("failed to solve: unknown instruction: COPPY")}, "Dockerfile:2: unknown instruction: COPPY"},
		{Error{Step: "[1/1] COPY x /", Err: errors.New("not found")}, "[1/1] COPY x /: not found"},
		{Error{Err: errors.New("failed to solve: what")}, "what"},
	} {
		if got := tt.e.Error(); got != tt.want {
			t.Errorf("Error() = %q, want %q", got, tt.want)
		}
	}
}
