package lb

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// Requests that come in one packet, or in pieces, are all answered, in turn, whichever way they are read.
func TestFast_Pipelined(t *testing.T) {
	w := newWorker(&home{sockets: ownSockets{}, dir: t.TempDir()}, lbconfig.EngineFast, testLog())
	defer w.stop(0)
	s := site(freePort(t), backend(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		io.WriteString(rw, string(body)+r.URL.Path)
	})))
	s.Groups[0].Health.Enabled = false
	if err := w.apply(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", local(s.Balancers[0].Listeners[0].Port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	post := "POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
	for _, pieces := range [][]string{
		{get1("/1") + post + get1("/3")},
		{get1("/1")[:10], get1("/1")[10:] + post[:len(post)-2], post[len(post)-2:] + get1("/3")},
		{get1("/1") + post[:20], post[20:] + get1("/3")[:20], get1("/3")[20:]},
		{get1("/1"), post, get1("/3")},
	} {
		go func() {
			for _, p := range pieces {
				c.Write([]byte(p))
				time.Sleep(5 * time.Millisecond) // so that they come apart; they may as well come together
			}
		}()
		for _, want := range []string{"/1", "abc/2", "/3"} {
			if resp, body := readAnswer(t, br); resp.StatusCode != 200 || body != want {
				t.Fatalf("status %d, %q, want %q", resp.StatusCode, body, want)
			}
		}
	}
}

// A worker stops in time, also when a target doesn't answer.
func TestFast_StopsWhileATargetThinks(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	asked := make(chan net.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			c.Read(make([]byte, 4096))
			asked <- c
		}
	}()
	w := newWorker(&home{sockets: ownSockets{}, dir: t.TempDir()}, lbconfig.EngineFast, testLog())
	s := site(freePort(t), ln.Addr().(*net.TCPAddr).AddrPort())
	s.Groups[0].Health.Enabled = false
	if err := w.apply(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", local(s.Balancers[0].Listeners[0].Port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte(get1("/")))
	defer (<-asked).Close()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.stop(10 * time.Millisecond)
	}()
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Fatal("the worker does not stop")
	}
}
