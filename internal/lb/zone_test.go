package lb

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// twoZones is a balancer with a node at 127.0.0.1 in zone a and one at 127.0.0.2 in zone b.
func twoZones(port uint16, zonal bool, zones map[netip.AddrPort]string) lbconfig.Snapshot {
	s := site(port)
	b, g := &s.Balancers[0], &s.Groups[0]
	b.ENIs = append(b.ENIs, netip.MustParseAddr("127.0.0.2"))
	b.Zones = map[netip.Addr]string{b.ENIs[0]: "a", b.ENIs[1]: "b"}
	g.Zonal = zonal
	for addr, zone := range zones {
		g.Targets = append(g.Targets, lbconfig.Target{Addr: addr, Zone: zone, Since: began})
	}
	return s
}

// answers are how often each target, or status, answered requests to an address.
func answers(t *testing.T, url string, n int) map[string]int {
	t.Helper()
	out := map[string]int{}
	for range n {
		resp, err := noKeepAlive.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		who, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			who = []byte(resp.Status)
		}
		out[string(who)]++
	}
	return out
}

// Source: ALB user guide, cross-zone load balancing for target groups.
func TestZones_CrossZoneOff(t *testing.T) {
	r, port := newRig(t), freePort(t)
	zones := map[netip.AddrPort]string{backend(t, named("a1")): "a", backend(t, named("a2")): "a", backend(t, named("b1")): "b"}
	at := map[string]string{"a": fmt.Sprintf("http://127.0.0.1:%d/", port), "b": fmt.Sprintf("http://127.0.0.2:%d/", port)}
	expect := func(zone string, want map[string]int) {
		t.Helper()
		n := 0
		for _, k := range want {
			n += k
		}
		got := answers(t, at[zone], n)
		for who, k := range want {
			if got[who] != k {
				t.Errorf("zone %s: %v, want %v", zone, got, want)
			}
		}
	}
	s := twoZones(port, false, zones)
	r.put(s)
	for a := range zones {
		r.wait("tg", a, lbconfig.Healthy)
	}
	expect("a", map[string]int{"a1": 2, "a2": 2, "b1": 2})

	s.Groups[0].Zonal = true
	r.put(s)
	expect("a", map[string]int{"a1": 3, "a2": 3})
	expect("b", map[string]int{"b1": 4})

	if got := metered(t, r.client, "lb", "tg"); got["RequestCount"] != 6+6+4 {
		t.Errorf("counted at the group: %v", got)
	}
	text, err := r.client.Metrics(t.Context())
	for _, want := range []string{`{load_balancer="lb",target_group="",availability_zone="a"} 12`, `{load_balancer="lb",target_group="",availability_zone="b"} 4`,
		`{load_balancer="lb",target_group="tg",availability_zone="a"} 10`, `{load_balancer="lb",target_group="tg",availability_zone="b"} 6`} {
		if err != nil || !strings.Contains(string(text), "lotse_alb_request_count_total"+want) {
			t.Errorf("not told: %s (%v)", want, err)
		}
	}

	// A zone without targets has nobody to ask, and one whose targets are all unhealthy fails open for itself.
	var sick netip.AddrPort
	for a, zone := range zones {
		if zone == "b" {
			sick = a
		}
	}
	down := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/health" {
			w.WriteHeader(500)
		}
		io.WriteString(w, "sick")
	}))
	delete(zones, sick)
	r.put(twoZones(port, true, zones))
	expect("b", map[string]int{"503 Service Temporarily Unavailable": 2})
	expect("a", map[string]int{"a1": 1, "a2": 1})
	zones[down] = "b"
	s = twoZones(port, true, zones)
	s.Groups[0].Health.Unhealthy = 1
	s.Groups[0].Health.Interval = s.Groups[0].Health.Timeout + 1
	r.put(s)
	r.wait("tg", down, lbconfig.Unhealthy)
	expect("b", map[string]int{"sick": 2})
	expect("a", map[string]int{"a1": 1, "a2": 1})
}

// Source: ELBv2 API, TargetHealth: a target in a zone that isn't the load balancer's is not in use.
func TestZones_TargetOutside(t *testing.T) {
	r, port := newRig(t), freePort(t)
	in, out := backend(t, named("in")), backend(t, named("out"))
	r.put(twoZones(port, false, map[netip.AddrPort]string{in: "a", out: "c"}))
	r.wait("tg", in, lbconfig.Healthy)
	st := r.wait("tg", out, lbconfig.Unused)
	if st.Reason != lbconfig.NotInUse || st.Description != lbconfig.ZoneNotEnabled {
		t.Errorf("%+v", st)
	}
	if got := answers(t, "http://"+local(port)+"/", 4); got["in"] != 4 {
		t.Errorf("answered by %v", got)
	}
	s := twoZones(port, false, map[netip.AddrPort]string{in: "a", out: "c"})
	s.Balancers[0].Zones[netip.MustParseAddr("127.0.0.2")] = "c"
	r.put(s)
	r.wait("tg", out, lbconfig.Healthy)
}
