package linklocal

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

func served(t *testing.T, v VPC) *vpcServer {
	t.Helper()
	s := &vpcServer{api: &atomic.Pointer[string]{}, storage: &atomic.Pointer[string]{}, stats: newSampler(t.TempDir(), t.TempDir())}
	s.vpc.Store(&v)
	path := filepath.Join(t.TempDir(), "storage.json")
	s.storage.Store(&path)
	return s
}

func TestResolver(t *testing.T) {
	s := served(t, VPC{Names: map[string][]netip.Addr{"shop-1.us-east-1.elb.amazonaws.com": {netip.MustParseAddr("172.31.0.9"), netip.MustParseAddr("172.31.16.9")}}})
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(s.answer)}
	go srv.ActivateAndServe()
	t.Cleanup(func() { pc.Close() })
	for _, tc := range []struct {
		name    string
		typ     uint16
		rcode   int
		answers int
	}{
		{"SHOP-1.us-east-1.elb.amazonaws.com.", dns.TypeA, dns.RcodeSuccess, 2},
		{"shop-1.us-east-1.elb.amazonaws.com.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"other.us-east-1.elb.amazonaws.com.", dns.TypeA, dns.RcodeNameError, 0},
		{"ip-172-31-0-5.ec2.internal.", dns.TypeA, dns.RcodeNameError, 0},
		{"example.com.", dns.TypeA, dns.RcodeRefused, 0},
	} {
		m := new(dns.Msg)
		m.SetQuestion(tc.name, tc.typ)
		got, err := dns.Exchange(m, pc.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		if got.Rcode != tc.rcode || len(got.Answer) != tc.answers {
			t.Errorf("%s %s: rcode %s, %d answers; want %s, %d", tc.name, dns.TypeToString[tc.typ], dns.RcodeToString[got.Rcode], len(got.Answer), dns.RcodeToString[tc.rcode], tc.answers)
		}
	}
}

func TestMetadata_EphemeralStorage(t *testing.T) {
	a := netip.MustParseAddr("172.31.0.5")
	task := Task{Metadata: TaskMetadata{TaskARN: "arn:aws:ecs:us-east-1:000000000000:task/default/one", EphemeralStorageMetrics: &EphemeralStorageMetrics{Reserved: 20 << 10}},
		Containers: map[string]ContainerMetadata{"one-1": {Name: "web", DockerID: "one-1"}}}
	s := served(t, VPC{Tasks: map[netip.Addr]Task{a: task}})
	get := func(path string) (m TaskMetadata) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.RemoteAddr = "172.31.0.5:999"
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, r)
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || m.EphemeralStorageMetrics == nil {
			t.Fatalf("%s: %v, %s", path, err, w.Body)
		}
		return m
	}
	if got, want := *get("/v4/one-1/task").EphemeralStorageMetrics, (EphemeralStorageMetrics{Reserved: 20480}); got != want {
		t.Errorf("before the first look: %+v, want %+v", got, want)
	}
	if err := WriteStorage(*s.storage.Load(), map[string]int64{"one": 3<<20 + 1, "two": 9 << 20}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v4/one-1/task", "/v4/one-1/taskWithTags"} {
		if got, want := *get(path).EphemeralStorageMetrics, (EphemeralStorageMetrics{Utilized: 4, Reserved: 20480}); got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	if task.Metadata.EphemeralStorageMetrics.Utilized != 0 {
		t.Error("the snapshot was changed")
	}
}

func TestMetadata_ShowsATaskOnlyItself(t *testing.T) {
	a, b := netip.MustParseAddr("172.31.0.5"), netip.MustParseAddr("172.31.0.6")
	task := func(id string) Task {
		return Task{Metadata: TaskMetadata{TaskARN: "arn:" + id}, Containers: map[string]ContainerMetadata{id: {Name: "web", DockerID: id}}}
	}
	s := served(t, VPC{Tasks: map[netip.Addr]Task{a: task("one"), b: task("two")}})
	for _, tc := range []struct {
		from, path string
		status     int
		member     string
		want       string
	}{
		{"172.31.0.5:999", "/v4/one", 200, "DockerId", "one"},
		{"172.31.0.5:999", "/v4/one/task", 200, "TaskARN", "arn:one"},
		{"172.31.0.5:999", "/v4/two", 404, "", ""},
		{"172.31.0.5:999", "/v4/one/stats", 200, "", ""}, // null: it doesn't run
		{"172.31.0.5:999", "/v4/one/other", 404, "", ""},
		{"172.31.0.7:999", "/v4/one", 404, "", ""},
		{"172.31.0.5:999", "/v3/one", 200, "DockerId", "one"},
		{"172.31.0.5:999", "/v2/one", 404, "", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, tc.path, nil)
		r.RemoteAddr = tc.from
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, r)
		if w.Code != tc.status {
			t.Errorf("%s from %s: %d, want %d", tc.path, tc.from, w.Code, tc.status)
		}
		if tc.member == "" {
			continue
		}
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got[tc.member] != tc.want {
			t.Errorf("%s from %s: %s = %v (%v), want %s", tc.path, tc.from, tc.member, got[tc.member], err, tc.want)
		}
	}
}
