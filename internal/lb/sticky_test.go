package lb

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

func TestJar(t *testing.T) {
	j := randomJar()
	want := ticket{aboutTarget, groupHash("tg"), netip.MustParseAddrPort("10.1.2.3:8080"), time.UnixMilli(1234567890123)}
	s := j.seal(want)
	if len(s) != 120 || s == j.seal(want) {
		t.Errorf("a cookie of %d characters, want 120, and never the same", len(s))
	}
	if got, ok := j.open(s); !ok || got != want {
		t.Errorf("open(seal(%v)) = %v, %v", want, got, ok)
	}
	if _, ok := randomJar().open(s); ok {
		t.Error("another key opens it")
	}
	for _, bad := range []string{"", "x", s[:119], s + "A", strings.Repeat("A", 120), "B" + s[1:]} {
		if bad == s {
			continue
		}
		if _, ok := j.open(bad); ok {
			t.Errorf("open(%q) is no error", bad)
		}
	}
}

func TestJar_KeyIsKept(t *testing.T) {
	dir := t.TempDir()
	one, err := openJar(dir)
	if err != nil {
		t.Fatal(err)
	}
	two, err := openJar(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := two.open(one.seal(ticket{about: aboutGroup})); !ok {
		t.Error("the next process can't read the cookies of the last")
	}
}

// setCookies are name → value of the answer, and the whole lines by name.
func setCookies(resp *http.Response) (values, lines map[string]string) {
	values, lines = map[string]string{}, map[string]string{}
	for _, line := range resp.Header["Set-Cookie"] {
		kv, _, _ := strings.Cut(line, ";")
		k, v, _ := strings.Cut(kv, "=")
		values[k], lines[k] = v, line
	}
	return values, lines
}

// Source: ALB user guide, sticky sessions.
func TestSticky_BalancerCookie(t *testing.T) {
	r, port := newRig(t), freePort(t)
	a, b, c := backend(t, named("a")), backend(t, named("b")), backend(t, named("c"))
	s := site(port, a, b, c)
	s.Groups[0].Stickiness = lbconfig.Stickiness{Type: lbconfig.BalancerCookie, Duration: time.Minute}
	r.put(s)
	for _, x := range []netip.AddrPort{a, b, c} {
		r.wait("tg", x, lbconfig.Healthy)
	}
	ask := func(cookie string) (string, map[string]string, map[string]string) {
		t.Helper()
		resp, body := raw(t, local(port), get1("/", "Cookie: x=y; "+cookie+"; z"))
		v, l := setCookies(resp)
		return body, v, l
	}
	first, v, lines := ask("")
	if !regexp.MustCompile(`^AWSALB=[A-Za-z0-9+/]{120}; Expires=[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT; Path=/$`).MatchString(lines["AWSALB"]) ||
		!regexp.MustCompile(`^AWSALBCORS=[A-Za-z0-9+/]{120}; Expires=[^;]*; Path=/; SameSite=None; Secure$`).MatchString(lines["AWSALBCORS"]) || len(lines) != 2 {
		t.Fatalf("Set-Cookie %q", lines)
	}
	for i := range 6 {
		name := []string{"AWSALB", "AWSALBCORS"}[i%2]
		var got string
		got, v, _ = ask(name + "=" + v[name]) // each answer has new ones
		if got != first {
			t.Fatalf("%s led to %s, want %s", name, got, first)
		}
	}
	// The twin wins; one that can't be read is none.
	var other string
	var ov map[string]string
	for other == "" || other == first {
		other, ov, _ = ask("")
	}
	if got, _, _ := ask("AWSALB=" + ov["AWSALB"] + "; AWSALBCORS=" + v["AWSALBCORS"]); got != first {
		t.Errorf("both: %s, want that of AWSALBCORS, %s", got, first)
	}
	if got, _, _ := ask("AWSALB=" + v["AWSALB"] + "; AWSALBCORS=" + strings.Repeat("A", 120)); got != first {
		t.Errorf("a broken AWSALBCORS: %s, want that of AWSALB, %s", got, first)
	}
	// A target that drains is left for good.
	at := map[string]netip.AddrPort{"a": a, "b": b, "c": c}[first]
	for i := range s.Groups[0].Targets {
		if s.Groups[0].Targets[i].Addr == at {
			s.Groups[0].Targets[i].Draining, s.Groups[0].Targets[i].Since = true, time.Now()
		}
	}
	r.put(s)
	second, v, _ := ask("AWSALB=" + v["AWSALB"])
	if second == first {
		t.Fatalf("%s drains and got a request", first)
	}
	for range 4 {
		if got, _, _ := ask("AWSALB=" + v["AWSALB"]); got != second {
			t.Errorf("afterwards %s, want %s", got, second)
		}
	}
	// The cookies outlive the process.
	r.stop()
	r.start()
	r.wait("tg", map[string]netip.AddrPort{"a": a, "b": b, "c": c}[second], lbconfig.Healthy)
	for range 4 {
		if got, _, _ := ask("AWSALB=" + v["AWSALB"]); got != second {
			t.Errorf("after a restart %s, want %s", got, second)
		}
	}
	// Without stickiness nothing is set, and cookies mean nothing.
	s.Groups[0].Stickiness = lbconfig.Stickiness{}
	r.put(s)
	if _, v, _ := ask("AWSALB=" + v["AWSALB"]); len(v) != 0 {
		t.Errorf("without stickiness: %v", v)
	}
}

func TestSticky_TicketsEnd(t *testing.T) {
	p := newProxy(testLog())
	now := time.Now()
	g := newGroup("tg")
	m := &member{group: g, addr: netip.MustParseAddrPort("10.0.0.1:80")}
	g.eligible.Store(&roster{members: []*member{m}, sticky: lbconfig.Stickiness{Type: lbconfig.BalancerCookie, Duration: time.Minute}})
	for _, c := range []struct {
		name string
		t    ticket
		want bool
	}{
		{"fresh", ticket{aboutTarget, g.hash, m.addr, now.Add(-59 * time.Second)}, true},
		{"old", ticket{aboutTarget, g.hash, m.addr, now.Add(-61 * time.Second)}, false},
		{"of another group", ticket{aboutTarget, groupHash("other"), m.addr, now}, false},
		{"of another target", ticket{aboutTarget, g.hash, netip.MustParseAddrPort("10.0.0.2:80"), now}, false},
		{"about the group", ticket{aboutGroup, g.hash, m.addr, now}, false},
	} {
		x := &exchange{started: now, entry: &entry{}, request: newRequest(parse(t, get1("/", "Cookie: AWSALB="+p.jar.seal(c.t))))}
		if got := p.claimStuck(x, g) == m; got != c.want {
			t.Errorf("%s: bound %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSticky_ApplicationCookie(t *testing.T) {
	r, port := newRig(t), freePort(t)
	target := func(name string) netip.AddrPort {
		return backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/login" {
				w.Header().Add("Set-Cookie", "other=1")
				w.Header().Add("Set-Cookie", "SESSION="+name+"; HttpOnly")
			}
			io.WriteString(w, name)
		}))
	}
	a, b := target("a"), target("b")
	s := site(port, a, b)
	s.Groups[0].Stickiness = lbconfig.Stickiness{Type: lbconfig.ApplicationCookie, Cookie: "SESSION", Duration: time.Minute}
	r.put(s)
	r.wait("tg", a, lbconfig.Healthy)
	r.wait("tg", b, lbconfig.Healthy)
	ask := func(path, cookie string) (string, map[string]string) {
		t.Helper()
		resp, body := raw(t, local(port), get1(path, "Cookie: "+cookie))
		v, _ := setCookies(resp)
		return body, v
	}
	if _, v := ask("/", ""); len(v) != 0 {
		t.Errorf("before the application set its cookie: %v", v)
	}
	first, v := ask("/login", "")
	ours := v["AWSALBAPP-0"]
	if v["SESSION"] != first || ours == "" || len(v) != 3 {
		t.Fatalf("after the login: %v", v)
	}
	for range 4 {
		got, v := ask("/", fmt.Sprintf("SESSION=%s; AWSALBAPP-0=%s", first, ours))
		if got != first || v["AWSALBAPP-0"] == "" || v["AWSALBAPP-0"] == ours {
			t.Fatalf("both cookies led to %s and %v, want %s and a new AWSALBAPP-0", got, v, first)
		}
		ours = v["AWSALBAPP-0"]
	}
	for _, one := range []string{"AWSALBAPP-0=" + ours, "SESSION=" + first} { // it takes both
		got := map[string]bool{}
		for range 4 {
			body, v := ask("/", one)
			got[body] = true
			if v["AWSALBAPP-0"] != "" {
				t.Errorf("%.20s alone was renewed", one)
			}
		}
		if len(got) != 2 {
			t.Errorf("%.20s alone was bound to %v", one, got)
		}
	}
}

func TestSticky_TargetGroup(t *testing.T) {
	r, port := newRig(t), freePort(t)
	a, b := backend(t, named("a")), backend(t, named("b"))
	s := site(port, a)
	s.Groups = append(s.Groups, groupOf("tg2", b))
	act := &s.Balancers[0].Listeners[0].Rules[0].Action
	*act = forwardTo("tg", "tg2")
	act.Sticky = time.Hour
	r.put(s)
	r.wait("tg", a, lbconfig.Healthy)
	r.wait("tg2", b, lbconfig.Healthy)
	ask := func(cookie string) (string, map[string]string) {
		t.Helper()
		resp, body := raw(t, local(port), get1("/", "Cookie: "+cookie))
		v, _ := setCookies(resp)
		return body, v
	}
	for range 2 {
		first, v := ask("")
		if len(v) != 2 || v["AWSALBTG"] == "" || v["AWSALBTGCORS"] == "" {
			t.Fatalf("cookies %v", v)
		}
		for range 3 {
			var got string
			if got, v = ask("AWSALBTG=" + v["AWSALBTG"]); got != first {
				t.Fatalf("led to %s, want %s", got, first)
			}
		}
	}
	// A group of weight 0 is out of service.
	_, v := ask("")
	act.Groups[0].Weight = 0
	r.put(s)
	for range 4 {
		var got string
		if got, v = ask("AWSALBTG=" + v["AWSALBTG"]); got != "b" {
			t.Errorf("a group of weight 0 got a request: %s", got)
		}
	}
}
