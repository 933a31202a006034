package lb

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// What a client still sends of a body when its target has answered, and closed, is never taken for a request: it may be
// one that no rule has seen.
func TestEarlyAnswer_BodyIsNoRequest(t *testing.T) {
	r, port := newRig(t), freePort(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil && req.URL.Path != "/health" {
				io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
			} else if err == nil {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			}
			c.Close() // with bytes unread: what is sent to it is answered with a reset
		}
	}()
	target := ln.Addr().(*net.TCPAddr).AddrPort()
	r.put(site(port, target))
	r.wait("tg", target, lbconfig.Healthy)
	big := strings.Repeat("x", 20<<20)
	for name, request := range map[string]string{
		"of a length": "Content-Length: " + fmt.Sprint(len(big)) + "\r\n\r\n" + big,
		"chunked":     "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(big), big),
	} {
		for range 8 {
			conn, err := net.Dial("tcp", local(port))
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(patience))
			head, body, _ := strings.Cut(request, "\r\n\r\n")
			io.WriteString(conn, "POST /big HTTP/1.1\r\nHost: a\r\n"+head+"\r\n\r\n")
			go io.WriteString(conn, body)
			br := bufio.NewReader(conn)
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			io.Copy(io.Discard, resp.Body) // the target's, or 502 when its reset came first
			if more, _ := io.ReadAll(br); len(more) > 0 {
				t.Fatalf("%s: after the answer came %q", name, more)
			}
			conn.Close()
		}
	}
}
