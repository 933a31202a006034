package lb

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// hopByHop says whether a field is about one connection only. Source: RFC 9110, 7.6.1; net/http/httputil's list.
func hopByHop(name string) bool {
	switch len(name) {
	case len("Te"):
		return strings.EqualFold(name, "Te")
	case len("Upgrade"):
		return strings.EqualFold(name, "Upgrade")
	case len("Connection"):
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case len("Proxy-Connection"):
		return strings.EqualFold(name, "Proxy-Connection")
	case len(transferEncoding):
		return strings.EqualFold(name, transferEncoding)
	case len("Proxy-Authenticate"):
		return strings.EqualFold(name, "Proxy-Authenticate")
	case len("Proxy-Authorization"):
		return strings.EqualFold(name, "Proxy-Authorization")
	}
	return false
}

// dropHopByHop removes the fields that are about one connection, and those that its Connection names.
func dropHopByHop(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	maps.DeleteFunc(h, func(name string, _ []string) bool { return hopByHop(name) || name == "Trailer" })
}

// requestHead is the head for the target.
func (e *fastExchange) requestHead(out []byte) []byte {
	x, r := &e.exchange, &e.listener.balancer.Routing
	out = append(append(append(out, x.request.method...), ' '), x.url...)
	out = append(x.appendHost(append(out, " HTTP/1.1\r\nHost: "...)), "\r\n"...)
	var told []field
	if r.TLSHeaders {
		told = x.conn.session.told(x.listener.headers)
	}
	for i := range e.head.fields {
		f := &e.head.fields[i]
		if hopByHop(f.name) || balancersOwn(f.name, r.ForwardedFor == lbconfig.Preserve) ||
			r.DropInvalidHeaders && !validName(f.name) || listed(told, f.name) {
			continue
		}
		out = appendField(out, f.name, f.value)
	}
	switch r.ForwardedFor {
	case lbconfig.Remove, lbconfig.Preserve:
	default:
		out = appendField(out, "X-Forwarded-For", x.forwardedFor())
	}
	out = appendField(out, "X-Forwarded-Proto", x.conn.scheme())
	out = append(strconv.AppendUint(append(out, "X-Forwarded-Port: "...), uint64(x.entry.port), 10), "\r\n"...)
	for _, f := range told {
		out = appendField(out, f.name, f.value)
	}
	out = appendField(out, "X-Amzn-Trace-Id", x.trace)
	return append(out, "\r\n"...)
}

// balancersOwn says whether the balancer itself writes the field of a request.
func balancersOwn(name string, preserve bool) bool {
	switch len(name) {
	case len("Host"):
		return strings.EqualFold(name, "Host")
	case len("X-Forwarded-For"): // and X-Amzn-Trace-Id
		return strings.EqualFold(name, "X-Forwarded-For") && !preserve || strings.EqualFold(name, "X-Amzn-Trace-Id")
	case len("X-Forwarded-Port"):
		return strings.EqualFold(name, "X-Forwarded-Port")
	case len("X-Forwarded-Proto"):
		return strings.EqualFold(name, "X-Forwarded-Proto")
	}
	return false
}

// interim is an answer before the answer, for the client.
func (a *targetAnswer) interim() []byte {
	out := []byte(statusLine(a.status))
	for _, f := range a.list {
		if !hopByHop(f.name) && !strings.EqualFold(f.name, "Trailer") && !strings.EqualFold(f.name, contentLength) {
			out = appendField(out, f.name, f.value)
		}
	}
	return append(out, "\r\n"...)
}

// head is the head for the client, with cookies of the balancer's.
func (a *targetAnswer) head(out []byte, cookies []string) []byte {
	e, dated := a.e, false
	headers := &e.listener.headers
	out = append(out, statusLine(a.status)...)
	for i := range a.list {
		f := &a.list[i]
		if hopByHop(f.name) || len(headers.Response) > 0 && replaced(headers.Response, f.name) ||
			a.status == http.StatusNoContent && strings.EqualFold(f.name, contentLength) || !a.chunked && strings.EqualFold(f.name, "Trailer") {
			continue
		}
		dated = dated || len(f.name) == len("Date") && strings.EqualFold(f.name, "Date")
		out = appendField(out, f.name, f.value)
	}
	for _, c := range cookies {
		out = appendField(out, "Set-Cookie", c)
	}
	return e.closeHead(out, e.answeredAt, dated, a.chunked || a.length < 0)
}

// closeHead adds what all answers have, at the time of theirs, and ends the head.
func (e *fastExchange) closeHead(out []byte, at time.Time, dated, chunked bool) []byte {
	if l := e.listener; l != nil && len(l.headers.Response) > 0 { // nearly none has
		for name, value := range l.headers.Response {
			out = appendField(out, name, value)
		}
	}
	if !dated {
		out = appendField(out, "Date", dateOf(at))
	}
	if chunked {
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	if e.close {
		out = append(out, "Connection: close\r\n"...)
	}
	return append(out, "\r\n"...)
}

// framed is what the client gets of bytes that follow the head. It notes whether the answer ends with them; bytes behind
// the end stay.
func (a *targetAnswer) framed(p []byte) (body []byte, err error) {
	switch {
	case a.chunked:
		end, err := a.chunks.end(p)
		a.r += end
		a.whole = a.chunks.done()
		return p[:end], err
	case a.length >= 0:
		n := int(min(a.length, int64(len(p))))
		a.r += n
		a.length -= int64(n)
		a.whole = a.length == 0
		return p[:n], nil
	}
	a.r += len(p)
	if len(p) == 0 {
		return nil, nil
	}
	return fmt.Appendf(nil, "%x\r\n%s\r\n", len(p), p), nil
}

// reply gives an answer of the balancer's own. It is false when the client did not get it.
func (e *fastExchange) reply(o *ownAnswer) bool {
	e.status = o.status
	reason := reasons[o.status]
	if reason == "" {
		reason = statusText(o.status)
	}
	var replaces map[string]string
	server := true
	if e.listener != nil {
		replaces, server = e.listener.headers.Response, !e.listener.headers.NoServer
	}
	out := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", o.status, reason)
	add := func(name, value string) {
		if value != "" && !replaced(replaces, name) {
			out = appendField(out, name, value)
		}
	}
	if server {
		add("Server", "awselb/2.0")
	}
	add("Location", o.location)
	if o.body != "" {
		add("Content-Type", o.contentType)
	}
	out = appendField(out, contentLength, strconv.Itoa(len(o.body)))
	if !e.close {
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	out = e.closeHead(out, e.now(), replaced(replaces, "Date"), false)
	if e.request.method != http.MethodHead {
		out = append(out, o.body...)
	}
	return e.fc.send(out) == nil
}

func appendField(out []byte, name, value string) []byte {
	return append(append(append(append(out, name...), ": "...), value...), "\r\n"...)
}

// listed says whether a field of the name is in the list.
func listed(list []field, name string) bool {
	_, there := valueIn(list, name, 0)
	return there
}

// replaced says whether the listener has a value of its own for the field.
func replaced(values map[string]string, name string) bool {
	if len(values) == 0 {
		return false
	}
	_, there := values[http.CanonicalHeaderKey(name)]
	return there
}

// statusLines are those of all status codes that net/http has a text for.
var statusLines = func() (all [600]string) {
	for i := range all {
		all[i] = fmt.Sprintf("HTTP/1.1 %d %s\r\n", i, statusText(i))
	}
	return all
}()

func statusLine(status int) string {
	if status < len(statusLines) {
		return statusLines[status]
	}
	return fmt.Sprintf("HTTP/1.1 %d %s\r\n", status, statusText(status))
}

func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "status code " + strconv.Itoa(status)
}

// dated is a second with its text.
type dated struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dated]

// dateOf is the Date of a time, written once a second.
func dateOf(now time.Time) string {
	if d := lastDate.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dated{now.Unix(), now.UTC().Format(http.TimeFormat)}
	lastDate.Store(d)
	return d.text
}
