package lb

import (
	"strings"
	"sync/atomic"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// traceSize is how many requests are remembered.
const traceSize = 8192

// traced is a remembered request; it is not changed once stored.
type traced struct {
	lbconfig.Request
	requestID string // the client's X-Request-Id
}

// describe says which request it was, in memory of its own: what is remembered must not keep whole heads.
func (t *traced) describe(method, host, path, id string) {
	all := method + host + path + id
	t.Method, all = all[:len(method)], all[len(method):]
	t.Host, all = all[:len(host)], all[len(host):]
	t.Path, t.requestID = all[:len(path)], all[len(path):]
}

// ring remembers the last requests, without locks.
type ring struct {
	slots [traceSize]atomic.Pointer[traced]
	next  atomic.Uint64
}

// reserve gives a request its place.
func (r *ring) reserve() *atomic.Pointer[traced] {
	return &r.slots[(r.next.Add(1)-1)%traceSize]
}

// find returns the requests that have the id, newest first.
func (r *ring) find(id string) []lbconfig.Request {
	out := []lbconfig.Request{}
	if id == "" {
		return out
	}
	last := r.next.Load()
	for i := uint64(1); i <= traceSize && i <= last; i++ {
		if t := r.slots[(last-i)%traceSize].Load(); t != nil && t.has(id) {
			out = append(out, t.Request)
		}
	}
	return out
}

func (t *traced) has(id string) bool {
	if t.requestID == id || t.TraceID == id {
		return true
	}
	for field := range strings.SplitSeq(t.TraceID, ";") {
		if _, v, _ := strings.Cut(field, "="); v == id || field == id {
			return true
		}
	}
	return false
}
