package target

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// failedZones are the zones, by balancer, whose nodes DNS leaves out: some group of the balancer has too few healthy
// targets there. When that is so of all zones, there is no better one, and none is left out. A group without targets
// says nothing.
// Source: ALB user guide, target group health.
func failedZones(s lbconfig.Snapshot, st lbconfig.Status) map[string][]string {
	states := map[string]map[netip.AddrPort]string{}
	for _, t := range st.Targets {
		if states[t.Group] == nil {
			states[t.Group] = map[netip.AddrPort]string{}
		}
		states[t.Group][t.Addr] = t.State
	}
	out := map[string][]string{}
	for _, b := range s.Balancers {
		zones, failed := map[string]bool{}, map[string]bool{}
		used := usedGroups(lbconfig.Snapshot{Balancers: []lbconfig.Balancer{b}})
		for _, zone := range b.Zones {
			zones[zone] = true
			for _, g := range s.Groups {
				if used[g.ARN] && fails(g, states[g.ARN], zone) {
					failed[zone] = true
				}
			}
		}
		if len(failed) < len(zones) {
			out[b.ARN] = slices.Sorted(maps.Keys(failed))
		}
	}
	return out
}

// Private

// fails says whether too few of the targets that a zone's node may choose are healthy. Those that drain, or that no zone
// of the balancer has, don't count.
func fails(g lbconfig.TargetGroup, states map[netip.AddrPort]string, zone string) bool {
	registered, total, healthy := 0, 0, 0
	for _, t := range g.Targets {
		state := states[t.Addr]
		if t.Draining || state == lbconfig.Unused {
			continue
		}
		registered++
		if g.Zonal && t.Zone != "" && t.Zone != zone {
			continue
		}
		total++
		if state == lbconfig.Healthy || state == lbconfig.Unavailable {
			healthy++
		}
	}
	return registered > 0 && (healthy < g.Failover || 100*healthy < g.FailoverPercent*total)
}
