package lb

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// from sends a request from a source address, and says "timeout" if nobody answers.
func from(source, addr, host string) string {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 300 * time.Millisecond}
	c, err := d.Dial("tcp4", addr)
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(300 * time.Millisecond))
		fmt.Fprintf(c, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", host)
		var answer []byte
		if answer, err = io.ReadAll(c); err == nil {
			lines := strings.Split(strings.TrimSpace(string(answer)), "\n")
			return lines[len(lines)-1]
		}
	}
	if isTimeout(err) {
		return "timeout"
	}
	return err.Error()
}

// The rules of a balancer's groups judge the client at accept; who is not admitted sees a timeout, as on AWS.
func TestIngress_AtPublicAddresses(t *testing.T) {
	p, v := newPair(t), newVPC(t)
	target, _ := v.task(named("welcome"))
	s := v.inside(site(8000, target))
	b := &s.Balancers[0]
	b.Public = []netip.Addr{netip.MustParseAddr("127.64.0.10")}
	b.Ingress = []lbconfig.Allow{
		{From: netip.MustParsePrefix("127.0.1.0/24"), Lo: 8000, Hi: 8000},
		{From: netip.MustParsePrefix("127.0.2.2/32"), Lo: 0, Hi: 65535},
		{From: netip.MustParsePrefix("127.0.3.3/32"), Lo: 8001, Hi: 9000},
	}
	p.put(s)
	p.wait("tg", target, lbconfig.Healthy)
	all := func(want map[string]string) {
		t.Helper()
		var wg sync.WaitGroup
		defer wg.Wait()
		for source, answer := range want {
			wg.Go(func() {
				if got := from(source, "127.64.0.10:8000", "x"); got != answer {
					t.Errorf("from %s: %s, want %s", source, got, answer)
				}
			})
		}
	}
	all(map[string]string{"127.0.1.7": "welcome", "127.0.2.2": "welcome", "127.0.2.3": "timeout", "127.0.3.3": "timeout", "127.0.0.1": "timeout"})

	b.Ingress = []lbconfig.Allow{{From: netip.MustParsePrefix("127.0.3.0/24"), Hi: 65535}}
	p.put(s)
	all(map[string]string{"127.0.1.7": "timeout", "127.0.3.3": "welcome"})
	b.Ingress = nil
	p.put(s)
	all(map[string]string{"127.0.3.3": "timeout"})
	b.Ingress = []lbconfig.Allow{{From: netip.MustParsePrefix("0.0.0.0/0"), Hi: 65535}}
	p.put(s)
	all(map[string]string{"127.0.1.7": "welcome", "127.0.3.3": "welcome"})

	// What is denied is dropped by the kernel: the worker never sees it.
	b.Ingress = nil
	p.put(s)
	before := established(t)
	from("127.0.1.7", "127.64.0.10:8000", "x")
	if after := established(t); after != before {
		t.Errorf("a denied client made a connection: %d, then %d", before, after)
	}
}

// established is how many connections of public addresses stand.
func established(t *testing.T) (n int) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasPrefix(f[1], "0A00407F:") && f[3] == "01" {
			n++
		}
	}
	return n
}

// At the shared front the host chooses the balancer, whose own rules judge.
func TestIngress_AtTheFront(t *testing.T) {
	p, v := newPair(t), newVPC(t)
	one, _ := v.task(named("one"))
	two, _ := v.task(named("two"))
	s := v.inside(site(8000, one))
	other := v.inside(site(8000, two))
	s.Balancers[0].Public, other.Balancers[0].Public = nil, nil
	o := &other.Balancers[0]
	o.ARN, o.Name = "lb2", "lb2"
	o.ENIs = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	o.Listeners[0].ARN = "listener2"
	o.Listeners[0].Rules[0] = lbconfig.Rule{ARN: "default2", Action: forwardTo("tg2")}
	other.Groups[0].ARN = "tg2"
	s.Balancers = append(s.Balancers, *o)
	s.Groups = append(s.Groups, other.Groups...)
	s.Balancers[0].Front, s.Balancers[1].Front = "127.0.0.1:8080", "127.0.0.1:8080"
	s.Balancers[0].Names = []string{"one.elb.localhost"}
	s.Balancers[1].Names = []string{"Two.elb.localhost", "two.example"}
	s.Balancers[1].Ingress = []lbconfig.Allow{{From: netip.MustParsePrefix("127.0.2.0/24"), Hi: 65535}}
	p.put(s)
	p.wait("tg", one, lbconfig.Healthy)
	p.wait("tg2", two, lbconfig.Healthy)
	for _, c := range []struct{ source, host, want string }{
		{"127.0.0.1", "one.elb.localhost", "one"},
		{"127.0.0.1", "ONE.elb.localhost:8080", "one"},
		{"127.0.2.1", "two.elb.localhost:8080", "two"},
		{"127.0.2.1", "two.example", "two"},
		{"127.0.0.1", "two.example", "timeout"},
		{"127.0.0.1", "three.example", "No load balancer answers to this host name."},
	} {
		if got := from(c.source, "127.0.0.1:8080", c.host); got != c.want {
			t.Errorf("%s from %s: %s, want %s", c.host, c.source, got, c.want)
		}
	}
	if st, err := p.client.Status(context.Background(), 0); err != nil || len(st.Listeners) != 4 {
		t.Errorf("%+v, %v", st.Listeners, err)
	}
}
