package lb

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// leavingSocket is the beginning of the name of the socket at which a worker waits for its parent while its successor
// starts. Until the successor has its listening sockets, it goes on accepting; a parent that is killed meanwhile leaves it to
// the next, which finds it by this name.
const leavingSocket = "lb-leaving."

// leaver is a worker that goes as soon as another one has its sockets.
type leaver struct {
	w    *process
	path string // of its socket
}

// passing is called at each step of a take-over. For tests, which end the process there.
var passing = func(step string) {}

// leave has a worker leave that has been met. Each step is safe to be the last one: the next parent meets the worker under
// the one name or the other.
func (p *parent) leave(w *process) {
	p.noteRetired(w)
	passing("noted")
	path := filepath.Join(p.o.RunDir, leavingSocket+strconv.Itoa(w.pid))
	if err := os.Rename(filepath.Join(p.o.RunDir, channelSocket), path); err != nil {
		p.log.Warn("a worker that leaves could not be renamed", "pid", w.pid, "err", err)
	}
	passing("renamed")
	p.leaving = append(p.leaving, leaver{w, path})
}

// meetLeaving takes the sockets of the workers that a killed parent had leave and did not dismiss.
func (p *parent) meetLeaving(ctx context.Context) {
	paths, _ := filepath.Glob(filepath.Join(p.o.RunDir, leavingSocket+"*"))
	for _, path := range paths {
		e, err := p.meet(ctx, nil, filepath.Base(path))
		if err == nil {
			p.take(e)
			e.conn.Close()
		}
		var w *process
		if err == nil && !e.retire {
			w, err = openProcess(e.pid)
		}
		if w == nil { // it has ended, or was dismissed
			if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
				p.log.Error("a worker that leaves does not answer", "socket", path, "err", err)
			}
			os.Remove(path)
			continue
		}
		p.leaving = append(p.leaving, leaver{w, path})
	}
}

// dismiss tells the workers that leave that another one has their sockets.
func (p *parent) dismiss() {
	for _, l := range p.leaving {
		l.w.signal(unix.SIGTERM)
		passing("told")
		l.w.close()
	}
	p.forgetLeaving()
}

func (p *parent) forgetLeaving() {
	for _, l := range p.leaving {
		os.Remove(l.path)
	}
	p.leaving = nil
}
