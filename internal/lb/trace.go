package lb

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// traceSize is how many requests are remembered.
const traceSize = 8192

// maxReusedText is how much memory a place keeps for the next request.
const maxReusedText = 1 << 10

// traced is a place for a remembered request. It keeps copies of what came with it, in memory that is used again: else it
// would keep whole heads, and each request would take memory of its own.
type traced struct {
	mu      sync.Mutex
	number  uint64           // of the request
	request lbconfig.Request // without what is in text
	text    []byte           // method, host, path, trace id and the client's X-Request-Id
	ends    [5]int           // of each
}

// ring remembers the last requests.
type ring struct {
	places [traceSize]traced
	next   atomic.Uint64
}

// reserve gives a request its place, and its number.
func (r *ring) reserve() (*traced, uint64) {
	n := r.next.Add(1)
	return &r.places[(n-1)%traceSize], n
}

// record makes the exchange visible in the trace.
func (x *exchange) record(took time.Duration) {
	t := x.noted
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.request
	if t.number != x.number {
		t.number = x.number
		if t.text = t.text[:0]; cap(t.text) > maxReusedText {
			t.text = nil
		}
		for i, s := range [...]string{x.request.method, x.request.host, x.path(), x.trace, first(x.request.fields, "X-Request-Id")} {
			t.text = append(t.text, s...)
			t.ends[i] = len(t.text)
		}
		*r = lbconfig.Request{Time: x.started}
		if x.listener != nil {
			r.Balancer = x.listener.balancer.ARN
		}
	}
	if x.rule != nil {
		r.Rule = x.rule.arn
	}
	if m := x.member.Load(); m != nil {
		r.Group, r.Target = m.group.arn, x.up.host
	}
	r.Status, r.Answered, r.Duration = x.status, x.answered, took
}

// find returns the requests that have the id, newest first.
func (r *ring) find(id string) []lbconfig.Request {
	out := []lbconfig.Request{}
	if id == "" {
		return out
	}
	last := r.next.Load()
	for i := uint64(1); i <= traceSize && i <= last; i++ {
		if q, ok := r.places[(last-i)%traceSize].find(id); ok {
			out = append(out, q)
		}
	}
	return out
}

// Private

// find is the request if it has the id.
func (t *traced) find(id string) (r lbconfig.Request, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	method, host, path, trace, requestID := t.part(0), t.part(1), t.part(2), t.part(3), t.part(4)
	if t.number == 0 || string(requestID) != id && !hasTraceID(string(trace), id) {
		return r, false
	}
	r = t.request
	r.Method, r.Host, r.Path, r.TraceID = string(method), string(host), string(path), string(trace)
	return r, true
}

func (t *traced) part(i int) []byte {
	if i == 0 {
		return t.text[:t.ends[0]]
	}
	return t.text[t.ends[i-1]:t.ends[i]]
}

// hasTraceID says whether the value of X-Amzn-Trace-Id is, or names, the id.
func hasTraceID(value, id string) bool {
	if value == id {
		return true
	}
	for field := range strings.SplitSeq(value, ";") {
		if _, v, _ := strings.Cut(field, "="); v == id || field == id {
			return true
		}
	}
	return false
}
