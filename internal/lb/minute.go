package lb

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

const (
	minutesKept  = 60
	gaugeSamples = 6 // a minute
)

// minutes measure what changes, and keep what was measured until it is read.
type minutes struct {
	news *hub

	mu     sync.Mutex
	meters map[meterKey]*meter
	last   map[meterKey]*reading
	gauges map[meterKey]map[string]lbconfig.Sample // of the minute that runs
	done   []lbconfig.Minute
}

func newMinutes() *minutes {
	return &minutes{news: newHub(), meters: map[meterKey]*meter{}, last: map[meterKey]*reading{}, gauges: map[meterKey]map[string]lbconfig.Sample{}}
}

// meter is that of a balancer, or of a group at it.
func (m *minutes) meter(balancer, group string) *meter {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := meterKey{balancer, group}
	if m.meters[k] == nil {
		m.meters[k], m.last[k] = &meter{key: k}, &reading{}
	}
	return m.meters[k]
}

// sample notes what a gauge shows now.
func (m *minutes) sample(k meterKey, name string, value float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gauges[k] == nil {
		m.gauges[k] = map[string]lbconfig.Sample{}
	}
	s := m.gauges[k][name]
	s.Add(lbconfig.Sample{Sum: value, Min: value, Max: value, Count: 1})
	m.gauges[k][name] = s
}

// close ends the minute that began at the time. Meters that are not there any more are forgotten with it.
func (m *minutes) close(began time.Time, there map[meterKey]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := lbconfig.Minute{Time: began}
	for k, meter := range m.meters {
		now := meter.read()
		s := lbconfig.Series{Balancer: k.balancer, Group: k.group, Metrics: now.since(m.last[k])}
		m.last[k] = now
		maps.Copy(s.Metrics, m.gauges[k])
		perTarget(s)
		if len(s.Metrics) > 0 {
			out.Series = append(out.Series, s)
		}
		if !there[k] {
			delete(m.meters, k)
			delete(m.last, k)
		}
	}
	clear(m.gauges)
	slices.SortFunc(out.Series, func(a, b lbconfig.Series) int {
		return cmp.Or(cmp.Compare(a.Balancer, b.Balancer), cmp.Compare(a.Group, b.Group))
	})
	m.done = append(m.done, out)
	m.done = slices.Clone(m.done[max(0, len(m.done)-minutesKept):])
	m.news.changed()
}

// perTarget adds the average of requests of the group's healthy targets.
func perTarget(s lbconfig.Series) {
	requests, healthy := s.Metrics["RequestCount"], s.Metrics["HealthyHostCount"]
	if s.Group == "" || requests.Count == 0 || healthy.Sum == 0 {
		return
	}
	n := requests.Sum / (healthy.Sum / float64(healthy.Count))
	s.Metrics["RequestCountPerTarget"] = lbconfig.Sample{Sum: n, Min: n, Max: n, Count: 1}
}

// since are the minutes that began at from or later.
func (m *minutes) since(from time.Time) []lbconfig.Minute {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.done, func(d lbconfig.Minute) bool { return !d.Time.Before(from) })
	if i < 0 {
		return []lbconfig.Minute{}
	}
	return slices.Clone(m.done[i:])
}

// measure samples gauges, and closes each minute when it is over, until ctx ends.
func (w *worker) measure(ctx context.Context) {
	const step = time.Minute / gaugeSamples
	for {
		now := time.Now()
		next := now.Truncate(step).Add(step)
		if !pause(ctx, next.Sub(now)) {
			return
		}
		w.gauge()
		if began := next.Add(-time.Minute); next.Equal(next.Truncate(time.Minute)) {
			w.minutes.close(began, w.measured())
		}
	}
}

// gauge samples what has a value at any time.
func (w *worker) gauge() {
	open := map[string]int{}
	for _, c := range w.proxy.conns.list() {
		if e := w.proxy.entryAt(c.key); e != nil && e.listener != nil {
			open[e.listener.balancer.ARN]++
		} else if m := c.meter.Load(); m != nil { // at a front, whoever's the last request was
			open[m.key.balancer]++
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.snap == nil {
		return
	}
	for i := range w.snap.Balancers {
		arn := w.snap.Balancers[i].ARN
		w.minutes.sample(meterKey{arn, ""}, "ActiveConnectionCount", float64(open[arn]))
	}
	for group, users := range groupUsers(w.snap) {
		g := w.groups[group]
		if g == nil {
			continue
		}
		healthy, unhealthy, anomalous, mitigated := 0, 0, 0, 0
		for _, m := range g.members {
			if m.anomalous {
				anomalous++
			}
			if m.lost.Load() > 0 {
				mitigated++
			}
			switch m.health.state {
			case lbconfig.Healthy:
				healthy++
			case lbconfig.Unhealthy:
				unhealthy++
			}
		}
		for _, b := range users {
			w.minutes.meter(b.ARN, group)
			w.minutes.sample(meterKey{b.ARN, group}, "HealthyHostCount", float64(healthy))
			w.minutes.sample(meterKey{b.ARN, group}, "UnHealthyHostCount", float64(unhealthy))
			w.minutes.sample(meterKey{b.ARN, group}, "AnomalousHostCount", float64(anomalous))
			w.minutes.sample(meterKey{b.ARN, group}, "MitigatedHostCount", float64(mitigated))
		}
	}
}

// measured are the meters of the snapshot in force.
func (w *worker) measured() map[meterKey]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[meterKey]bool{}
	if w.snap == nil {
		return out
	}
	for i := range w.snap.Balancers {
		out[meterKey{w.snap.Balancers[i].ARN, ""}] = true
	}
	for group, users := range groupUsers(w.snap) {
		for _, b := range users {
			out[meterKey{b.ARN, group}] = true
		}
	}
	return out
}

func (w *worker) getMinutes(rw http.ResponseWriter, r *http.Request) {
	from, err := strconv.ParseInt(cmp.Or(r.FormValue("from"), "0"), 10, 64)
	if err != nil {
		http.Error(rw, "from: want seconds since 1970", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusWait)
	defer cancel()
	seq, _ := w.minutes.news.now()
	out := w.minutes.since(time.Unix(from, 0))
	if len(out) == 0 {
		w.minutes.news.wait(ctx, seq)
		out = w.minutes.since(time.Unix(from, 0))
	}
	writeJSON(rw, out)
}
