package lb

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// How anomalies are found and mitigated. AWS tells that a target is anomalous when disproportionately many of its
// answers are errors, that at least three must be healthy, and that its share is reduced step by step until it recovers
// or gets a negligible one, and grows as slowly again. The figures are ours.
// Source: ALB user guide, routing algorithms; AWS's blog on automatic target weights.
const (
	fewestJudged = 3    // healthy targets
	fewestSeen   = 10   // requests of a target, before it is judged again
	sigmas       = 3    // above what chance would do
	leastExcess  = 0.05 // of all requests; whoever fails less often than that beyond the others is normal
	fullShare    = 1000
	negligible   = 20
	regrowth     = 100 // of a recovered target, each time it is judged
)

var judgeEvery = 10 * time.Second // less in tests

// tally counts what a target did with requests.
type tally struct{ requests, errors atomic.Int64 }

// conduct is how a target fared since it was judged last.
type conduct struct {
	requests, errors int64
	anomalous        bool
}

func (c conduct) ratio() float64 { return float64(c.errors) / float64(c.requests) }

// judge says who is anomalous: compared with the better half of those who had enough requests. Of the others, what was
// known remains. nil: there is nobody to compare with.
func judge(all []conduct) []bool {
	out := make([]bool, len(all))
	var seen []conduct
	for i, c := range all {
		out[i] = c.anomalous
		if c.requests >= fewestSeen {
			seen = append(seen, c)
		}
	}
	if len(seen) < 2 {
		return nil
	}
	slices.SortFunc(seen, func(a, b conduct) int { return cmp.Compare(a.ratio(), b.ratio()) })
	var usual conduct
	for _, c := range seen[:(len(seen)+1)/2] {
		usual.requests += c.requests
		usual.errors += c.errors
	}
	q := (float64(usual.errors) + 1) / (float64(usual.requests) + 2) // as one more of either: none so far is not never
	for i, c := range all {
		if c.requests >= fewestSeen {
			chance := sigmas * math.Sqrt(q*(1-q)/float64(c.requests))
			out[i] = c.ratio() > q+max(chance, leastExcess)
		}
	}
	return out
}

// nextShare is a target's share after it was judged.
func nextShare(share int64, anomalous bool) int64 {
	if anomalous {
		return max(share/2, negligible)
	}
	return min(share+regrowth, fullShare)
}

// note counts how a request at the target ended: by the target's status, or when it gave none, the balancer's.
func (m *member) note(answered, status int) {
	switch {
	case answered >= 500, answered == 0 && (status == 502 || status == 504):
		m.tally.errors.Add(1)
	case answered == 0: // the client's doing
		return
	}
	m.tally.requests.Add(1)
}

// weighted is a member at random, by share.
func (r *roster) weighted() *member {
	m := r.members[rand.IntN(len(r.members))]
	for range 8 * len(r.members) {
		lost := m.lost.Load()
		if lost == 0 || rand.Int64N(fullShare) >= lost {
			break
		}
		m = r.members[rand.IntN(len(r.members))]
	}
	return m
}

// judgeLocked judges the group's targets, and says whether that changed anything that the status tells.
func (g *group) judgeLocked() (changed bool) {
	var healthy []*member
	for _, m := range g.members {
		if !m.conf.Draining && m.health.state == lbconfig.Healthy {
			healthy = append(healthy, m)
		}
	}
	var all []conduct
	for _, m := range healthy {
		all = append(all, conduct{m.tally.requests.Load() - m.judged.requests, m.tally.errors.Load() - m.judged.errors, m.anomalous})
	}
	verdicts := judge(all)
	for i, m := range healthy {
		if len(healthy) < fewestJudged || verdicts == nil || all[i].requests < fewestSeen {
			continue
		}
		m.judged.requests += all[i].requests
		m.judged.errors += all[i].errors
		share := nextShare(fullShare-m.lost.Load(), verdicts[i])
		changed = m.verdict(verdicts[i], share) || changed
	}
	for _, m := range g.members {
		if len(healthy) < fewestJudged || !slices.Contains(healthy, m) {
			m.judged = conduct{requests: m.tally.requests.Load(), errors: m.tally.errors.Load()}
			changed = m.verdict(false, fullShare) || changed
		}
	}
	return changed
}

// verdict makes the member anomalous or not, with a share if its group mitigates anomalies.
func (m *member) verdict(anomalous bool, share int64) (changed bool) {
	if !m.group.conf.Mitigate {
		share = fullShare
	}
	old := m.lost.Swap(fullShare - share)
	changed = m.anomalous != anomalous || (old > 0) != (share < fullShare)
	m.anomalous = anomalous
	return changed
}

// judge looks for anomalies until ctx ends.
func (w *worker) judge(ctx context.Context) {
	for pause(ctx, judgeEvery) {
		w.mu.Lock()
		changed := false
		for _, g := range w.groups {
			changed = g.judgeLocked() || changed
		}
		w.mu.Unlock()
		if changed {
			w.hub.changed()
		}
	}
}
