package lb

import (
	"context"
	"sync"
	"time"
)

// hub counts changes of the status and wakes those who wait for one. The count begins with the time of day, so that
// it grows across restarts of the process too.
type hub struct {
	mu   sync.Mutex
	seq  int64
	wake chan struct{} // closed at the next change; nil while nobody waits
}

func newHub() *hub { return &hub{seq: time.Now().UnixMicro()} }

// changed says that the status may read differently now.
func (h *hub) changed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	if h.wake != nil {
		close(h.wake)
		h.wake = nil
	}
}

// now is the count, and a channel that is closed when it grows.
func (h *hub) now() (int64, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wake == nil {
		h.wake = make(chan struct{})
	}
	return h.seq, h.wake
}

// wait returns when the count is above after, or ctx ends.
func (h *hub) wait(ctx context.Context, after int64) {
	for {
		seq, wake := h.now()
		if seq > after {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}
