package lb

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxLoggedAgent is how much of a User-Agent is logged. Source: ALB user guide, access log entries.
const maxLoggedAgent = 8 << 10

// appendLog appends the exchange's line. Source: ALB user guide, access log entries.
func (x *exchange) appendLog(b []byte, sent int64, end time.Time) []byte {
	target, group := "-", "-"
	if x.group != nil {
		group = x.group.arn
	}
	if x.member.Load() != nil {
		target = x.up.host
	}
	b = spaced(b, x.logType())
	b = append(appendStamp(b, end), ' ')
	b = spaced(b, resource(x.listener.balancer.ARN))
	b = append(b, x.conn.from...)
	b = append(strconv.AppendUint(append(b, ':'), uint64(x.conn.peerPort), 10), ' ')
	b = spaced(b, target)
	if x.answered == 0 {
		b = append(b, "-1 -1 -1 "...)
	} else {
		b = append(appendSeconds(b, x.sentAt.Sub(x.started)), ' ')
		b = append(appendSeconds(b, x.answeredAt.Sub(x.sentAt)), ' ')
		b = append(b, "0.000 "...) // until the client is begun to be answered, which is at once: less than is told
	}
	b = append(strconv.AppendInt(b, int64(x.logStatus()), 10), ' ')
	b = append(x.appendTargetStatus(b), ' ')
	b = append(strconv.AppendInt(b, x.arrival.received.Load(), 10), ' ')
	b = append(strconv.AppendInt(b, sent, 10), ' ')
	b = append(x.appendRequest(append(b, '"')), '"', ' ')
	agent := first(x.request.fields, "User-Agent")
	b = quoted(b, agent[:min(len(agent), maxLoggedAgent)])
	cipher, version, name, certificate := x.logTLS()
	b = spaced(spaced(spaced(b, cipher), version), group)
	b = quoted(quoted(quoted(b, x.trace), name), certificate)
	if x.rule == nil {
		b = append(b, "- "...)
	} else {
		b = append(strconv.AppendInt(b, int64(x.rule.priority), 10), ' ')
	}
	b = append(appendStamp(b, x.started), ' ')
	action := ""
	if x.rule != nil {
		action = x.rule.act.Type
	}
	b = quoted(quoted(quoted(b, action), x.location), "")
	b = quoted(b, target)
	b = append(x.appendTargetStatus(append(b, '"')), '"', ' ')
	class, reason := "", ""
	if v := x.arrival.verdict; v.class > compliant {
		class, reason = v.class.String(), v.reason
	}
	b = quoted(quoted(b, class), reason)
	b = spaced(b, x.conn.traceID())
	host, uri, transform := x.transformed()
	b = quoted(quoted(quoted(b, host), uri), transform)
	return b[:len(b)-1]
}

// Private

// logged hands the exchange's entry to the log when its answer has been written.
func (p *proxy) logged(x *exchange) {
	if x.listener == nil || !x.listener.balancer.AccessLogs {
		return
	}
	before := x.sentBefore
	if x.request.major == 1 && !x.tunnelled() && !x.conn.watched.Load() {
		emit := func() { p.access.exchange(x, before) }
		x.conn.flushed.Store(&emit) // net/http still has the end of the answer
		return
	}
	p.access.exchange(x, before)
}

// sentSince is how many bytes the client got of the answer, when the connection had carried so many before. One of HTTP/2
// carries others' at the same time.
func (x *exchange) sentSince(before int64) int64 {
	if x.conn.multiplexed() {
		return x.sent.Load()
	}
	return x.conn.sent.Load() - before
}

// flush runs what waits for the end of an answer.
func (c *clientConn) flush() {
	if f := c.flushed.Swap(nil); f != nil {
		(*f)()
	}
}

// traceID names the connection in logs.
func (c *clientConn) traceID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id == "" {
		var b [16]byte
		rand.Read(b[:])
		c.id = "TID_" + hex.EncodeToString(b[:])
	}
	return c.id
}

func (x *exchange) tunnelled() bool { return x.conn.screen != nil && x.conn.screen.tunnel.Load() }

func (x *exchange) logType() string {
	switch secure := x.conn.session != nil; {
	case x.grpc:
		return "grpcs"
	case x.conn.multiplexed():
		return "h2"
	case x.tunnelled() && secure:
		return "wss"
	case x.tunnelled():
		return "ws"
	case secure:
		return "https"
	}
	return "http"
}

// logTLS are the cipher, version, name and certificate of a connection.
func (x *exchange) logTLS() (cipher, version, host, certificate string) {
	s := x.conn.session
	if s == nil {
		return "-", "-", "-", "-"
	}
	return cipherName(s.cipher), versionNames[s.version], dash(s.host), dash(s.certificate)
}

// logStatus is 460 for a client that did not wait. Source: ALB user guide, troubleshooting.
func (x *exchange) logStatus() int {
	if x.status == 0 {
		return 460
	}
	return x.status
}

// appendRequest always spells scheme, host and port out. What could not be read is all dashes.
func (x *exchange) appendRequest(b []byte) []byte {
	host, method := hostOnly(x.request.host), x.request.method
	if host == "" {
		host = x.listener.balancer.DNSName
	}
	b = append(escaped(b, dash(method)), ' ')
	b = append(append(b, x.conn.scheme()...), "://"...)
	b = append(escaped(b, host), ':')
	b = strconv.AppendUint(b, uint64(x.entry.port), 10)
	if method == "" {
		return append(b, "- -"...)
	}
	return escaped(append(escaped(b, x.original), ' '), x.request.proto)
}

func (x *exchange) appendTargetStatus(b []byte) []byte {
	if x.answered == 0 {
		return append(b, '-')
	}
	return strconv.AppendInt(b, int64(x.answered), 10)
}

// transformed are host, path and query where a rewrite has changed them, and how that went.
func (x *exchange) transformed() (host, uri, status string) {
	if x.transform != transformDone {
		return "", "", x.transform
	}
	if x.host != x.request.host {
		host = hostOnly(x.host)
	}
	if x.url != x.original {
		uri = x.url
	}
	return host, uri, x.transform
}

// resource is what follows the type in an ARN: app/NAME/ID.
func resource(arn string) string {
	_, name, ok := strings.Cut(arn, ":loadbalancer/")
	if !ok {
		return arn
	}
	return name
}

// spaced appends a field.
func spaced(b []byte, s string) []byte { return append(append(b, s...), ' ') }

// quoted appends a field in quotes; nothing is a dash.
func quoted(b []byte, s string) []byte {
	return append(escaped(append(b, '"'), dash(s)), '"', ' ')
}

// escaped keeps what is in quotes on its line, and in its quotes.
func escaped(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	from := 0
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == '"' || c == '\\' || c < ' ' || c == 0x7f {
			b = append(b, s[from:i]...)
			b = append(b, '\\', 'x', digits[c>>4], digits[c&15])
			from = i + 1
		}
	}
	return append(b, s[from:]...)
}

// appendStamp appends a time in ISO 8601, to the µs.
func appendStamp(b []byte, t time.Time) []byte {
	s := lastStamp.Load()
	if s == nil || s.unix != t.Unix() {
		s = &stamp{t.Unix(), t.UTC().Format("2006-01-02T15:04:05.")}
		lastStamp.Store(s)
	}
	b = append(b, s.text...)
	us := t.Nanosecond() / 1000
	for place := 100000; place > 0; place /= 10 {
		b = append(b, byte('0'+us/place%10))
	}
	return append(b, 'Z')
}

// stamp is how a second is spelled; most requests begin and end in the one of the request before.
type stamp struct {
	unix int64
	text string
}

var lastStamp atomic.Pointer[stamp]

func appendSeconds(b []byte, d time.Duration) []byte {
	ms := int64(max(d, 0).Round(time.Millisecond) / time.Millisecond)
	b = append(strconv.AppendInt(b, ms/1000, 10), '.')
	ms %= 1000
	return append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
