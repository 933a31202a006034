package lb

import (
	"bufio"
	"crypto/tls"
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

// Source of the fields: ALB user guide, access log entries.
func TestAccessLog_OverTLS(t *testing.T) {
	r, port := newRig(t), freePort(t)
	pair := newTestPair(t, nil, "a.example.com")
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header()["Date"] = nil
		n, _ := io.Copy(io.Discard, req.Body)
		w.Write(make([]byte, 100_000-n))
	}))
	s := secure(site(port, target), pair.sealed(t, r.dir, "cert"))
	s.Balancers[0].ARN, s.Balancers[0].AccessLogs = logARN, true
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	var from int64
	check := func(what, want string) {
		t.Helper()
		if got := readLog(t, r.client, &from); !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("%s: the log says\n%s\nwant\n%s", what, got, want)
		}
	}

	cache := tls.NewLRUClientSessionCache(1)
	for _, c := range []struct{ name, want string }{
		{"a.example.com", `"a\.example\.com" "cert"`},
		{"a.example.com", `"a\.example\.com" "session-reused"`},
		{"other.example.org", `"-" "cert"`},
		{"", `"-" "cert"`},
	} {
		conn, err := tls.Dial("tcp", local(port), &tls.Config{InsecureSkipVerify: true, ServerName: c.name, ClientSessionCache: cache})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, get1("/"))
		readAnswer(t, bufio.NewReader(conn)) // with the ticket
		conn.Close()
		check("name "+c.name, `https .* TLSv1\.3 tg "Root=\S+" `+c.want+` 0 .*`)
	}

	// Streams of one connection are counted each for itself. What HTTP/2 makes of a head is nobody's to know.
	client := trusting(2, pair)
	defer client.CloseIdleConnections()
	for range 2 {
		req, err := http.NewRequest("POST", "https://"+local(port)+"/h2", strings.NewReader(strings.Repeat("x", 50_000)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		check("HTTP/2", `h2 .* 200 200 500\d\d 500\d\d "POST https://127\.0\.0\.1:`+fmt.Sprint(port)+`/h2 HTTP/2\.0" .*`)
	}
	for _, c := range []struct{ contentType, want string }{
		{"application/grpc", `grpcs .* - -1 -1 -1 464 - .* tg "Root=\S+" .* "forward" .*`},
		{"application/grpc+proto", `grpcs .* 464 .*`},
		{"application/grpc-web+proto", `h2 .* 200 200 .*`}, // ordinary requests
	} {
		resp, err := client.Post("https://"+local(port)+"/", c.contentType, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		check(c.contentType, c.want)
	}
}

// A tunnel's entry comes at its end, with all that went through it.
func TestAccessLog_Tunnel(t *testing.T) {
	r, port := newRig(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Upgrade") == "" {
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.CopyN(c, rw, 3000)
	}))
	s := site(port, target)
	s.Balancers[0].ARN, s.Balancers[0].AccessLogs = logARN, true
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	request := get1("/", "Connection: Upgrade", "Upgrade: websocket")
	io.WriteString(c, request)
	br := bufio.NewReader(c)
	head := &counting{r: br}
	if resp, err := http.ReadResponse(bufio.NewReaderSize(head, 16), nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%+v, %v", resp, err)
	}
	io.WriteString(c, strings.Repeat("x", 3000))
	if n, err := io.Copy(io.Discard, br); err != nil || n != 3000 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	c.Close()
	var from int64
	want := fmt.Sprintf(` 101 101 %d %d "GET `, len(request)+3000, head.n+3000)
	if got := readLog(t, r.client, &from); !strings.HasPrefix(got, "ws ") || !strings.Contains(got, want) {
		t.Errorf("the log says\n%s\nwant ws …%s…", got, want)
	}
}
