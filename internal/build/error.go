package build

import (
	"errors"
	"fmt"
	"regexp"
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
	Excerpt  string   // the Dockerfile around that line, which is marked, as docker buildx shows it
	Step     string   // the step as BuildKit names it, "[build 3/5] RUN go build"; empty when none had begun
	ExitCode int      // of the step's command; 0: no command failed
	Log      []string // the last lines the step printed, oldest first
	Hint     string   // what to do about it; may be empty
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

// An InputError is something to build with that isn't there or can't be read: a Dockerfile, a context, a secret.
// Nothing was begun.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap gives its cause.
func (e *InputError) Unwrap() error { return e.Err }

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
	e := &Error{Err: err, Hint: hint(err.Error())}
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
		var b strings.Builder
		if s.Print(&b) == nil {
			e.Excerpt = strings.TrimRight(b.String(), "\n")
		}
	}
	if e.Hint == "" {
		e.Hint = hint(strings.Join(e.Log, "\n"))
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

var (
	unresolvedRE = regexp.MustCompile(`failed to resolve source metadata for (\S+): `)
	deniedRE     = regexp.MustCompile(`source "([^"]+)" denied by policy`)
)

// hint says what to do about what BuildKit's error, or a step's output, tells of.
func hint(text string) string {
	if m := unresolvedRE.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("Builds reach no registry outside. Where there is a network: docker save %s -o image.tar, or skopeo copy docker://%[1]s docker-archive:image.tar. Then: lotse image import %[1]s image.tar", m[1])
	}
	if m := deniedRE.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("Builds reach no network: fetch %s before, and give it as the context, with --build-context NAME=DIR, or by COPY.", m[1])
	}
	if strings.Contains(text, "exec format error") {
		return "The step's program is of another platform than this machine. Cross-compile in a stage FROM --platform=$BUILDPLATFORM, or register emulation on the server's machine (Debian: apt install qemu-user-static binfmt-support)."
	}
	return ""
}
