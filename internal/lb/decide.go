package lb

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// Why a request gets no answer.
var (
	errGone        = errors.New("the listener has gone")
	errNotAdmitted = errors.New("the client is not admitted")
)

// An engine reads a request, and then:
//
//	begin    it counts from now on
//	decide   an answer of the balancer's own, or a target is claimed (x.member) and there is a way to it (x.up)
//	         (the engine sends the request: see exchange's appendHost, setForwarded, url and trace)
//	answeredBy, cookies   when the head of the target's answer is there
//	failure  or, without one, what the client is told
//	end      always
//
// begin notes that a request has come. The engine has set conn, request, arrival and cancel.
func (p *proxy) begin(x *exchange) {
	x.started, x.startedAt, x.grpc = time.Now(), clock(), x.request.isGRPC()
	x.noted, x.number = p.trace.reserve()
	x.original = x.arrival.url(x.request.target)
	x.url = x.original
	x.close = p.retiring.Load() || x.conn.streams.worn()
	x.sentBefore = x.conn.sent.Load()
	x.conn.begin(x)
}

// end gives back what was claimed, counts and logs.
func (p *proxy) end(x *exchange) {
	x.finish()
	p.logged(x)
	x.conn.end(x)
}

// decide says what becomes of a request: listener, rule, action. Without an answer of the balancer's own, a target is
// claimed. An error says why there is no answer at all.
func (p *proxy) decide(x *exchange) (*ownAnswer, error) {
	for {
		t := p.table.Load()
		if x.entry = t.ports[x.conn.key]; x.entry == nil {
			return nil, errGone
		}
		if x.listener = x.entry.listenerFor(x.request.host); x.listener == nil && x.arrival.refuse != 0 {
			return errorPage(x.arrival.refuse), nil
		} else if x.listener == nil {
			return &ownAnswer{status: http.StatusNotFound, contentType: "text/plain; charset=utf-8", body: "No load balancer answers to this host name.\n"}, nil
		}
		if x.entry.judge && !x.listener.admits(x.conn.peer) {
			x.listener = nil // who does not get there is neither counted nor logged
			return nil, errNotAdmitted
		}
		b := x.listener.balancer
		x.close = x.close || x.startedAt-x.conn.born > b.Life() || x.arrival.verdict.closes(b.Routing.Desync)
		if status := x.refusal(); status != 0 {
			return errorPage(status), nil
		}
		q := newQuestion(&x.request, x.original, x.conn.peer)
		x.rule = match(x.listener.rules, &q)
		if x.trace == "" { // also what no target gets has one, in the log
			x.trace = traceID(first(x.request.fields, "X-Amzn-Trace-Id"), x.started)
		}
		switch x.rule.act.Type {
		case lbconfig.FixedResponse:
			return fixedAnswer(x.rule.act.Fixed), nil
		case lbconfig.RedirectTo:
			o, location := redirectAnswer(cmp.Or(x.request.host, b.DNSName), x.original, x.conn.scheme(), x.entry.port, x.rule.act.Redirect)
			x.location = location
			return o, nil
		}
		if !x.rewrite() {
			return errorPage(http.StatusInternalServerError), nil
		}
		if p.claim(x) {
			return nil, nil
		}
		if x.mismatch {
			return errorPage(statusIncompatible), nil
		}
		if p.table.Load() == t { // else the group may have gone with the snapshot it came from
			return errorPage(http.StatusServiceUnavailable), nil
		}
	}
}

// answeredBy notes the status of the target's answer, of which nothing has gone to the client yet.
func (x *exchange) answeredBy(status int) {
	x.answeredAt = x.now()
	x.answered, x.status = status, status
}

// late counts and logs the request, of which not even the head came in time, that the client was answered 408 for. At a
// front that several balancers share it is nobody's.
func (p *proxy) late(c *clientConn, sent int64) {
	e := p.entryAt(c.key)
	if e == nil || e.listener == nil {
		return
	}
	took := clock() - time.Duration(c.began.Load())
	x := &exchange{conn: c, arrival: &arrival{}, request: request{major: 1, fields: httpFields(nil)}, entry: e, listener: e.listener,
		status: http.StatusRequestTimeout, started: time.Now().Add(-took)}
	x.listener.requests.count(x.status, took)
	x.measure()
	if x.listener.balancer.AccessLogs {
		p.access.exchange(x, c.sent.Load()-sent)
	}
}

// Private

// claim chooses a group and a target and counts the request in there.
func (p *proxy) claim(x *exchange) bool {
	g := p.stuckGroup(x)
	if g == nil {
		g = x.rule.act.forward.pick()
	}
	if x.group = g; g == nil {
		return false
	}
	if x.mismatch = !compatible(&x.request, g.eligible.Load().version); x.mismatch {
		return false
	}
	m := p.claimStuck(x, g)
	if m == nil {
		x.unstuck = g.eligible.Load().sticky.Type != ""
		m = g.claim(x.entry.zone)
	}
	if m == nil {
		return false
	}
	x.failedOpen = g.eligible.Load().at(x.entry.zone).open
	if x.up = m.upstream(x.listener.balancer.ARN); x.up == nil { // the balancer has just lost the group
		m.release()
		return false
	}
	x.member.Store(m)
	if m.cut.Load() {
		x.conn.abort(x, errDrainEnd)
	}
	return true
}
