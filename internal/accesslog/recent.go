package accesslog

import (
	"context"
	"strings"
	"sync"
)

// keepRecent is how many lines are kept for who watches.
const keepRecent = 2000

// recent are the lines that were written last.
type recent struct {
	mu    sync.Mutex
	next  int64 // number of the next line
	lines []recentLine
	wake  chan struct{} // closed at the next line
}

type recentLine struct{ balancer, text string }

// Lines are what Recent gives. Next is the number to ask for what follows.
type Lines struct {
	Next  int64
	Lines []string
}

// Recent waits until there are lines of the balancer's access log from number from on, or ctx is done, which is no
// error; with a group's ARN only those of its targets. -1 asks for the last ones, which may be none, and doesn't wait.
// Lines of before the server's start are in the files.
func (w *Writer) Recent(ctx context.Context, balancer, group string, from int64) Lines {
	for {
		out, wake := w.recent.since(balancer, group, from)
		if len(out.Lines) > 0 || from < 0 {
			return out
		}
		from = out.Next
		select {
		case <-ctx.Done():
			return out
		case <-wake:
		}
	}
}

// Private

func (r *recent) add(balancer, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) == keepRecent {
		r.lines = append(r.lines[:0:0], r.lines[keepRecent/2:]...)
	}
	r.lines = append(r.lines, recentLine{balancer, text})
	r.next++
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

func (r *recent) since(balancer, group string, from int64) (Lines, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wake == nil {
		r.wake = make(chan struct{})
	}
	out := Lines{Next: r.next, Lines: []string{}}
	skip := max(0, from-(r.next-int64(len(r.lines))))
	for _, l := range r.lines[min(skip, int64(len(r.lines))):] {
		if l.balancer == balancer && (group == "" || strings.Contains(l.text, " "+group+" ")) {
			out.Lines = append(out.Lines, l.text)
		}
	}
	return out, r.wake
}
