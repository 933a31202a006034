package lb

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// metered reads what is counted for a balancer, or at a group, by CloudWatch's names; what is 0 is left out.
func metered(t *testing.T, c *lbconfig.Client, balancer, group string) map[string]int {
	t.Helper()
	text, err := c.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, n := range counted {
		names["lotse_alb_"+snake(n)+"_total"] = n
	}
	names["lotse_alb_target_response_time_seconds_count"] = "TargetResponseTime"
	line := regexp.MustCompile(`^(\w+)\{load_balancer="(.*)",target_group="(.*)",availability_zone=".*"\} (\d+)$`)
	out := map[string]int{}
	for l := range strings.Lines(string(text)) {
		m := line.FindStringSubmatch(strings.TrimSuffix(l, "\n"))
		if m == nil || names[m[1]] == "" || m[2] != balancer || m[3] != group {
			continue
		}
		if n, _ := strconv.Atoi(m[4]); n != 0 {
			out[names[m[1]]] += n
		}
	}
	return out
}

// What is counted is what a client saw, to the last one. Source: ALB user guide, CloudWatch metrics.
func TestMeters(t *testing.T) {
	r, port, secured := newRig(t), freePort(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n, _ := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/status/"))
		if n == 0 {
			n = 200
		}
		w.WriteHeader(n)
	}))
	pair := newTestPair(t, nil, "a.example.com")
	s := site(port, target)
	s.Certificates = []lbconfig.Certificate{pair.sealed(t, r.dir, "cert")}
	b := &s.Balancers[0]
	b.ARN = logARN
	https := secure(site(secured, target), s.Certificates...).Balancers[0].Listeners[0]
	https.ARN = "https"
	https.Rules[len(https.Rules)-1].ARN = "https default"
	b.Listeners[0].Rules = append([]lbconfig.Rule{
		{ARN: "r1", Priority: 1, Conditions: paths("/away"), Action: lbconfig.Action{Type: lbconfig.RedirectTo, Redirect: lbconfig.Redirect{Host: "h", Status: 301}}},
		{ARN: "r2", Priority: 2, Conditions: paths("/fixed"), Action: lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: 404}}},
		{ARN: "r3", Priority: 3, Conditions: paths("/nobody"), Action: forwardTo("empty")},
		{ARN: "r4", Priority: 4, Conditions: paths("/refused"), Action: forwardTo("refused")},
	}, b.Listeners[0].Rules...)
	b.Listeners = append(b.Listeners, https)
	refused := groupOf("refused", closedPort(t))
	refused.Health.Enabled = false
	s.Groups = append(s.Groups, groupOf("empty"), refused)
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)

	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	bytes := 0
	for path, n := range map[string]int{"/": 3, "/status/302": 2, "/status/404": 4, "/status/503": 1, "/away": 2, "/fixed": 3, "/nobody": 2, "/refused": 2} {
		for range n {
			text := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: example.com\r\n\r\n", path)
			io.WriteString(c, text)
			count := &counting{r: in}
			resp, err := http.ReadResponse(bufio.NewReaderSize(count, 16), nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			bytes += len(text) + count.n
		}
	}
	c.Close()
	if _, err := tls.Dial("tcp", local(secured), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Fatal("TLS 1.1 was taken")
	}
	all := map[string]int{"RequestCount": 12, "HTTPCode_Target_2XX_Count": 3, "HTTPCode_Target_3XX_Count": 2, "HTTPCode_Target_4XX_Count": 4, "HTTPCode_Target_5XX_Count": 1,
		"HTTPCode_ELB_3XX_Count": 2, "HTTPCode_ELB_4XX_Count": 3, "HTTPCode_ELB_5XX_Count": 4, "HTTPCode_ELB_502_Count": 2, "HTTPCode_ELB_503_Count": 2,
		"RuleEvaluations": 10*4 + 2*1 + 3*2 + 2*3 + 2*4, "HTTP_Redirect_Count": 2, "HTTP_Fixed_Response_Count": 3, "TargetConnectionErrorCount": 2, "ClientTLSNegotiationErrorCount": 1,
		"ProcessedBytes": bytes, "NewConnectionCount": 3, "TargetResponseTime": 10}
	var got map[string]int
	t.Cleanup(func() { t.Log(bytes, got) })
	eventually(t, "the connection's end is counted", func() bool {
		got = metered(t, r.client, logARN, "")
		return got["ProcessedBytes"] == bytes && got["ClientTLSNegotiationErrorCount"] == 1
	})
	if d := cmp.Diff(all, got); d != "" {
		t.Errorf("of the balancer (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]int{"RequestCount": 10, "HTTPCode_Target_2XX_Count": 3, "HTTPCode_Target_3XX_Count": 2, "HTTPCode_Target_4XX_Count": 4,
		"HTTPCode_Target_5XX_Count": 1, "TargetResponseTime": 10}, metered(t, r.client, logARN, "tg")); d != "" {
		t.Errorf("at the group (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]int{"RequestCount": 2, "TargetConnectionErrorCount": 2}, metered(t, r.client, logARN, "refused")); d != "" {
		t.Errorf("at the group that is refused (-want +got):\n%s", d)
	}
}

// counting counts what is read, one byte after the other, so that nothing is read ahead.
type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p[:min(1, len(p))])
	c.n += n
	return n, err
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort(t))
}

func TestMinutes(t *testing.T) {
	m := newMinutes()
	begin := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	all, group := meterKey{balancer: "lb"}, meterKey{balancer: "lb", group: "tg"}
	there := map[meterKey]bool{all: true, group: true}
	add := func(requests int64, took ...time.Duration) {
		m.meter(all).add(countRequests, requests)
		m.meter(group).add(countRequests, requests)
		for _, d := range took {
			m.meter(group).took(d)
		}
	}
	add(6, 10*time.Millisecond, 30*time.Millisecond)
	m.sample(group, "HealthyHostCount", 2)
	m.sample(group, "HealthyHostCount", 4)
	m.close(begin, there)
	add(1)
	m.close(begin.Add(time.Minute), map[meterKey]bool{all: true})
	m.close(begin.Add(2*time.Minute), there)
	one := func(n float64) lbconfig.Sample { return lbconfig.Sample{Sum: n, Min: 1, Max: 1, Count: int64(n)} }
	lo, hi := lbconfig.BucketOf(.01), lbconfig.BucketOf(.03)
	want := []lbconfig.Minute{
		{Time: begin, Series: []lbconfig.Series{
			{Balancer: "lb", Metrics: map[string]lbconfig.Sample{"RequestCount": one(6)}},
			{Balancer: "lb", Group: "tg", Metrics: map[string]lbconfig.Sample{"RequestCount": one(6), "HealthyHostCount": {Sum: 6, Min: 2, Max: 4, Count: 2},
				"RequestCountPerTarget": {Sum: 2, Min: 2, Max: 2, Count: 1},
				"TargetResponseTime":    {Sum: .04, Min: lbconfig.BucketEnd(lo - 1), Max: lbconfig.BucketEnd(hi), Count: 2, Buckets: map[int]int64{lo: 1, hi: 1}}}},
		}},
		{Time: begin.Add(time.Minute), Series: []lbconfig.Series{
			{Balancer: "lb", Metrics: map[string]lbconfig.Sample{"RequestCount": one(1)}},
			{Balancer: "lb", Group: "tg", Metrics: map[string]lbconfig.Sample{"RequestCount": one(1)}},
		}},
		{Time: begin.Add(2 * time.Minute)},
	}
	if d := cmp.Diff(want, m.since(time.Unix(0, 0))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := m.since(begin.Add(time.Minute)); len(got) != 2 {
		t.Errorf("%d minutes from the second on, want 2", len(got))
	}
	if m.meters[group] != nil || m.meters[all] == nil {
		t.Error("a group that is gone is still measured, or the balancer no more")
	}
	for n := range 2 * minutesKept {
		m.close(begin.Add(time.Duration(3+n)*time.Minute), there)
	}
	if got := len(m.since(time.Unix(0, 0))); got != minutesKept {
		t.Errorf("%d minutes are kept, want %d", got, minutesKept)
	}
}

// What is measured in zones is their sum in all together; what is true at a time is not.
func TestMinutes_Zones(t *testing.T) {
	m := newMinutes()
	all := meterKey{balancer: "lb", group: "tg"}
	in := func(zone string) meterKey { return meterKey{"lb", "tg", zone} }
	for zone, n := range map[string]int64{"a": 3, "b": 4, "": 5} { // "": at a front
		m.meter(in(zone)).add(countRequests, n)
		m.meter(in(zone)).took(10 * time.Millisecond)
	}
	for key, n := range map[meterKey]float64{in("a"): 1, in("b"): 2, all: 3} {
		m.sample(key, "HealthyHostCount", n)
	}
	m.close(time.Now(), map[meterKey]bool{all: true})
	got := map[string][4]float64{}
	for _, s := range m.since(time.Time{})[0].Series {
		x := s.Metrics
		got[s.Zone] = [4]float64{x["RequestCount"].Sum, float64(x["TargetResponseTime"].Count), x["HealthyHostCount"].Sum, x["RequestCountPerTarget"].Sum}
		if s.Balancer != "lb" || s.Group != "tg" {
			t.Errorf("%+v", s)
		}
	}
	if d := cmp.Diff(map[string][4]float64{"a": {3, 1, 1, 3}, "b": {4, 1, 2, 2}, "": {12, 3, 3, 4}}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(m.meters) != 3 {
		t.Errorf("%d meters are kept", len(m.meters))
	}
	m.close(time.Now(), map[meterKey]bool{})
	if len(m.meters) != 0 || len(m.last) != 0 {
		t.Errorf("%d meters of what is gone are kept", len(m.meters))
	}
}

func TestHosts(t *testing.T) {
	g, ms := newGroup("tg"), members(6)
	for i, s := range []string{lbconfig.Healthy, lbconfig.Healthy, lbconfig.Unhealthy, lbconfig.Initial, lbconfig.Healthy, lbconfig.Unused} {
		ms[i].health.state, ms[i].conf.Zone = s, []string{"a", "b", "b", "a", "", "d"}[i]
		g.members[ms[i].addr] = ms[i]
	}
	ms[0].anomalous, ms[1].anomalous = true, true
	ms[1].lost.Store(500)
	b := &lbconfig.Balancer{Zones: map[netip.Addr]string{netip.MustParseAddr("10.0.0.1"): "a", netip.MustParseAddr("10.0.1.1"): "b", netip.MustParseAddr("10.0.2.1"): "c"}}
	got := map[string][4]int{}
	for zone, n := range g.hostsLocked(b) {
		got[zone] = [4]int{n["HealthyHostCount"], n["UnHealthyHostCount"], n["AnomalousHostCount"], n["MitigatedHostCount"]}
	}
	if d := cmp.Diff(map[string][4]int{"": {3, 1, 2, 1}, "a": {1, 0, 1, 0}, "b": {1, 1, 1, 1}, "c": {}}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestMeter_AllocatesNothing(t *testing.T) {
	m := &meter{}
	if n := testing.AllocsPerRun(100, func() { m.add(countRequests, 1); m.took(3 * time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var none *meter
	none.add(countRequests, 1)
	none.took(time.Second)
	if math.IsNaN(lbconfig.BucketEnd(0)) {
		t.Error("a bucket has no end")
	}
}
