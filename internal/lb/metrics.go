package lb

import (
	"bufio"
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
