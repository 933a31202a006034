package lb

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// The log's bounds: so many entries, and bytes of them, are kept for who reads them.
const (
	maxLogEntries = 32 << 10
	maxLogBytes   = 16 << 20
)

// accessLog keeps the newest entries of the access log until they are read. It never waits: what nobody reads in time
// is lost, and counted.
type accessLog struct {
	news *hub

	mu      sync.Mutex
	first   int64 // number of entries[0]
	entries []lbconfig.LogEntry
	size    int
	lost    int64
}

// newAccessLog numbers entries from the time of day on, so that numbers grow across restarts.
func newAccessLog() *accessLog {
	return &accessLog{news: newHub(), first: time.Now().UnixMicro()}
}

func (l *accessLog) add(e lbconfig.LogEntry) {
	l.mu.Lock()
	l.entries = append(l.entries, e)
	l.size += len(e.Line)
	for len(l.entries) > maxLogEntries || l.size > maxLogBytes {
		l.size -= len(l.entries[0].Line)
		l.entries = l.entries[1:]
		l.first++
		l.lost++
	}
	l.mu.Unlock()
	l.news.changed()
}

// after returns the entries from number n on. Earlier ones have been read, and are dropped.
func (l *accessLog) after(n int64) lbconfig.LogBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	skip := int(min(max(n-l.first, 0), int64(len(l.entries))))
	for _, e := range l.entries[:skip] {
		l.size -= len(e.Line)
	}
	l.entries = slices.Clone(l.entries[skip:])
	l.first += int64(skip)
	return lbconfig.LogBatch{Next: l.first + int64(len(l.entries)), Lost: l.lost, Entries: slices.Clone(l.entries)}
}

// logEntry is the exchange as a line. Source: ALB user guide, access log entries.
func (x *exchange) logEntry(sent int64, end time.Time) lbconfig.LogEntry {
	b := x.listener.balancer
	request, sending, answering := "-1", "-1", "-1"
	target, targetStatus, group := "-", "-", "-"
	if m := x.member.Load(); m != nil {
		target, group = x.up.host, m.group.arn
	}
	if x.answered != 0 {
		targetStatus = strconv.Itoa(x.answered)
		request, sending, answering = seconds(x.sentAt.Sub(x.started)), seconds(x.answeredAt.Sub(x.sentAt)), seconds(end.Sub(x.answeredAt))
	}
	actions, priority, redirect := "-", "-", "-"
	if x.rule != nil {
		actions, priority = x.rule.act.Type, strconv.Itoa(x.rule.priority)
	}
	if x.location != "" {
		redirect = x.location
	}
	class, reason := "-", "-"
	if v := x.arrival.verdict; v.class > compliant {
		class, reason = v.class.String(), v.reason
	}
	host, uri, transform := x.transformed()
	cipher, version, name, certificate := x.logTLS()
	f := []string{
		x.logType(), stamp(end), resource(b.ARN), fmt.Sprintf("%s:%d", x.conn.peer, x.conn.peerPort), target, request, sending, answering,
		strconv.Itoa(x.logStatus()), targetStatus, strconv.FormatInt(x.arrival.received.Load(), 10), strconv.FormatInt(sent, 10),
		quoted(x.logRequest()), quoted(dash(first(x.request.fields, "User-Agent"))), cipher, version, group, quoted(dash(x.trace)), quoted(name), quoted(certificate),
		priority, stamp(x.started), quoted(actions), quoted(redirect), quoted("-"), quoted(target), quoted(targetStatus),
		quoted(class), quoted(reason), x.conn.traceID(), quoted(host), quoted(uri), quoted(transform),
	}
	return lbconfig.LogEntry{Balancer: b.ARN, Time: end, Line: strings.Join(f, " ")}
}

// Private

// logged hands the exchange's entry to the log when its answer has been written.
func (p *proxy) logged(x *exchange) {
	if x.listener == nil || !x.listener.balancer.AccessLogs {
		return
	}
	before := x.sentBefore
	emit := func() { p.access.add(x.logEntry(x.conn.sent.Load()-before, time.Now())) }
	if x.request.major == 1 && !x.tunnelled() && !x.conn.watched.Load() {
		x.conn.flushed.Store(&emit) // net/http still has the end of the answer
		return
	}
	emit()
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

// logRequest always spells scheme, host and port out. What could not be read is all dashes.
func (x *exchange) logRequest() string {
	host, port := hostOnly(x.request.host), strconv.Itoa(int(x.entry.port))
	if host == "" {
		host = x.listener.balancer.DNSName
	}
	scheme := x.conn.scheme() + "://"
	if x.request.method == "" {
		return "- " + scheme + host + ":" + port + "- -"
	}
	return x.request.method + " " + scheme + host + ":" + port + x.original + " " + x.request.proto
}

// transformed are host, path and query as rewritten, and how that went.
func (x *exchange) transformed() (host, uri, status string) {
	if x.rule == nil || x.rule.host.re == nil && x.rule.url.re == nil {
		return "-", "-", "-"
	}
	if x.up == nil {
		return "-", "-", "TransformInvalidPath"
	}
	return hostOnly(x.host), x.url, "TransformSuccess"
}

// resource is what follows the type in an ARN: app/NAME/ID.
func resource(arn string) string {
	_, name, ok := strings.Cut(arn, ":loadbalancer/")
	if !ok {
		return arn
	}
	return name
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func seconds(d time.Duration) string { return strconv.FormatFloat(max(d, 0).Seconds(), 'f', 3, 64) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// quoted keeps a field on its line, and in its quotes.
func quoted(s string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == '"' || c == '\\' || c < ' ' || c == 0x7f {
			b.WriteString(`\x`)
			b.Write([]byte{digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
