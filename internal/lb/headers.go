package lb

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// Limits of a request. Source: ALB user guide, quotas.
const (
	maxRequestLine   = 16 << 10
	maxHeader        = 16 << 10 // one header
	maxHeaders       = 64 << 10 // all of them
	maxForwardedFor  = 30       // addresses in X-Forwarded-For
	maxTraceIDLength = 7 << 10
)

// refusal is the status code for a request that the balancer does not accept, 0 for others.
func (x *exchange) refusal() int {
	a := &x.request
	switch {
	case x.arrival.refuse != 0:
		return x.arrival.refuse
	case x.arrival.verdict.blocked(x.listener.balancer.Routing.Desync):
		return http.StatusBadRequest
	case a.method == http.MethodTrace:
		return http.StatusMethodNotAllowed
	case len(a.method)+len(a.target)+len(" HTTP/1.1 ") > maxRequestLine:
		return http.StatusRequestURITooLong
	case a.method == http.MethodConnect, a.fieldTooLarge:
		return http.StatusBadRequest
	}
	n := 0
	for i := 0; ; i++ {
		v, ok := a.fields.value("X-Forwarded-For", i)
		if !ok {
			break
		}
		n += strings.Count(v, ",") + 1
	}
	if n > maxForwardedFor {
		return 463
	}
	return 0
}

// setForwarded sets the X-Forwarded headers for the target: X-Forwarded-For as configured, the others are
// overwritten. Source: ALB user guide, X-Forwarded headers.
func (x *exchange) setForwarded(out, in http.Header) {
	switch x.listener.balancer.Routing.ForwardedFor {
	case lbconfig.Remove:
	case lbconfig.Preserve:
		if prior := in["X-Forwarded-For"]; len(prior) > 0 {
			out["X-Forwarded-For"] = prior
		}
	default:
		out.Set("X-Forwarded-For", x.forwardedFor())
	}
	out.Set("X-Forwarded-Proto", x.conn.scheme())
	out.Set("X-Forwarded-Port", strconv.Itoa(int(x.entry.port)))
}

// forwardedFor are the addresses that the request came by, with the client's own as the last.
func (x *exchange) forwardedFor() string {
	client := x.conn.from
	if x.listener.balancer.Routing.ClientPort {
		client = netip.AddrPortFrom(x.conn.peer, x.conn.peerPort).String()
	}
	list := ""
	for i := 0; ; i++ {
		prior, ok := x.request.fields.value("X-Forwarded-For", i)
		if !ok {
			return list + client
		}
		list += prior + ", "
	}
}

// appendHost appends the Host header that the target gets.
func (x *exchange) appendHost(out []byte) []byte {
	b := x.listener.balancer
	if b.Routing.PreserveHost && x.host != "" {
		return append(out, x.host...)
	}
	return appendForwardedHost(out, x.host, x.entry.port, b.DNSName)
}

// dropInvalid removes fields with names that routing.http.drop_invalid_header_fields calls invalid: all but
// [-A-Za-z0-9]+.
func dropInvalid(h http.Header) {
	for name := range h {
		if !validName(name) {
			delete(h, name)
		}
	}
}

func validName(name string) bool {
	for i := 0; i < len(name); i++ {
		if !nameBytes[name[i]] {
			return false
		}
	}
	return true
}

var nameBytes = func() (all [256]bool) {
	for i := range all {
		c := lower(byte(i))
		all[i] = c == '-' || isDigit(c) || 'a' <= c && c <= 'z'
	}
	return all
}()

// ownNames are written by net/http's transport, or looked up by it.
var ownNames = map[string]bool{"Host": true, "User-Agent": true, "Content-Length": true, "Transfer-Encoding": true,
	"Trailer": true, "Connection": true, "Upgrade": true, "Accept-Encoding": true, "Range": true,
	"X-Forwarded-For": true, "X-Forwarded-Proto": true, "X-Forwarded-Port": true, "X-Amzn-Trace-Id": true}

// respell writes the names of fields as the client did. Source: ALB user guide, HTTP headers.
func respell(h http.Header, names []string) {
	for _, name := range names {
		known := textproto.CanonicalMIMEHeaderKey(name)
		if v, ok := h[known]; ok && !ownNames[known] {
			delete(h, known)
			h[name] = v
		}
	}
}

// appendForwardedHost appends the Host header for the target: in lower case, with the listener's port unless it is the
// default. Source: ALB user guide, host header preservation.
func appendForwardedHost(out []byte, host string, port uint16, fallback string) []byte {
	if host == "" { // HTTP/1.0
		host = fallback
	}
	bare, standard := hostOnly(host) == host, port == 80 || port == 443
	if !bare && standard {
		host = strings.TrimSuffix(host, ":"+strconv.Itoa(int(port)))
	}
	out = append(out, strings.ToLower(host)...)
	if bare && !standard {
		out = strconv.AppendUint(append(out, ':'), uint64(port), 10)
	}
	return out
}

// traceID is the X-Amzn-Trace-Id for the target, made from the one that came in.
// Source: ALB user guide, request tracing.
func traceID(in string, now time.Time) string {
	if in == "" {
		return newTraceID("Root=", now)
	}
	if len(in) > maxTraceIDLength {
		in = ""
	}
	var kept []string
	root := false
	for field := range strings.SplitSeq(in, ";") {
		field = strings.TrimSpace(field)
		name, _, _ := strings.Cut(field, "=")
		switch {
		case field == "" || strings.EqualFold(name, "Self"):
			continue
		case strings.EqualFold(name, "Root"):
			root = true
		}
		kept = append(kept, field)
	}
	name := "Root="
	if root {
		name = "Self="
	}
	return strings.Join(append([]string{newTraceID(name, now)}, kept...), ";")
}

// newTraceID is the name, 1-, the second in hexadecimal, and 96 random bits, which need be no secret.
func newTraceID(name string, now time.Time) string {
	var random [4 + 12]byte
	binary.BigEndian.PutUint32(random[:], uint32(now.Unix()))
	binary.NativeEndian.PutUint64(random[4:], rand.Uint64())
	binary.NativeEndian.PutUint32(random[12:], rand.Uint32())
	var text [48]byte
	out := hex.AppendEncode(append(append(text[:0], name...), "1-"...), random[:4])
	return string(hex.AppendEncode(append(out, '-'), random[4:]))
}

func httpDate() string { return time.Now().UTC().Format(http.TimeFormat) }

// modify changes an answer's headers as the listener is configured; own: no target gave it.
func modify(h http.Header, c lbconfig.Headers, own bool) {
	for name, value := range c.Response {
		h[name] = []string{value}
	}
	if c.NoServer && own {
		delete(h, "Server")
	}
}
