package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/proc"
)

// A guardian keeps a process of the data plane running that outlives the server: it finds the
// one that an earlier server started, and starts another whenever there is none. One of another build, or with other
// arguments, is replaced.
type guardian struct {
	name    string // "lb", "net"
	pidFile string
	logFile string
	argv    []string
	log     *slog.Logger
}

// run guards until ctx ends, and leaves the process running.
func (g *guardian) run(ctx context.Context) error {
	wait := 20 * time.Millisecond
	for ctx.Err() == nil {
		p, err := g.ensure()
		began := time.Now()
		if err != nil {
			g.log.Error("cannot start", "process", g.name, "err", err)
		} else if p.wait(ctx) {
			g.log.Warn("ended; starting it again", "process", g.name, "pid", p.PID, "said", lastLine(g.logFile))
		}
		if time.Since(began) > time.Minute {
			wait = 20 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, 10*time.Second)
	}
	return nil
}

// ensure finds the process or starts it.
func (g *guardian) ensure() (process, error) {
	if p := readPID(g.pidFile); p.alive() {
		if _, err := os.Stat(g.argv[0]); err != nil || proc.Runs(p.PID, g.argv) {
			return p, nil // what runs is better than what can't be started
		}
		// Killed, not asked to end: then the balancer's worker would end too. So it serves on, and the next parent has
		// its own begin with the same sockets.
		g.log.Info("replaced by one of this build and configuration", "process", g.name, "pid", p.PID)
		p.kill()
	}
	p, err := spawn(g.logFile, g.argv...)
	if err != nil {
		return p, err
	}
	return p, writePID(g.pidFile, p)
}

// lastLine is what a process said last, "" if nothing can be read: mostly why it ended.
func lastLine(logFile string) string {
	f, err := os.Open(logFile)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 4 << 10
	if st, err := f.Stat(); err == nil && st.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	b, _ := io.ReadAll(io.LimitReader(f, most))
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}

// wait returns true when the process has ended, false when ctx has.
func (p process) wait(ctx context.Context) bool {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 200) // ms, so that ctx's end is seen
		if n > 0 && err == nil {
			return true
		}
		if !p.alive() {
			return true
		}
	}
	return false
}
