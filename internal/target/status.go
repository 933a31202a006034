package target

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// statusLoop writes down what the balancer reports, as soon as it does.
func (c *Controller) statusLoop(ctx context.Context) {
	var after int64 // Seq; a balancer that was away is asked for what is there
	var since time.Time
	pause := minPause
	for ctx.Err() == nil {
		st, err := c.o.Client.Status(ctx, after)
		if err == nil {
			err = c.report(ctx, st)
			after, since = st.Seq, time.Time{}
			if err == nil {
				pause = minPause
				continue
			}
			if ctx.Err() == nil {
				c.o.Log.Warn("the balancer's status was not written", "err", err)
			}
		} else if since.IsZero() {
			since = time.Now()
		}
		after = 0
		if !since.IsZero() && time.Since(since) > awayAfter {
			if err := c.expire(ctx); err != nil && ctx.Err() == nil {
				c.o.Log.Warn("drained targets were not deleted", "err", err)
			}
		}
		sleep(ctx, pause)
		pause = min(2*pause, maxPause)
	}
}

// report writes one status down. One of a snapshot that we don't know says nothing about our records.
func (c *Controller) report(ctx context.Context, st lbconfig.Status) error {
	c.heard(st.Rev)
	c.mu.Lock()
	i := slices.IndexFunc(c.sent, func(s lbconfig.Snapshot) bool { return s.Rev == st.Rev })
	var s lbconfig.Snapshot
	if i >= 0 {
		s = c.sent[i]
	}
	c.mu.Unlock()
	if i < 0 {
		return nil
	}
	return c.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		return errors.Join(reportTargets(tx, s, st), reportBalancers(tx, s, st), forgetHealths(tx))
	})
}

// Private

// reportTargets writes healths, and deletes targets that have drained. A record that was
// registered, or deregistered, after the snapshot is left alone: the status is of its former life.
func reportTargets(tx *store.WriteTx, s lbconfig.Snapshot, st lbconfig.Status) error {
	used := usedGroups(s)
	said := map[string]map[netip.AddrPort]lbconfig.Target{}
	for _, g := range s.Groups {
		said[g.ARN] = map[netip.AddrPort]lbconfig.Target{}
		for _, t := range g.Targets {
			said[g.ARN][t.Addr] = t
		}
	}
	for _, t := range st.Targets {
		key := targetKey(t.Group, t.Addr)
		o, err := state.Targets.Get(tx, key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		was, known := said[t.Group][t.Addr]
		is, _ := targetOf(o.Val)
		if !known || was.Draining != is.Draining || !was.Since.Equal(is.Since) {
			continue
		}
		if is.Draining && (t.Drained || t.InFlight == 0 && !used[t.Group]) {
			if err := state.Targets.Delete(tx, key, o.Rev); err != nil {
				return err
			}
			continue
		}
		h, err := state.TargetHealths.Get(tx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		h.Val = state.TargetHealth{State: t.State, Reason: t.Reason, Description: t.Description, Anomalous: t.Anomalous, Mitigated: t.Mitigated}
		if err := state.TargetHealths.Put(tx, &h); err != nil {
			return err
		}
	}
	return nil
}

// reportBalancers: a balancer is active when all its listeners are bound; one that can't be bound
// makes it failed, with the reason.
func reportBalancers(tx *store.WriteTx, s lbconfig.Snapshot, st lbconfig.Status) error {
	reasons := map[string][]string{}
	for _, l := range st.Listeners {
		if l.Error != "" && !slices.Contains(reasons[l.Balancer], l.Error) {
			reasons[l.Balancer] = append(reasons[l.Balancer], l.Error)
		}
	}
	failed := failedZones(s, st)
	for _, b := range s.Balancers {
		sc := scopeOf(b.ARN)
		key := state.ELBKey(sc, "loadbalancer", b.ARN)
		if _, err := state.LoadBalancers.Get(tx, key); errors.Is(err, store.ErrNotFound) {
			continue // deleted meanwhile, with its status
		} else if err != nil {
			return err
		}
		o, err := state.LoadBalancerStatuses.Get(tx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		o.Val = state.LoadBalancerStatus{State: state.Active, Failed: failed[b.ARN]}
		if r := reasons[b.ARN]; len(r) > 0 {
			o.Val.State, o.Val.Reason = state.Failed, strings.Join(r, "; ")
		}
		if err := state.LoadBalancerStatuses.Put(tx, &o); err != nil {
			return err
		}
	}
	return nil
}

// forgetHealths deletes the healths of targets that are gone.
func forgetHealths(tx *store.WriteTx) error {
	for h, err := range state.TargetHealths.List(tx, "") {
		if err != nil {
			return err
		}
		if _, err := state.Targets.Get(tx, h.Key); !errors.Is(err, store.ErrNotFound) {
			if err != nil {
				return err
			}
			continue
		}
		if err := state.TargetHealths.Delete(tx, h.Key, h.Rev); err != nil {
			return err
		}
	}
	return nil
}

// expire deletes draining targets without the balancer, which is away: those whose delay is over,
// and those of groups that no balancer uses.
func (c *Controller) expire(ctx context.Context) error {
	return c.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		r, err := load(tx)
		if err != nil {
			return err
		}
		used := usedGroups(snapshot(r, settings{netns: c.o.Netns}))
		for _, g := range r.groups {
			for _, t := range g.targets {
				over := tx.Now().Sub(t.DeregisteredAt) >= time.Duration(g.DeregistrationDelay)*time.Second
				if t.DeregisteredAt.IsZero() || used[g.ARN()] && !over {
					continue
				}
				x, ok := targetOf(t)
				if !ok {
					continue
				}
				if err := state.Targets.Delete(tx, targetKey(g.ARN(), x.Addr), 0); err != nil {
					return err
				}
			}
		}
		return forgetHealths(tx)
	})
}

// usedGroups are the groups that a rule forwards to.
func usedGroups(s lbconfig.Snapshot) map[string]bool {
	out := map[string]bool{}
	for _, b := range s.Balancers {
		for _, l := range b.Listeners {
			for _, r := range l.Rules {
				for _, g := range r.Action.Groups {
					out[g.ARN] = true
				}
			}
		}
	}
	return out
}

func targetKey(group string, addr netip.AddrPort) string {
	return state.ELBKey(scopeOf(group), "targetgroup", group) + "/" + addr.String()
}

func scopeOf(s string) arn.Scope {
	a, _ := arn.Parse(s)
	return arn.Scope{Account: a.Account, Region: a.Region}
}
