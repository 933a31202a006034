package lb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// behaviour is one request, as bytes, and what must become of it. In texts {port} is the listener's.
type behaviour struct {
	name, source string
	at           string // the balancer: see sites; "" is plain
	request      string
	status       int
	target       []string // lines that the target's request must have; with ! before: must not; with ~: that match
	client       []string // as target, of the answer
	body         string   // of the answer; "" is any
	closes       bool     // the connection after the answer
}

// Where ALB's behaviour is written down.
const (
	userGuide    = "ALB user guide: "
	forwarded    = userGuide + "X-Forwarded headers"
	tracing      = userGuide + "request tracing"
	attributes   = userGuide + "load balancer attributes"
	hostHeader   = userGuide + "host header preservation"
	desync       = userGuide + "desync mitigation mode; access logs, classification reasons; http-desync-guardian, docs"
	quotas       = userGuide + "quotas, HTTP headers limits"
	conditions   = userGuide + "rule condition types"
	redirects    = userGuide + "redirect actions"
	fixed        = userGuide + "fixed-response actions"
	transforms   = userGuide + "transforms"
	trouble      = userGuide + "troubleshooting, HTTP error codes"
	groupHealth  = userGuide + "target group health; troubleshooting, HTTP 503"
	connections  = userGuide + "HTTP connections; RFC 9110, 7.6.1"
	messages     = "RFC 9112"
	stickiness   = userGuide + "sticky sessions"
	captured     = "captured answers"
	unmodifiedBy = userGuide + "HTTP headers and Application Load Balancers"
)

func TestBehaviour(t *testing.T) {
	cases := allBehaviours()
	if len(cases) < 150 {
		t.Errorf("%d cases, want 150 and more", len(cases))
	}
	s, ports := sites(t)
	newRig(t).put(s)
	awaitSites(t, ports)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, ports) })
	}
}

func (c behaviour) run(t *testing.T, ports map[string]uint16) {
	at := c.at
	if at == "" {
		at = "plain"
	}
	port, ok := ports[at]
	if !ok || c.source == "" {
		t.Fatalf("site %q is not there, or no source", at)
	}
	fill := func(s string) string { return strings.ReplaceAll(s, "{port}", strconv.Itoa(int(port))) }
	conn, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, fill(c.request)); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	method, _, _ := strings.Cut(c.request, " ")
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("body %q: %v", body, err)
	}
	if resp.StatusCode != c.status {
		t.Errorf("status %d, want %d", resp.StatusCode, c.status)
	}
	head, _ := httputil.DumpResponse(resp, false)
	compareLines(t, "client", string(head), c.client, fill)
	compareLines(t, "target", string(body), c.target, fill)
	if c.body != "" && string(body) != fill(c.body) {
		t.Errorf("body %q, want %q", body, fill(c.body))
	}
	if resp.Close != c.closes {
		t.Errorf("the answer says that the connection closes: %v, want %v", resp.Close, c.closes)
	}
	if c.closes {
		if n, err := br.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) { // when not all was read
			t.Errorf("after the answer: %d bytes, %v, want the end", n, err)
		}
	}
}

func compareLines(t *testing.T, who, head string, want []string, fill func(string) string) {
	t.Helper()
	lines := strings.Split(strings.ReplaceAll(head, "\r\n", "\n"), "\n")
	for _, w := range want {
		has := func(match func(string) bool) bool {
			for _, l := range lines {
				if match(l) {
					return true
				}
			}
			return false
		}
		switch w = fill(w); {
		case strings.HasPrefix(w, "!"):
			if has(func(l string) bool { return strings.HasPrefix(strings.ToLower(l), strings.ToLower(w[1:])) }) {
				t.Errorf("%s got %q\nin %q", who, w[1:], head)
			}
		case strings.HasPrefix(w, "~"):
			if !has(regexp.MustCompile("^" + w[1:] + "$").MatchString) {
				t.Errorf("%s did not get a line like %q\nbut %q", who, w[1:], head)
			}
		default:
			if !has(func(l string) bool { return l == w }) {
				t.Errorf("%s did not get %q\nbut %q", who, w, head)
			}
		}
	}
}

// mirror is a target that answers with the head and the body it got, as they came. On /answer/N it gives the answer of
// that number, and closes after one that is not whole.
func mirror(t testing.TB, answers ...string) netip.AddrPort {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go reflect(c, answers)
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func reflect(c net.Conn, answers []string) {
	defer c.Close()
	for br := bufio.NewReader(c); ; {
		var head strings.Builder
		length, chunked := 0, false
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			head.WriteString(line)
			if v, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				length, _ = strconv.Atoi(strings.TrimSpace(v))
			}
			chunked = chunked || line == "Transfer-Encoding: chunked\r\n"
			if line == "\r\n" {
				break
			}
		}
		var body io.Reader = io.LimitReader(br, int64(length))
		if chunked {
			body = httputil.NewChunkedReader(br)
		}
		data, err := io.ReadAll(body)
		if err != nil {
			return
		}
		if chunked { // the trailers' end
			br.ReadString('\n')
		}
		path := strings.Fields(head.String())[1]
		if n, ok := strings.CutPrefix(path, "/answer/"); ok {
			i, _ := strconv.Atoi(n)
			if io.WriteString(c, answers[i]); complete(answers[i]) {
				continue // closing now might meet the next request
			}
			return
		}
		out := head.String() + string(data)
		if strings.HasPrefix(head.String(), "HEAD ") {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(out))
			continue
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/x-mirror\r\nContent-Length: %d\r\n\r\n%s", len(out), out)
	}
}

// complete says whether the connection can go on after the answer.
func complete(answer string) bool {
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && !resp.Close
}

// awaitSites waits until each forwards.
func awaitSites(t testing.TB, ports map[string]uint16) {
	for name, port := range ports {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		for {
			req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+local(port)+"/ready", nil)
			resp, err := noKeepAlive.Do(req)
			if err == nil {
				resp.Body.Close()
				if resp.StatusCode == 200 {
					break
				}
			}
			if ctx.Err() != nil {
				t.Fatalf("%s does not serve: %v", name, err)
			}
			time.Sleep(2 * time.Millisecond)
		}
		cancel()
	}
}

// sites are balancers that differ in one thing, each at a port of its own.
func sites(t testing.TB) (lbconfig.Snapshot, map[string]uint16) {
	addr := mirror(t, targetAnswers...)
	s := lbconfig.Snapshot{Groups: []lbconfig.TargetGroup{groupOf("tg", addr), groupOf("empty"), groupOf("gone", backendGone(t))}}
	s.Groups[2].Health.Enabled = false
	ports := map[string]uint16{}
	add := func(name string, r lbconfig.Routing, rules ...lbconfig.Rule) *lbconfig.Balancer {
		port := freePort(t)
		b := site(port).Balancers[0]
		b.ARN, b.Name, b.Routing = name, name, r
		for i := range rules {
			rules[i].ARN = fmt.Sprintf("%s-rule-%d", name, i)
		}
		b.Listeners = []lbconfig.Listener{{ARN: name + "-listener", Port: port,
			Rules: append(rules, lbconfig.Rule{ARN: name + "-default", Action: forwardTo("tg")})}}
		s.Balancers, ports[name] = append(s.Balancers, b), port
		return &s.Balancers[len(s.Balancers)-1]
	}
	add("plain", lbconfig.Routing{})
	add("monitor", lbconfig.Routing{Desync: lbconfig.Monitor})
	add("strictest", lbconfig.Routing{Desync: lbconfig.Strictest})
	add("preserve", lbconfig.Routing{ForwardedFor: lbconfig.Preserve})
	add("remove", lbconfig.Routing{ForwardedFor: lbconfig.Remove})
	add("client-port", lbconfig.Routing{ClientPort: true})
	add("own-host", lbconfig.Routing{PreserveHost: true})
	add("drop", lbconfig.Routing{DropInvalidHeaders: true})
	add("rules", lbconfig.Routing{}, conditionRules()...)
	add("actions", lbconfig.Routing{}, actionRules()...)
	add("groups", lbconfig.Routing{}, []lbconfig.Rule{
		{Conditions: paths("/empty"), Action: forwardTo("empty")},
		{Conditions: paths("/gone"), Action: forwardTo("gone")},
		{Conditions: paths("/sticky"), Action: lbconfig.Action{Type: lbconfig.Forward, Sticky: time.Minute,
			Groups: []lbconfig.Weighted{{ARN: "tg", Weight: 1}}}},
		{Conditions: paths("/weightless"), Action: lbconfig.Action{Type: lbconfig.Forward, Groups: []lbconfig.Weighted{{ARN: "tg"}}}},
	}...)
	add("short-life", lbconfig.Routing{}).KeepAlive = time.Nanosecond
	return s, ports
}

func paths(p ...string) []lbconfig.Condition {
	return []lbconfig.Condition{{Field: lbconfig.PathPattern, Values: p}}
}
