package build

import (
	"errors"
	"fmt"
	"strings"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errorLines is how many lines of the failing step's output an Error keeps.
const errorLines = 20

// An Error is a Dockerfile that doesn't build: its fault, not the builder's.
type Error struct {
	File     string   // the Dockerfile's name
	Line     int      // where in it, from 1; 0: not known
	Source   string   // the lines of the Dockerfile that failed
	Step     string   // the step as BuildKit names it, "[build 3/5] RUN go build"; empty when none had begun
	ExitCode int      // of the step's command; 0: no command failed
	Log      []string // the last lines the step printed, oldest first
	Err      error    // BuildKit's own error
}

// Error is one line; Log and Source are for the caller to show.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "%s:%d: ", e.File, e.Line)
	}
	if e.Step != "" && e.ExitCode != 0 {
		fmt.Fprintf(&b, "%s: exit code %d", e.Step, e.ExitCode)
		return b.String()
	}
	if e.Step != "" {
		fmt.Fprintf(&b, "%s: ", e.Step)
	}
	b.WriteString(strings.TrimPrefix(e.Err.Error(), "failed to solve: "))
	return b.String()
}

// Unwrap gives BuildKit's own error.
func (e *Error) Unwrap() error { return e.Err }

// Private

// buildError makes an Error of what Solve returned, unless the connection or the caller ended it.
func buildError(err error, t *tracker) error {
	var v *errdefs.VertexError
	step := errors.As(err, &v)
	if s := status.Convert(cause(err)); !step && len(errdefs.Sources(err)) == 0 {
		switch {
		case s.Code() == codes.Unavailable, s.Code() == codes.Canceled, s.Code() == codes.DeadlineExceeded, s.Code() == codes.Unimplemented,
			strings.HasPrefix(s.Message(), refusal):
			return fmt.Errorf("build: %w", err)
		}
	}
	e := &Error{Err: err}
	if step {
		e.Step, e.Log = t.step(v.Vertex.GetDigest())
	} else {
		e.Step, e.Log = t.failed()
	}
	var exit *gatewaypb.ExitError
	if errors.As(err, &exit) {
		e.ExitCode = int(exit.ExitCode)
	}
	for _, s := range errdefs.Sources(err) {
		if s.Info == nil || len(s.Ranges) == 0 {
			continue
		}
		e.File, e.Line = s.Info.Filename, int(s.Ranges[0].Start.Line)
		e.Source = lines(string(s.Info.Data), e.Line, int(s.Ranges[len(s.Ranges)-1].End.Line))
	}
	return e
}

// cause finds the innermost error that carries a gRPC status.
func cause(err error) error {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Err()
	}
	return err
}

// lines cuts lines from to to, counted from 1, out of text.
func lines(text string, from, to int) string {
	all := strings.Split(text, "\n")
	from, to = max(from, 1), min(max(to, from), len(all))
	if from > to {
		return ""
	}
	return strings.Join(all[from-1:to], "\n")
}
