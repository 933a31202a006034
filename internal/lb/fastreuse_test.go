package lb

import (
	"bufio"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// What a request takes is used again by the next one.
func TestFast_AllocatesLittle(t *testing.T) {
	needsPools(t)
	w := newWorker(&home{sockets: ownSockets{}, dir: t.TempDir()}, lbconfig.EngineFast, testLog())
	defer w.stop(0)
	s := site(freePort(t), bareTarget(t, "127.0.0.1:0"))
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
	request := []byte("GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n\r\n")
	ask := func(times int) {
		for range times {
			c.Write(request)
			if err := readBare(br); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(traceSize) // each place is used again
	const times = 4000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ask(times)
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / times; n > 700 { // the head, the trace id, the Host with its port; 1500 when nothing was used again
		t.Errorf("a request takes %d bytes", n)
	}
}

// Who decides to end a request ends that one, and none that has taken its place.
func TestAbort_NotTheNextRequest(t *testing.T) {
	p := newProxy(testLog())
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	c := p.conns.add(server, portKey{}, netip.MustParseAddrPort("127.0.0.1:1"))
	var aborted error
	x := &exchange{conn: c, cancel: func(cause error) { aborted = cause }}
	m, other := &member{}, &member{}
	x.member.Store(other)
	c.begin(x)
	p.conns.cut(m)
	if aborted != nil {
		t.Errorf("a request at another target was ended: %v", aborted)
	}
	p.conns.cut(other)
	if aborted != errDrainEnd {
		t.Errorf("the request at the target was not ended: %v", aborted)
	}
}
