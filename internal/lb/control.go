package lb

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// statusWait is how long GET /status waits for news.
const statusWait = 30 * time.Second

// controlServer serves the control socket; who waits there is answered when ctx ends. Who may connect, the socket's
// directory and mode decide.
//
//	PUT /snapshot        apply the snapshot in the body, or without one the saved one; answers the status
//	GET /status?after=N  the status, as soon as its Seq is above N
//	GET /trace?id=ID     recent requests with this trace id, or X-Request-Id
//	GET /metrics         Prometheus text
//	GET /minutes?from=T  what was measured in the minutes from then on, in seconds since 1970, as soon as one is over
//	GET /log?from=N      the entries of access and connection logs from number N on, as soon as there are some
func (w *worker) controlServer(ctx context.Context) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /snapshot", w.putSnapshot)
	mux.HandleFunc("GET /status", w.getStatus)
	mux.HandleFunc("GET /trace", func(rw http.ResponseWriter, r *http.Request) {
		writeJSON(rw, w.proxy.trace.find(r.FormValue("id")))
	})
	mux.HandleFunc("GET /metrics", w.getMetrics)
	mux.HandleFunc("GET /log", w.getLog)
	mux.HandleFunc("GET /minutes", w.getMinutes)
	return &http.Server{Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx }}
}

func (w *worker) putSnapshot(rw http.ResponseWriter, r *http.Request) {
	var err error
	if r.ContentLength == 0 {
		err = w.reload(r.Context())
	} else {
		var s *lbconfig.Snapshot
		if s, err = lbconfig.Read(r.Body); err == nil {
			err = w.apply(r.Context(), s)
		}
	}
	switch {
	case errors.Is(err, ErrStale):
		http.Error(rw, err.Error(), http.StatusConflict)
	case err != nil:
		http.Error(rw, err.Error(), http.StatusBadRequest)
	default:
		writeJSON(rw, w.status())
	}
}

func (w *worker) getStatus(rw http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseInt(cmp.Or(r.FormValue("after"), "0"), 10, 64)
	if err != nil {
		http.Error(rw, "after: want a number", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusWait)
	defer cancel()
	w.hub.wait(ctx, after)
	writeJSON(rw, w.status())
}

func (w *worker) getLog(rw http.ResponseWriter, r *http.Request) {
	from, err := strconv.ParseInt(cmp.Or(r.FormValue("from"), "0"), 10, 64)
	if err != nil {
		http.Error(rw, "from: want a number", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusWait)
	defer cancel()
	l := w.proxy.access
	seq, _ := l.news.now()
	blocks, next, lost := l.after(from)
	if len(blocks) == 0 {
		l.news.wait(ctx, seq)
		blocks, next, lost = l.after(from)
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Write(lbconfig.WriteLogHead(next, lost))
	for _, b := range blocks {
		rw.Write(b)
	}
	if http.NewResponseController(rw).Flush() == nil {
		l.gave(next)
	}
}

// status is how things are. Seq is taken first: what changes meanwhile is reported again.
func (w *worker) status() lbconfig.Status {
	seq, _ := w.hub.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	st := lbconfig.Status{Seq: seq, Targets: []lbconfig.TargetStatus{}, Listeners: []lbconfig.ListenerStatus{}}
	if w.snap == nil {
		return st
	}
	st.Rev = w.snap.Rev
	for _, g := range w.groups {
		for _, m := range g.members {
			st.Targets = append(st.Targets, m.statusLocked())
		}
	}
	slices.SortFunc(st.Targets, func(a, b lbconfig.TargetStatus) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), a.Addr.Compare(b.Addr))
	})
	for key, uses := range portKeys(w.snap) {
		for _, u := range uses {
			l := lbconfig.ListenerStatus{Balancer: u.balancer.ARN, Listener: u.listener.ARN, Addr: key.Addr.String()}
			if err := cmp.Or(w.portErrs[key], w.tlsErrs[u.listener.ARN]); err != nil {
				l.Error = err.Error()
			}
			st.Listeners = append(st.Listeners, l)
		}
	}
	slices.SortFunc(st.Listeners, func(a, b lbconfig.ListenerStatus) int {
		return cmp.Or(cmp.Compare(a.Balancer, b.Balancer), cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.Addr, b.Addr))
	})
	return st
}

func (m *member) statusLocked() lbconfig.TargetStatus {
	st := lbconfig.TargetStatus{Group: m.group.arn, Addr: m.addr, State: m.health.state, Reason: m.health.reason,
		Description: m.health.text, InFlight: int(m.inflight.Load()), Anomalous: m.anomalous, Mitigated: m.lost.Load() > 0}
	over := !m.group.conf.Health.Strict || !time.Now().Before(m.conf.Since.Add(m.group.conf.Deregistration))
	st.Drained = m.conf.Draining && m.closed.Load() && st.InFlight == 0 && over
	return st
}

func writeJSON(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(v)
}
