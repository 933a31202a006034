package lb

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

func (w *worker) getMetrics(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	b := bufio.NewWriter(rw)
	defer b.Flush()
	w.mu.Lock()
	defer w.mu.Unlock()
	writeCounters(b, "lotse_lb_requests", "listener", "Requests answered to clients", w.counts)
	groups := map[string]*counters{}
	for arn, g := range w.groups {
		groups[arn] = &g.requests
	}
	writeCounters(b, "lotse_lb_target_requests", "group", "Requests sent to targets", groups)
	w.minutes.write(b)
	metricHead(b, "lotse_lb_in_flight", "gauge", "Requests assigned to targets and not finished")
	for _, m := range w.membersLocked() {
		fmt.Fprintf(b, "lotse_lb_in_flight{group=%q,target=%q} %d\n", m.group.arn, m.addr.String(), m.inflight.Load())
	}
	metricHead(b, "lotse_lb_targets", "gauge", "Targets by state")
	for _, arn := range slices.Sorted(maps.Keys(w.groups)) {
		states := map[string]int{}
		for _, m := range w.groups[arn].members {
			states[m.health.state]++
		}
		for _, s := range []string{lbconfig.Initial, lbconfig.Healthy, lbconfig.Unhealthy, lbconfig.Unused, lbconfig.Draining, lbconfig.Unavailable} {
			fmt.Fprintf(b, "lotse_lb_targets{group=%q,state=%q} %d\n", arn, s, states[s])
		}
	}
	metricHead(b, "lotse_lb_connections", "gauge", "Open client connections")
	fmt.Fprintf(b, "lotse_lb_connections %d\n", len(w.proxy.conns.list()))
	metricHead(b, "lotse_lb_denied_connections", "gauge", "Connections of clients not admitted that are kept waiting")
	fmt.Fprintf(b, "lotse_lb_denied_connections %d\n", w.proxy.held.Load())
	metricHead(b, "lotse_lb_snapshot_rev", "gauge", "Revision of the snapshot in force")
	fmt.Fprintf(b, "lotse_lb_snapshot_rev %d\n", w.proxy.table.Load().rev)
}

func (w *worker) membersLocked() []*member {
	var out []*member
	for _, arn := range slices.Sorted(maps.Keys(w.groups)) {
		g := w.groups[arn]
		for _, t := range g.conf.Targets {
			out = append(out, g.members[t.Addr])
		}
	}
	return out
}

func metricHead(b io.Writer, name, kind, help string) {
	fmt.Fprintf(b, "# HELP %s %s.\n# TYPE %s %s\n", name, help, name, kind)
}

// writeCounters writes name_total by class of status and name_seconds_total.
func writeCounters(b io.Writer, name, label, help string, all map[string]*counters) {
	var seconds strings.Builder
	metricHead(b, name+"_total", "counter", help)
	metricHead(&seconds, name+"_seconds_total", "counter", help+", time spent")
	for _, arn := range slices.Sorted(maps.Keys(all)) {
		for class := range all[arn].byClass {
			text := fmt.Sprintf("%dxx", class)
			if class == 0 {
				text = "none"
			}
			fmt.Fprintf(b, "%s_total{%s=%q,status=%q} %d\n", name, label, arn, text, all[arn].byClass[class].Load())
		}
		fmt.Fprintf(&seconds, "%s_seconds_total{%s=%q} %g\n", name, label, arn, float64(all[arn].micros.Load())/1e6)
	}
	io.WriteString(b, seconds.String())
}

// write writes all meters as counters, with CloudWatch's names in Prometheus' spelling, and response times as histogram.
func (m *minutes) write(b io.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(m.meters), func(a, b meterKey) int {
		return cmp.Or(cmp.Compare(a.balancer, b.balancer), cmp.Compare(a.group, b.group), cmp.Compare(a.zone, b.zone))
	})
	label := func(k meterKey) string {
		return fmt.Sprintf("load_balancer=%q,target_group=%q,availability_zone=%q", k.balancer, k.group, k.zone)
	}
	for what, name := range counted {
		name = "lotse_alb_" + snake(name) + "_total"
		metricHead(b, name, "counter", counted[what]+" of CloudWatch")
		for _, k := range keys {
			fmt.Fprintf(b, "%s{%s} %d\n", name, label(k), m.meters[k].counts[what].Load())
		}
	}
	const times, each = "lotse_alb_target_response_time_seconds", 16
	metricHead(b, times, "histogram", "TargetResponseTime of CloudWatch")
	for _, k := range keys {
		r, sum := m.meters[k].read(), int64(0)
		for i, n := range r.times {
			if sum += n; i%each == 0 && i < len(r.times)-1 {
				fmt.Fprintf(b, "%s_bucket{%s,le=\"%g\"} %d\n", times, label(k), lbconfig.BucketEnd(i), sum)
			}
		}
		fmt.Fprintf(b, "%s_bucket{%s,le=\"+Inf\"} %d\n%[1]s_sum{%[2]s} %[4]g\n%[1]s_count{%[2]s} %[3]d\n", times, label(k), sum, float64(r.micros)/1e6)
	}
}

// snake spells RequestCount request_count.
func snake(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if i > 0 && 'A' <= name[i] && name[i] <= 'Z' && 'a' <= name[i-1] && name[i-1] <= 'z' {
			b.WriteByte('_')
		}
		b.WriteByte(name[i])
	}
	return strings.ToLower(b.String())
}
