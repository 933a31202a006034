package lb

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/proc"
)

// Whenever one worker goes and another comes, who asks for one minute after the other is told of each request once.
func TestMinutes_NothingIsLostBetweenWorkers(t *testing.T) {
	key := meterKey{"lb", "tg", "a"}
	there := map[meterKey]bool{key.everywhere(): true}
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
		m := newMinutes()
		var all, told int64
		var from time.Time
		ask := func() {
			list := m.since(from)
			for _, d := range list {
				for _, s := range d.Series {
					if s.Zone == "a" {
						told += int64(s.Metrics["RequestCount"].Sum)
					}
				}
				m.gave(d.Time)
				from = d.Time.Add(time.Minute)
			}
		}
		tick := func() {
			began := now.Truncate(time.Minute)
			if now = now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second); now.Truncate(time.Minute).After(began) {
				m.close(began, there)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"requests": func(t *rapid.T) {
				n := rapid.Int64Range(1, 5).Draw(t, "n")
				m.meter(key).add(countRequests, n)
				all += n
			},
			"time": func(*rapid.T) { tick() },
			"ask":  func(*rapid.T) { ask() },
			"another": func(t *rapid.T) {
				done, part := m.take(now)
				next := newMinutes()
				if rapid.Bool().Draw(t, "after a while") {
					m = next
					tick()
				}
				m = next
				m.inherit(append(done, part), now)
			},
		})
		now = now.Truncate(time.Minute).Add(time.Minute)
		m.close(now.Add(-time.Minute), there)
		m.close(now, there) // what counts later than it was
		ask()
		if told != all {
			t.Fatalf("told of %d requests, there were %d", told, all)
		}
	})
}

// A worker's successor tells what nobody has read: each line once, and what was counted.
func TestRemains_SuccessorTellsAll(t *testing.T) {
	r, port := newRig(t), freePort(t)
	s := site(port, backend(t, named("a")))
	s.Groups[0].Health.Enabled = false
	s.Balancers[0].ARN, s.Balancers[0].AccessLogs = logARN, true
	r.put(s)
	var want, got []string
	var from int64
	visit := func(n int) {
		for range n {
			path := fmt.Sprintf("/%03d", len(want))
			want = append(want, path)
			raw(t, local(port), get1(path, "Connection: close"))
		}
	}
	read := func() {
		for len(got) < len(want) {
			b, err := r.client.AccessLog(t.Context(), from)
			if err != nil {
				t.Fatal(err)
			}
			from = b.Next
			for _, e := range b.Entries {
				got = append(got, pathOf(e.Line))
			}
		}
	}
	visit(3)
	read()
	for range 2 { // that nobody reads
		visit(3)
		r.stop()
		r.start()
		r.put(s)
	}
	visit(3)
	read()
	slices.Sort(got) // a successor's own may come first
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}

	r.stop()
	w := newWorker(&home{sockets: ownSockets{}, dir: r.dir}, testEngine, testLog())
	defer w.stop(0)
	w.collect()
	w.minutes.close(time.Now(), nil)
	requests := 0.0
	for _, d := range w.minutes.since(time.Time{}) {
		for _, x := range d.Series {
			if x.Balancer == logARN && x.Group == "" && x.Zone == "" {
				requests += x.Metrics["RequestCount"].Sum
			}
		}
	}
	if int(requests) != len(want) {
		t.Errorf("%v requests were measured, want %d", requests, len(want))
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, remainsFiles)); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// pathOf is that of a line of an access log.
func pathOf(line string) string {
	_, request, _ := strings.Cut(line, "\"GET http://")
	_, path, _ := strings.Cut(request, "/")
	path, _, _ = strings.Cut(path, " ")
	return "/" + path
}

// What a worker serves after another build has taken over is logged too, before it has ended.
func TestParent_RetiredWorkersTell(t *testing.T) {
	p := newPair(t)
	p.stop()
	p.install()
	p.start()
	open := make(chan struct{})
	s := site(8000, backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/long" {
			w.(http.Flusher).Flush()
			<-open
		}
	})))
	s.Groups[0].Health.Enabled = false
	s.Balancers[0].ARN, s.Balancers[0].AccessLogs = logARN, true
	p.put(s)
	tunnel, long := connect(t), connect(t)
	io.WriteString(long, get1("/long"))
	if _, err := bufio.NewReader(long).ReadByte(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(tunnel, "GET /never") // keeps the worker
	old := p.worker()
	p.killParent()
	p.install()
	p.start()
	eventually(t, "another worker has the snapshot", func() bool {
		st, err := p.client.Status(t.Context(), 0)
		return err == nil && st.Rev == p.rev && p.worker() != old
	})
	close(open)
	var from int64
	eventually(t, "the line is told", func() bool {
		b, err := p.client.AccessLog(t.Context(), from)
		if err != nil {
			return false
		}
		from = b.Next
		return slices.ContainsFunc(b.Entries, func(e lbconfig.LogEntry) bool { return pathOf(e.Line) == "/long" })
	})
	if proc.Start(old) == 0 {
		t.Error("the worker ended, and had a connection")
	}
}
