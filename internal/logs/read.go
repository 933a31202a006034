package logs

import (
	"errors"
	"slices"
	"time"

	"github.com/lotse-project/lotse/internal/segment"
)

// chunk is how much a cursor reads ahead, bytes and events.
const (
	chunkBytes  = 64 << 10
	chunkEvents = 512
)

// A source is the events of one stream, in the order of their places.
type source struct {
	r      *segment.Reader
	damage func(error) // told of what cannot be read
}

func (s *Service) source(id string) (source, error) {
	r, err := segment.OpenReader(s.dir(id))
	return source{r, func(err error) { s.o.Log.Error("log events are lost", "stream", id, "err", err) }}, err
}

// A cursor hands out a stream's events in order. What a container writes is in order already and read as it goes. A
// stream into which events were put late is read whole for each page; that keeps a page's worth in memory, and is
// meant for the few streams that clients put.
type cursor struct {
	source
	from, to place // events after from and before to
	match    func([]byte) bool
	budget   budget

	pos     uint64
	ordered bool
	buf     []segment.Event
	done    bool
	cut     bool // out of order, and there is more than the budget
}

// cursor begins behind from. Out of order, it finds only what matches, and as much as fits into the budget.
func (s source) cursor(from, to place, match func([]byte) bool, b budget) (*cursor, error) {
	c := &cursor{source: s, from: from, to: to, match: match, budget: b}
	span, err := s.r.Span()
	if err != nil || span.End == 0 || span.Newest.UnixMilli() < from.time || !from.before(to) {
		c.done = true
		return c, err
	}
	pos, late, err := s.r.SeekTime(time.UnixMilli(from.time))
	c.pos, c.ordered = pos, late >= span.Late
	return c, err
}

// next is the next event; false: there is none.
func (c *cursor) next() (segment.Event, bool, error) {
	for len(c.buf) == 0 && !c.done {
		fill := c.fillOrdered
		if !c.ordered {
			fill = c.fillSorted
		}
		if err := fill(); err != nil {
			return segment.Event{}, false, err
		}
	}
	if len(c.buf) == 0 {
		return segment.Event{}, false, nil
	}
	e := c.buf[0]
	c.buf = c.buf[1:]
	return e, true, nil
}

func (c *cursor) fillOrdered() error {
	before, size := c.pos, 0
	err := c.scan(c.pos, func(e segment.Event) bool {
		c.pos = e.Pos
		size += len(e.Data) + eventCost
		switch p := placeOf(e); {
		case !p.before(c.to):
			c.done = !e.Late
		case c.from.before(p):
			c.buf = append(c.buf, e)
		}
		return !c.done && size < chunkBytes && len(c.buf) < chunkEvents
	})
	if c.pos == before {
		c.done = true
	}
	return err
}

func (c *cursor) fillSorted() error {
	b := best{budget: c.budget, compare: place.compare}
	err := c.scan(c.pos, func(e segment.Event) bool {
		if p := placeOf(e); c.from.before(p) && p.before(c.to) && c.match(e.Data) {
			b.add(e)
		}
		return true
	})
	c.buf, c.done = b.shrink(), true
	c.cut = b.cut
	return err
}

// back returns the last events between from and to, as many as fit, oldest first.
func (s source) back(from, to place, bud budget) ([]segment.Event, error) {
	span, err := s.r.Span()
	if err != nil || span.End == 0 || !from.before(to) {
		return nil, err
	}
	pos, late, err := s.r.SeekTime(time.UnixMilli(from.time))
	if err != nil {
		return nil, err
	}
	b := best{budget: bud, compare: func(x, y place) int { return y.compare(x) }}
	if late < span.Late {
		err = s.scan(pos, func(e segment.Event) bool {
			if p := placeOf(e); from.before(p) && p.before(to) {
				b.add(e)
			}
			return true
		})
	} else {
		err = s.scanBack(to, func(e segment.Event) bool {
			p := placeOf(e)
			if p.before(to) && from.before(p) {
				b.add(e)
			}
			return from.before(p) && len(b.events) < bud.events && b.size < bud.bytes
		})
	}
	out := slices.Clone(b.shrink())
	slices.Reverse(out)
	return out, err
}

// Private

// scan goes on behind what is damaged.
func (s source) scan(after uint64, fn func(segment.Event) bool) error {
	for {
		err := s.r.Scan(after, fn)
		var d *segment.DamageError
		if !errors.As(err, &d) {
			return err
		}
		s.damage(err)
		after = d.Next
	}
}

// scanBack begins with the last event that is not newer than to. It ends at what is damaged.
func (s source) scanBack(to place, fn func(segment.Event) bool) error {
	span, err := s.r.Span()
	if err != nil {
		return err
	}
	start := span.End
	if to.time <= span.Newest.UnixMilli() {
		if start, _, err = s.r.SeekTime(time.UnixMilli(to.time + 1)); err != nil || start == 0 {
			return err
		}
	}
	err = s.r.ScanBack(start, fn)
	var d *segment.DamageError
	if errors.As(err, &d) {
		s.damage(err)
		return nil
	}
	return err
}
