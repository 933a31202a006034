package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/lotse-project/lotse/internal/deploy"
)

// reporter picks how progress is shown.
func (a *app) reporter() (deploy.Reporter, error) {
	f, isFile := a.err.(*os.File)
	tty := isFile && term.IsTerminal(int(f.Fd())) && os.Getenv("CI") == ""
	switch a.flags.progress {
	case "auto":
		if tty {
			return &screen{w: a.err, f: f}, nil
		}
		return &plain{w: a.err}, nil
	case "tty":
		if !isFile {
			return nil, usageError{fmt.Errorf("--progress tty needs a terminal")}
		}
		return &screen{w: a.err, f: f}, nil
	case "plain":
		return &plain{w: a.err}, nil
	case "json":
		return &events{w: json.NewEncoder(a.out), start: time.Now()}, nil
	case "quiet":
		return quiet{}, nil
	}
	return nil, usageError{fmt.Errorf("--progress is auto, tty, plain, json or quiet, not %q", a.flags.progress)}
}

// plain writes one line for each change, with the time, and a heartbeat while nothing changes.
type plain struct {
	w    io.Writer
	last string
	at   time.Time
}

func (p *plain) line(phase, text string) {
	fmt.Fprintf(p.w, "%s %-8s %s\n", time.Now().Format(time.TimeOnly), phase, text)
	p.at = time.Now()
}

func (p *plain) Begin(string) {}
func (p *plain) Note(string)  {}
func (p *plain) Done(phase, result string, took time.Duration) {
	p.line(phase, fmt.Sprintf("ok %s  %s", seconds(took), result))
}
func (p *plain) Rollout(r deploy.Rollout) {
	s := rolloutText(r)
	if s != p.last || time.Since(p.at) > 30*time.Second {
		p.last = s
		p.line("rollout", s)
	}
}

// events writes one JSON object a line, for machines.
type events struct {
	w     *json.Encoder
	start time.Time
	last  string
}

func (e *events) put(phase, status, reason string) {
	_ = e.w.Encode(map[string]any{"ts": time.Now().UTC().Format(time.RFC3339Nano), "phase": phase, "status": status, "reason": reason, "elapsed_ms": time.Since(e.start).Milliseconds()})
}
func (e *events) Begin(phase string)                            { e.put(phase, "begin", "") }
func (e *events) Note(string)                                   {}
func (e *events) Done(phase, result string, took time.Duration) { e.put(phase, "ok", result) }
func (e *events) Rollout(r deploy.Rollout) {
	if s := rolloutText(r); s != e.last {
		e.last = s
		e.put("rollout", r.State, s)
	}
}

type quiet struct{}

func (quiet) Begin(string)                       {}
func (quiet) Note(string)                        {}
func (quiet) Done(string, string, time.Duration) {}
func (quiet) Rollout(deploy.Rollout)             {}

// screen redraws the phase that runs on one line; finished phases stay above it.
type screen struct {
	w     io.Writer
	f     *os.File
	phase string
	began time.Time
	spin  int
}

const spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

func (s *screen) Begin(phase string) {
	s.phase, s.began = phase, time.Now()
	s.draw("")
}
func (s *screen) Note(line string) { s.draw(line) }
func (s *screen) Done(phase, result string, took time.Duration) {
	s.clear()
	fmt.Fprintf(s.w, " ✔ %-10s %-60s %6s\n", phase, cut(result, 60), seconds(took))
}
func (s *screen) Rollout(r deploy.Rollout) { s.draw(rolloutText(r)) }

func (s *screen) clear() { fmt.Fprint(s.w, "\r\x1b[K") }

func (s *screen) draw(text string) {
	width, _, err := term.GetSize(int(s.f.Fd()))
	if err != nil {
		width = 80
	}
	s.spin++
	mark := []rune(spinner)[s.spin%len([]rune(spinner))]
	line := fmt.Sprintf(" %c %-10s %s", mark, s.phase, strings.ReplaceAll(text, "\t", " "))
	s.clear()
	fmt.Fprint(s.w, cut(line, width-10), "  ", seconds(time.Since(s.began)))
}

// rolloutText says how a rollout stands and what it waits for.
func rolloutText(r deploy.Rollout) string {
	s := fmt.Sprintf("new %s: pending %d running %d healthy %d/%d", r.Revision, r.New.Pending, r.New.Running, r.Healthy, r.Desired)
	if n := r.Old.Pending + r.Old.Running; n > 0 {
		s += fmt.Sprintf(", old %d", n)
	}
	if r.New.Failed > 0 {
		s += fmt.Sprintf(", failed %d", r.New.Failed)
	}
	return s + " " + r.State
}

// table is where the time went.
func (a *app) table(ts []deploy.Timing, total time.Duration) {
	fmt.Fprintf(a.err, "\n %-10s %8s %8s  share\n", "phase", "start", "took")
	for _, t := range ts {
		share := 0
		if total > 0 {
			share = int(100 * t.Took / total)
		}
		fmt.Fprintf(a.err, " %-10s %8s %8s  %-10s %d%%\n", t.Phase, seconds(t.Start), seconds(t.Took), strings.Repeat("▓", (share+9)/10), share)
	}
	fmt.Fprintf(a.err, " %-10s %17s\n", "total", seconds(total))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

func cut(s string, n int) string {
	r := []rune(s)
	if len(r) > n && n > 1 {
		return string(r[:n-1]) + "…"
	}
	return s
}
