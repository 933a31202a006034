package lb

import (
	"cmp"
	"context"
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
	other  map[meterKey]map[string]lbconfig.Sample // of the minute that runs: gauges, and what other workers have left
	done   []lbconfig.Minute
	handed time.Time // begin of the last minute that was given to anybody
}

func newMinutes() *minutes {
	return &minutes{news: newHub(), meters: map[meterKey]*meter{}, last: map[meterKey]*reading{}, other: map[meterKey]map[string]lbconfig.Sample{}}
}

// meter is the one of the key.
func (m *minutes) meter(k meterKey) *meter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meters[k] == nil {
		m.meters[k], m.last[k] = &meter{key: k}, &reading{}
	}
	return m.meters[k]
}

// sample notes what a gauge shows now.
func (m *minutes) sample(k meterKey, name string, value float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	add(m.other, k, map[string]lbconfig.Sample{name: {Sum: value, Min: value, Max: value, Count: 1}})
}

// close ends the minute that began at the time. Meters that are not there any more are forgotten with it. there are the
// keys without zones.
func (m *minutes) close(began time.Time, there map[meterKey]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.countLocked()
	for k := range m.meters {
		if !there[k.everywhere()] {
			delete(m.meters, k)
			delete(m.last, k)
		}
	}
	m.endLocked(began, all)
}

// take removes the minutes that nobody has been given, and what there is of the one that runs.
func (m *minutes) take(now time.Time) (done []lbconfig.Minute, part lbconfig.Minute) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.done {
		if d.Time.After(m.handed) {
			done, m.handed = append(done, d), d.Time
		}
	}
	return done, minuteOf(now.Truncate(time.Minute), m.countLocked())
}

// inherit counts what another worker has left: as minutes of their own, or what isn't over yet in the one that runs.
func (m *minutes) inherit(list []lbconfig.Minute, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range list {
		all := map[meterKey]map[string]lbconfig.Sample{}
		for _, s := range d.Series {
			add(all, meterKey{s.Balancer, s.Group, s.Zone}, s.Metrics)
		}
		switch {
		case len(all) == 0:
		case d.Time.Before(now.Truncate(time.Minute)):
			m.endLocked(d.Time, all)
		default:
			m.runLocked(all)
		}
	}
}

// gave notes that the minutes up to this one have been handed out.
func (m *minutes) gave(last time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if last.After(m.handed) {
		m.handed = last
	}
}

// countLocked is what there is of the minute that runs, which begins anew.
func (m *minutes) countLocked() map[meterKey]map[string]lbconfig.Sample {
	all := m.other
	m.other = map[meterKey]map[string]lbconfig.Sample{}
	for k, meter := range m.meters {
		now := meter.read()
		for _, key := range slices.Compact([]meterKey{k, k.everywhere()}) {
			add(all, key, now.since(m.last[k]))
		}
		m.last[k] = now
	}
	return all
}

// runLocked counts in the minute that runs.
func (m *minutes) runLocked(all map[meterKey]map[string]lbconfig.Sample) {
	for k, samples := range all {
		add(m.other, k, samples)
	}
}

// endLocked keeps a minute that is over. If a later one, or its like, has been kept before, nobody asks for it any more:
// then it counts in the one that runs.
func (m *minutes) endLocked(began time.Time, all map[meterKey]map[string]lbconfig.Sample) {
	if last := len(m.done) - 1; last >= 0 && !m.done[last].Time.Before(began) {
		m.runLocked(all)
		return
	}
	for k, metrics := range all {
		perTarget(k, metrics)
	}
	m.done = append(m.done, minuteOf(began, all))
	m.done = slices.Clone(m.done[max(0, len(m.done)-minutesKept):])
	m.news.changed()
}

func minuteOf(began time.Time, all map[meterKey]map[string]lbconfig.Sample) lbconfig.Minute {
	out := lbconfig.Minute{Time: began}
	for k, metrics := range all {
		out.Series = append(out.Series, lbconfig.Series{Balancer: k.balancer, Group: k.group, Zone: k.zone, Metrics: metrics})
	}
	slices.SortFunc(out.Series, func(a, b lbconfig.Series) int {
		return cmp.Or(cmp.Compare(a.Balancer, b.Balancer), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Zone, b.Zone))
	})
	return out
}

// add puts samples to those of the key.
func add(all map[meterKey]map[string]lbconfig.Sample, k meterKey, samples map[string]lbconfig.Sample) {
	if len(samples) > 0 && all[k] == nil {
		all[k] = map[string]lbconfig.Sample{}
	}
	for name, s := range samples {
		sum := all[k][name]
		sum.Add(s)
		all[k][name] = sum
	}
}

// perTarget adds the average of requests of the group's healthy targets.
func perTarget(k meterKey, metrics map[string]lbconfig.Sample) {
	requests, healthy := metrics["RequestCount"], metrics["HealthyHostCount"]
	if k.group == "" || requests.Count == 0 || healthy.Sum == 0 {
		return
	}
	n := requests.Sum / (healthy.Sum / float64(healthy.Count))
	metrics["RequestCountPerTarget"] = lbconfig.Sample{Sum: n, Min: n, Max: n, Count: 1}
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

// measure samples gauges, and closes each minute when it is over, until ctx ends, or the worker leaves that to another.
func (w *worker) measure(ctx context.Context) {
	const step = time.Minute / gaugeSamples
	for {
		now := time.Now()
		next := now.Truncate(step).Add(step)
		if !pause(ctx, next.Sub(now)) || w.proxy.retiring.Load() {
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
		w.minutes.sample(meterKey{balancer: arn}, "ActiveConnectionCount", float64(open[arn]))
	}
	for group, users := range groupUsers(w.snap) {
		g := w.groups[group]
		if g == nil {
			continue
		}
		for _, b := range users {
			for zone, n := range g.hostsLocked(b) {
				for name, value := range n {
					w.minutes.sample(meterKey{b.ARN, group, zone}, name, float64(value))
				}
			}
		}
	}
}

// hostsLocked counts the group's targets, in each zone of the balancer and ("") altogether, by metrics.
func (g *group) hostsLocked(b *lbconfig.Balancer) map[string]map[string]int {
	none := func() map[string]int {
		return map[string]int{"HealthyHostCount": 0, "UnHealthyHostCount": 0, "AnomalousHostCount": 0, "MitigatedHostCount": 0}
	}
	out := map[string]map[string]int{"": none()}
	for _, zone := range b.Zones {
		out[zone] = none()
	}
	for _, m := range g.members {
		for _, zone := range slices.Compact([]string{"", m.conf.Zone}) {
			n := out[zone]
			if n == nil { // not the balancer's
				continue
			}
			if m.anomalous {
				n["AnomalousHostCount"]++
			}
			if m.lost.Load() > 0 {
				n["MitigatedHostCount"]++
			}
			switch m.health.state {
			case lbconfig.Healthy:
				n["HealthyHostCount"]++
			case lbconfig.Unhealthy:
				n["UnHealthyHostCount"]++
			}
		}
	}
	return out
}

// measured are the meters of the snapshot in force, all zones together.
func (w *worker) measured() map[meterKey]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[meterKey]bool{}
	if w.snap == nil {
		return out
	}
	for i := range w.snap.Balancers {
		out[meterKey{balancer: w.snap.Balancers[i].ARN}] = true
	}
	for group, users := range groupUsers(w.snap) {
		for _, b := range users {
			out[meterKey{balancer: b.ARN, group: group}] = true
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
	if n := len(out); n > 0 && http.NewResponseController(rw).Flush() == nil {
		w.minutes.gave(out[n-1].Time)
	}
}
