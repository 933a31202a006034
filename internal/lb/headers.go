package lb

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
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
func (x *exchange) refusal(r *http.Request) int {
	switch {
	case x.arrival.refuse != 0:
		return x.arrival.refuse
	case x.arrival.verdict.blocked(x.listener.balancer.Routing.Desync):
		return http.StatusBadRequest
	case r.Method == http.MethodTrace:
		return http.StatusMethodNotAllowed
	case len(r.Method)+len(r.RequestURI)+len(" HTTP/1.1 ") > maxRequestLine:
		return http.StatusRequestURITooLong
	case r.Method == http.MethodConnect:
		return http.StatusBadRequest
	}
	for name, values := range r.Header {
		for _, v := range values {
			if len(name)+len(v) > maxHeader {
				return http.StatusBadRequest
			}
		}
	}
	n := 0
	for _, v := range r.Header["X-Forwarded-For"] {
		n += strings.Count(v, ",") + 1
	}
	if n > maxForwardedFor {
		return 463
	}
	return 0
}

// setForwarded sets the X-Forwarded headers for the target: X-Forwarded-For as configured, the others are
// overwritten. Source: ALB user guide, X-Forwarded headers.
func setForwarded(out, in http.Header, c *clientConn, port uint16, r lbconfig.Routing) {
	prior := in["X-Forwarded-For"]
	switch r.ForwardedFor {
	case lbconfig.Remove:
	case lbconfig.Preserve:
		if len(prior) > 0 {
			out["X-Forwarded-For"] = prior
		}
	default:
		client := c.peer.String()
		if r.ClientPort {
			client = netip.AddrPortFrom(c.peer, c.peerPort).String()
		}
		if len(prior) > 0 {
			client = strings.Join(prior, ", ") + ", " + client
		}
		out.Set("X-Forwarded-For", client)
	}
	out.Set("X-Forwarded-Proto", c.scheme())
	out.Set("X-Forwarded-Port", strconv.Itoa(int(port)))
}

// dropInvalid removes fields with names that routing.http.drop_invalid_header_fields calls invalid: all but
// [-A-Za-z0-9]+.
func dropInvalid(h http.Header) {
	for name := range h {
		for i := 0; i < len(name); i++ {
			if c := name[i]; c != '-' && !isDigit(c) && (lower(c) < 'a' || lower(c) > 'z') {
				delete(h, name)
				break
			}
		}
	}
}

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

// forwardedHost is the Host header for the target: in lower case, with the listener's port unless it is the default.
// Source: ALB user guide, host header preservation.
func forwardedHost(host string, port uint16, fallback string) string {
	if host == "" { // HTTP/1.0
		host = fallback
	}
	host = strings.ToLower(host)
	bare := hostOnly(host)
	switch {
	case bare == host && port != 80 && port != 443:
		return host + ":" + strconv.Itoa(int(port))
	case bare != host && (port == 80 || port == 443):
		return strings.TrimSuffix(host, ":"+strconv.Itoa(int(port)))
	}
	return host
}

// traceID is the X-Amzn-Trace-Id for the target, made from the one that came in.
// Source: ALB user guide, request tracing.
func traceID(in string, now time.Time) string {
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
	id := newTraceID(now)
	if !root {
		return strings.Join(append([]string{"Root=" + id}, kept...), ";")
	}
	return strings.Join(append([]string{"Self=" + id}, kept...), ";")
}

// newTraceID is 1-, the second in hexadecimal, and 96 random bits.
func newTraceID(now time.Time) string {
	var b [12]byte
	rand.Read(b[:])
	return fmt.Sprintf("1-%08x-%s", now.Unix(), hex.EncodeToString(b[:]))
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
