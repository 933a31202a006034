package ctrd

import (
	"context"
	"iter"
	"strings"
	"sync"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"

	"github.com/lotse-project/lotse/internal/runtime"
)

// Events implements runtime.Engine. Hints come while Supervisor.Run runs.
func (e *Engine) Events(ctx context.Context) iter.Seq2[runtime.Event, error] {
	return func(yield func(runtime.Event, error) bool) {
		ch, leave := e.s.hints.join()
		defer leave()
		if !yield(runtime.Event{}, nil) {
			return
		}
		for {
			select {
			case <-ctx.Done():
				return
			case id := <-ch:
				if !yield(runtime.Event{TaskID: id}, nil) {
					return
				}
			}
		}
	}
}

// Private

// listen passes containerd's events on as hints and records exits, for the case that containerd forgets them (it does
// when a shim dies). It ends with ctx or with containerd.
func (s *Supervisor) listen(ctx context.Context) {
	ch, errs := s.client.EventService().Subscribe(ctx, `topic~="^/tasks/",namespace=="`+s.Namespace()+`"`)
	s.hints.send("") // something may have happened while nobody listened
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-errs:
			if err != nil && ctx.Err() == nil {
				s.o.Log.Debug("containerd's events ended", "error", err)
			}
			return
		case env := <-ch:
			s.event(env)
		}
	}
}

func (s *Supervisor) event(env *events.Envelope) {
	ev, err := typeurl.UnmarshalAny(env.Event)
	if err != nil {
		return
	}
	c, ok := ev.(interface{ GetContainerID() string })
	if !ok {
		return
	}
	switch x := ev.(type) {
	case *apievents.TaskExecAdded, *apievents.TaskExecStarted:
		return // a command in a container changes nothing of it
	case *apievents.TaskExit:
		if x.ID != x.ContainerID {
			return
		}
		e := exit{Code: int(x.ExitStatus), At: x.ExitedAt.AsTime(), OOM: s.groups.oom(x.ContainerID)}
		err := s.ledger.update(x.ContainerID, func(c *containerEntry) {
			if c.Exit == nil && !e.At.Before(c.Started) { // else it tells of the run before a restart
				c.Exit = &e
			}
		})
		if err != nil {
			s.o.Log.Error("exit of a container not recorded", "container", x.ContainerID, "error", err)
		}
	}
	task, _, _ := strings.Cut(c.GetContainerID(), "-")
	s.hints.send(task)
}

// broadcast hands strings to all who joined. Whoever is hintsBehind behind gets "" instead of the rest.
type broadcast struct {
	mu sync.Mutex
	m  map[chan string]bool // false: it has missed some and was told so by ""
}

const hintsBehind = 256

func (b *broadcast) join() (<-chan string, func()) {
	ch := make(chan string, hintsBehind)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = map[chan string]bool{}
	}
	b.m[ch] = true
	return ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.m, ch)
	}
}

func (b *broadcast) send(v string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.m {
		// One place is kept for "", so that a watcher that fell behind learns of it without anything more happening.
		if len(ch) < hintsBehind-1 {
			ch <- v
			b.m[ch] = true
		} else if b.m[ch] {
			ch <- ""
			b.m[ch] = false
		}
	}
}
