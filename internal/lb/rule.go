package lb

import (
	"sync/atomic"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// rule is a compiled lbconfig.Rule.
type rule struct {
	arn       string
	priority  int // 0: the default
	nth       int // see nth
	conds     []cond
	host, url rewrite
	act       action
}

// action is a compiled lbconfig.Action: forward is nil unless it forwards.
type action struct {
	lbconfig.Action
	forward *spread
}

// nth is how many rules are looked at for the i-th to be the one: the default, the last of n, is taken without a look.
func nth(i, n int) int { return min(i+1, n-1) }

// match is the first rule whose conditions all hold. The last one, the default, has none.
func match(rules []rule, q *question) *rule {
	for i := range rules {
		if rules[i].holds(q) {
			return &rules[i]
		}
	}
	return nil
}

func (r *rule) holds(q *question) bool {
	for i := range r.conds {
		if !r.conds[i].holds(q) {
			return false
		}
	}
	return true
}

// spread shares requests out to groups in proportion to their weights, evenly mixed: weights 3 and 1 give A A B A.
// A group without targets keeps its share. Source: ALB user guide, forward actions.
type spread struct {
	groups []*group
	order  []uint8 // indexes into groups; empty when all weights are 0
	next   atomic.Uint64
}

func newSpread(groups []*group, weights []int) *spread {
	return &spread{groups: groups, order: spreadOrder(weights)}
}

// pick returns the group of the next request, nil when all weights are 0.
func (s *spread) pick() *group {
	switch len(s.order) {
	case 0:
		return nil
	case 1:
		return s.groups[s.order[0]]
	}
	return s.groups[s.order[(s.next.Add(1)-1)%uint64(len(s.order))]]
}

// spreadOrder is smooth weighted round robin written out: each group gains its weight, the richest is next and pays
// the sum. After sum/gcd turns all are back at zero.
func spreadOrder(weights []int) []uint8 {
	sum, div := 0, 0
	for _, w := range weights {
		sum += w
		div = gcd(div, w)
	}
	if sum == 0 {
		return nil
	}
	order := make([]uint8, 0, sum/div)
	credit := make([]int, len(weights))
	for range sum / div {
		best := 0
		for i, w := range weights {
			credit[i] += w
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= sum
		order = append(order, uint8(best))
	}
	return order
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
