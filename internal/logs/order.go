package logs

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/lotse-project/lotse/internal/segment"
)

// A place is an event's in the order of a stream: by time, then as they came. Positions begin at 1, so a place with
// position 0 is before all events of its time.
type place struct {
	time int64 // ms
	pos  uint64
}

func placeOf(e segment.Event) place { return place{e.Time.UnixMilli(), e.Pos} }

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.pos, b.pos))
}

func (a place) before(b place) bool { return a.compare(b) < 0 }

// token is a place as a GetLogEvents token: f/ or b/ and 56 digits.
func (a place) token(direction string) string {
	return fmt.Sprintf("%s/%020d%020d%016d", direction, a.time, a.pos, 0)
}

func parseToken(s string) (direction string, p place, err error) {
	direction, digits, ok := strings.Cut(s, "/")
	if !ok || direction != "f" && direction != "b" || len(digits) != 56 || strings.Trim(digits, "0123456789") != "" {
		return "", p, errToken
	}
	time, err1 := strconv.ParseInt(digits[:20], 10, 64)
	pos, err2 := strconv.ParseUint(digits[20:40], 10, 64)
	if err1 != nil || err2 != nil {
		return "", p, errToken
	}
	return direction, place{time, pos}, nil
}

// A groupPlace is an event's in the order of a group: by time, then by stream, then as they came.
type groupPlace struct {
	time   int64
	stream string
	pos    uint64
}

func (a groupPlace) compare(b groupPlace) int {
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.stream, b.stream), cmp.Compare(a.pos, b.pos))
}

// after is the place in the order of stream behind which the events come after a.
func (a groupPlace) after(stream string) place {
	switch c := cmp.Compare(stream, a.stream); {
	case c < 0:
		return place{a.time, math.MaxUint64}
	case c > 0:
		return place{a.time, 0}
	}
	return place{a.time, a.pos}
}

func (a groupPlace) token() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d/%d/%s", a.time, a.pos, a.stream))
}

func parseGroupToken(s string) (a groupPlace, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return a, errToken
	}
	p := strings.SplitN(string(b), "/", 3)
	if len(p) != 3 {
		return a, errToken
	}
	time, err1 := strconv.ParseInt(p[0], 10, 64)
	pos, err2 := strconv.ParseUint(p[1], 10, 64)
	if err1 != nil || err2 != nil || time < 0 {
		return a, errToken
	}
	return groupPlace{time, p[2], pos}, nil
}

// A page of events is full at a number of them or of bytes; one event always fits.
type budget struct {
	events int
	bytes  int
}

// maxPageBytes. Source: GetLogEvents, FilterLogEvents.
const maxPageBytes = 1 << 20

// fit is how many of the events fit.
func (b budget) fit(events []segment.Event) int {
	size := 0
	for i, e := range events {
		size += len(e.Data) + eventCost
		if i == b.events || i > 0 && size > b.bytes {
			return i
		}
	}
	return len(events)
}

// A best is the first events in an order out of any number, as many as fit.
type best struct {
	budget
	compare func(a, b place) int
	events  []segment.Event
	size    int
	cut     bool // there were more than fit
}

func (b *best) add(e segment.Event) {
	b.events = append(b.events, e)
	b.size += len(e.Data) + eventCost
	if len(b.events) > 2*b.budget.events+100 || b.size > 4*b.bytes {
		b.shrink()
	}
}

// shrink sorts, and drops what does not fit.
func (b *best) shrink() []segment.Event {
	slices.SortFunc(b.events, func(x, y segment.Event) int { return b.compare(placeOf(x), placeOf(y)) })
	if n := b.fit(b.events); n < len(b.events) {
		clear(b.events[n:])
		b.events, b.cut = b.events[:n], true
	}
	b.size = 0
	for _, e := range b.events {
		b.size += len(e.Data) + eventCost
	}
	return b.events
}
