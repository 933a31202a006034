package lb

import (
	"sync/atomic"
	"time"
)

// counters count the answers of a listener or a group.
type counters struct {
	byClass [6]atomic.Int64 // by hundreds of the status; 0: closed without an answer
	micros  atomic.Int64    // sum of durations
}

func (c *counters) count(status int, d time.Duration) {
	class := status / 100
	if class < 0 || class > 5 {
		class = 5
	}
	c.byClass[class].Add(1)
	c.micros.Add(d.Microseconds())
}
