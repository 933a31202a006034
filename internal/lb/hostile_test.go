package lb

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// Clients that open connections and say nothing can't have more than the configuration allows; who comes when they are gone is
// served.
func TestHostile_ConnectionFlood(t *testing.T) {
	const most, flood = 20, 50
	r, port := newRig(t), freePort(t)
	r.stop()
	r.max = most
	r.start()
	s := site(port, backend(t, named("a")))
	s.Groups[0].Health.Enabled = false
	r.put(s)
	var open []net.Conn
	closed := make(chan bool, flood)
	for range flood {
		c, err := net.Dial("tcp4", local(port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
		go func() {
			io.Copy(io.Discard, c)
			closed <- true
		}()
	}
	for range flood - most {
		select {
		case <-closed:
		case <-time.After(patience):
			t.Fatal("connections beyond the limit stay open")
		}
	}
	if got := metered(t, r.client, s.Balancers[0].ARN, "")["RejectedConnectionCount"]; got != flood-most {
		t.Errorf("RejectedConnectionCount %d, want %d", got, flood-most)
	}
	for _, c := range open {
		c.Close()
	}
	eventually(t, "others are served", func() bool {
		resp, err := noKeepAlive.Get("http://" + local(port))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// A client whose header trickles is never idle, and gets no more time for all of it than an idle one. Others are served
// meanwhile.
func TestHostile_Slowloris(t *testing.T) {
	r, port := newRig(t), freePort(t)
	s := site(port, backend(t, named("a")))
	s.Groups[0].Health.Enabled = false
	s.Balancers[0].IdleTimeout = 300 * time.Millisecond
	r.put(s)
	const slow = 20
	answers := make(chan string, slow)
	for range slow {
		c, err := net.Dial("tcp4", local(port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		go func() {
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n")
			for {
				if _, err := io.WriteString(c, "X-A: b\r\n"); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		go func() {
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			switch {
			case isTimeout(err):
				answers <- "nothing"
			case err != nil: // it sends on, so the answer may be lost in a reset
				answers <- ""
			default:
				answers <- resp.Status
			}
		}()
	}
	for n := 0; n < slow; {
		select {
		case a := <-answers:
			if n++; a != "" && a != "408 Request Time-out" {
				t.Errorf("a slow client got %s", a)
			}
		default:
			if resp, _ := raw(t, local(port), getOf("/", "Connection: close")); resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}
		}
	}
}
