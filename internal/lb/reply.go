package lb

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// maxRedirect is the longest Location the balancer sends; a longer one is answered 507.
const maxRedirect = 8 << 10

// reasons are the reason phrases of answers that the balancer itself gives.
// Source: captured answers; the pages' sizes are 162 (503) and 122 (502) bytes.
var reasons = map[int]string{
	301: "Moved Permanently",
	302: "Found",
	400: "Bad Request",
	403: "Forbidden",
	405: "Not Allowed",
	408: "Request Time-out",
	413: "Request Entity Too Large",
	414: "Request-URI Too Large",
	500: "Internal Server Error",
	501: "Not Implemented",
	502: "Bad Gateway",
	503: "Service Temporarily Unavailable",
	504: "Gateway Time-out",
	505: "HTTP Version Not Supported",
	507: "Insufficient Storage",
}

// page is the balancer's own page for a status code, "" when AWS sends none.
func page(status int) string {
	reason, ok := reasons[status]
	if !ok {
		return ""
	}
	return fmt.Sprintf("<html>\r\n<head><title>%d %s</title></head>\r\n<body>\r\n<center><h1>%d %s</h1></center>\r\n</body>\r\n</html>\r\n",
		status, reason, status, reason)
}

// ownAnswer is one that the balancer gives in its own name.
type ownAnswer struct {
	status      int
	contentType string
	body        string
	location    string
}

// errorPage is the answer with the balancer's own page.
func errorPage(status int) *ownAnswer {
	return &ownAnswer{status: status, contentType: "text/html", body: page(status)}
}

// reply gives the answer by net/http.
func (a *answer) reply(o *ownAnswer) {
	h := a.Header()
	h.Set("Server", "awselb/2.0")
	if a.x.grpc {
		h.Set("Grpc-Status", strconv.Itoa(grpcStatus(o.status)))
	}
	if o.location != "" {
		h.Set("Location", o.location)
	}
	if o.body != "" {
		h.Set("Content-Type", o.contentType)
	} else {
		h["Content-Type"] = nil // else net/http guesses one
	}
	h.Set("Content-Length", strconv.Itoa(len(o.body)))
	if h.Get("Connection") == "" {
		h.Set("Connection", "keep-alive")
	}
	if !a.x.conn.multiplexed() && reasons[o.status] != http.StatusText(o.status) {
		a.x.conn.own.Store(int32(o.status))
	}
	a.WriteHeader(o.status)
	io.WriteString(a, o.body)
}

// withReason puts AWS's reason phrase in the place of net/http's, which can't be told.
func withReason(p []byte, status int) []byte {
	const proto = len("HTTP/1.1 ")
	theirs := fmt.Sprintf("%d %s\r\n", status, http.StatusText(status))
	reason := reasons[status]
	if len(p) < proto || reason == "" || !strings.HasPrefix(string(p[proto:min(len(p), proto+64)]), theirs) {
		return p
	}
	head := fmt.Appendf(nil, "%s%d %s\r\n", p[:proto], status, reason)
	return append(head, p[proto+len(theirs):]...)
}

// rawReply is an answer for a connection whose request net/http never handed over.
func rawReply(status int) string {
	body := page(status)
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nServer: awselb/2.0\r\nDate: %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, reasons[status], httpDate(), len(body), body)
}

func fixedAnswer(f lbconfig.Fixed) *ownAnswer {
	ct := f.ContentType
	if ct == "" {
		ct = "text/plain"
	}
	return &ownAnswer{status: f.Status, contentType: ct + "; charset=utf-8", body: f.Body}
}

// redirectAnswer fills in the template with the request's own parts. The port is always written. location is told in
// logs even when it is too long for the answer.
func redirectAnswer(host, url, scheme string, port uint16, d lbconfig.Redirect) (o *ownAnswer, location string) {
	path, query, _ := strings.Cut(url, "?")
	parts := strings.NewReplacer("#{protocol}", scheme, "#{host}", hostOnly(host), "#{port}", strconv.Itoa(int(port)),
		"#{path}", strings.TrimPrefix(path, "/"), "#{query}", query)
	fill := func(template, fallback string) string {
		if template == "" {
			template = fallback
		}
		return parts.Replace(template)
	}
	to := strings.ToLower(fill(d.Protocol, "#{protocol}")) + "://" + fill(d.Host, "#{host}") + ":" +
		fill(d.Port, "#{port}") + fill(d.Path, "/#{path}")
	if q := fill(d.Query, "#{query}"); q != "" {
		to += "?" + q
	}
	if len(to) > maxRedirect {
		return errorPage(http.StatusInsufficientStorage), to
	}
	o = errorPage(d.Status)
	o.location = to
	return o, to
}
