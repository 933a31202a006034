package lb

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

const logARN = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/0123456789abcdef"

// readLog returns the next entry.
func readLog(t *testing.T, c *lbconfig.Client, from *int64) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := c.AccessLog(ctx, *from)
	if err != nil || len(b.Entries) != 1 || b.Entries[0].Balancer != logARN {
		t.Fatalf("entries %+v of %s, want one: %v", b.Entries, logARN, err)
	}
	*from = b.Next
	return b.Entries[0].Line
}

// Source of the fields: ALB user guide, access log entries.
func TestAccessLog_Lines(t *testing.T) {
	r, port := newRig(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		w.Header()["Date"] = nil
		io.WriteString(w, "hello")
	}))
	s := site(port, target)
	b := &s.Balancers[0]
	b.ARN, b.AccessLogs = logARN, true
	b.Listeners[0].Rules = append([]lbconfig.Rule{
		{ARN: "r1", Priority: 7, Conditions: paths("/away"), Action: lbconfig.Action{Type: lbconfig.RedirectTo, Redirect: lbconfig.Redirect{Host: "h", Status: 301}}},
		{ARN: "r2", Priority: 9, Conditions: paths("/fixed"), Action: lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: 200}}},
		{ARN: "r3", Priority: 11, Conditions: paths("/old"), Action: forwardTo("tg"), Rewrites: []lbconfig.Rewrite{{Kind: lbconfig.RewriteURL, Regex: "^/old$", Replace: "/new"}}},
	}, b.Listeners[0].Rules...)
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	var from int64
	const when, id = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z`, `"Root=1-[0-9a-f]{8}-[0-9a-f]{24}"`
	const took = `\d+\.\d{3} \d+\.\d{3} \d+\.\d{3}`
	at := regexp.QuoteMeta(target.String())
	for _, c := range []struct{ request, want string }{
		{"POST /a?b=c HTTP/1.1\r\nHost: example.com\r\nUser-Agent: a \"b\"\r\nContent-Length: 3\r\n\r\nabc",
			`http ` + when + ` app/web/0123456789abcdef 127\.0\.0\.1:\d+ ` + at + ` ` + took + ` 200 200 84 \d+ "POST http://example\.com:{port}/a\?b=c HTTP/1\.1" ` +
				`"a \\x22b\\x22" - - tg ` + id + ` "-" "-" 0 ` + when + ` "forward" "-" "-" "` + at + `" "200" "-" "-" TID_[0-9a-f]{32} "-" "-" "-"`},
		{get1("/away"), `http .* 127\.0\.0\.1:\d+ - -1 -1 -1 301 - \d+ \d+ "GET http://example\.com:{port}/away HTTP/1\.1" "-" - - - "-" "-" "-" 7 ` + when +
			` "redirect" "http://h:{port}/away" "-" "-" "-" "-" "-" TID_[0-9a-f]{32} "-" "-" "-"`},
		{get1("/fixed"), `http .* - -1 -1 -1 200 - .* 9 ` + when + ` "fixed-response" "-" "-" "-" "-" "-" "-" TID_.*`},
		{get1("/old"), `http .* "GET http://example\.com:{port}/old HTTP/1\.1" .* 11 ` + when + ` "forward" .* "example\.com" "/new" "TransformSuccess"`},
		{get1("/a", "X: \x01"), `http .* 200 200 .* "Acceptable" "NonCompliantHeader" TID_.*`},
		{"nonsense\r\n\r\n", `http .* - -1 -1 -1 400 - 12 \d+ "- http://lb-1\.elb\.localhost:{port}- -" "-" - - - "-" "-" "-" - ` + when + ` "-" "-" .*`},
	} {
		raw(t, local(port), c.request)
		want := regexp.MustCompile("^" + strings.ReplaceAll(c.want, "{port}", fmt.Sprint(port)) + "$")
		if got := readLog(t, r.client, &from); !want.MatchString(got) {
			t.Errorf("after %q the log says\n%s\nwant\n%s", c.request, got, want)
		}
	}

	// A client that leaves while the target works is logged as 460.
	h := newHolder(t)
	s.Groups[0] = groupOf("tg", h.addr)
	r.put(s)
	r.wait("tg", h.addr, lbconfig.Healthy)
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, get1("/held"))
	<-h.arrived
	c.Close()
	if got := readLog(t, r.client, &from); !strings.Contains(got, " 460 - ") {
		t.Errorf("a client that left: %s", got)
	}
}

func TestAccessLog_OnlyWhereItIsOn(t *testing.T) {
	r, port := newRig(t), freePort(t)
	r.put(site(port))
	raw(t, local(port), get1("/"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if b, err := r.client.AccessLog(ctx, 0); err == nil {
		t.Errorf("logged: %+v", b)
	}
}

// Nobody waits for who does not read, and nothing grows.
func TestAccessLog_IsBounded(t *testing.T) {
	l := newAccessLog()
	for range maxLogEntries + 10 {
		l.add(lbconfig.LogEntry{Line: "x"})
	}
	if b := l.after(0); len(b.Entries) != maxLogEntries || b.Lost != 10 {
		t.Errorf("%d entries, %d lost, want %d and 10", len(b.Entries), b.Lost, maxLogEntries)
	}
	for range 100 {
		l.add(lbconfig.LogEntry{Line: strings.Repeat("x", 1<<20)})
	}
	b := l.after(0)
	if l.size > maxLogBytes {
		t.Errorf("%d bytes kept", l.size)
	}
	if again := l.after(b.Next); len(again.Entries) != 0 || len(l.entries) != 0 || l.size != 0 {
		t.Errorf("%d entries after they were read, %d bytes", len(again.Entries), l.size)
	}
}
