package scheduler

import (
	"cmp"
	"slices"
	"time"
)

// A View is what plan decides from: one service at one moment.
type View struct {
	Desired        int
	MinimumHealthy int              // percent
	Maximum        int              // percent
	Deployments    []DeploymentView // newest first; the first is PRIMARY
	Tasks          []TaskView       // that are not STOPPED
	Zones          []string         // to be kept in balance; nil: not asked for, or there is but one
}

// A DeploymentView is a deployment that is not Gone.
type DeploymentView struct {
	ID        string
	Completed bool
	Failed    bool          // the circuit breaker has ended it
	Wait      time.Duration // the start throttle: no launch before this has passed
}

// A TaskView is a task on its way up, serving, or on its way down.
type TaskView struct {
	ID, Deployment string
	CreatedAt      time.Time
	Stopping       bool // told to stop, or ended by itself
	Healthy        bool // counts for the lower bound
	Settling       bool // RUNNING, and Healthy as soon as it has run for a while: goes only when the healthy ones suffice
	Failed         bool // fails its health checks: to be replaced
	Protected      bool // neither scaled in nor replaced by a deployment. Source: DG task-scale-in-protection
	Zone           string
	Rebalances     bool // started to balance the zones, and not yet healthy
}

// A Plan is what to do now. Doing it twice is harmless: it is made anew from what is then there.
type Plan struct {
	Start []Start
	Stop  []Stop
	// Replaces is how many of the starts stand in for tasks that fail their health checks.
	Replaces int
	// Blocked: the bounds allow neither a start nor a stop although a rollout is under way.
	Blocked bool
	// Protected: more tasks are protected than wanted.
	Protected bool
	// Again is when to look again although nothing has changed; 0: not needed.
	Again time.Duration
}

// Start launches Count tasks of a deployment.
type Start struct {
	Deployment string
	Count      int
	Rebalances bool // to balance the zones: a task of the fullest goes when it is healthy
}

// Stop ends a task.
type Stop struct {
	Task   string
	Reason StopReason
}

// A StopReason says why the scheduler stops a task.
type StopReason int

const (
	ScaleIn   StopReason = iota // no longer wanted, or replaced by a newer deployment
	Unhealthy                   // failed its health checks
)

// lowerBound is how many tasks stay healthy: ceil(desired × minimumHealthyPercent).
// Source: DG deployment-type-ecs. Desired 3 at 50 %: 2.
func lowerBound(desired, percent int) int { return (desired*percent + 99) / 100 }

// upperBound is how many tasks may be there: floor(desired × maximumPercent). Desired 1 at 150 %: 1.
func upperBound(desired, percent int) int { return desired * percent / 100 }

// plan decides. Every cycle it starts what fits below the upper bound and stops what can go
// without falling below the lower one:
//
//	desired 2, min 100, max 200, old ●●      → start 2 new    (2 + 2 = upper 4)
//	                             old ●● new ○○ → wait            (stopping one leaves 1 < lower 2)
//	                             old ●● new ●● → stop both old   (2 healthy new remain)
func plan(v View) Plan {
	if len(v.Deployments) == 0 {
		return Plan{}
	}
	var p Plan
	lower, upper := lowerBound(v.Desired, v.MinimumHealthy), upperBound(v.Desired, v.Maximum)
	primary := v.Deployments[0]
	sound, failing, olds := split(v.Tasks, primary.ID)
	active := len(sound) + len(failing) + len(olds)
	stop := func(t TaskView, why StopReason) {
		p.Stop = append(p.Stop, Stop{t.ID, why})
		active--
	}

	// 0. A task that is to balance the zones is beyond desired until it is healthy; then the fullest zone loses one.
	if moving := len(sound) - v.Desired; moving == 1 && primary.Completed && sound[0].Rebalances && unbalanced(v.Zones, sound[1:]) != "" {
		sound = sound[1:]
	}

	// 1. Scale in: of the primary's sound tasks, keep desired, and those that are protected.
	for len(sound) > v.Desired {
		i := slices.IndexFunc(sound, func(t TaskView) bool { return !t.Protected })
		if i < 0 || sound[i].Healthy && countHealthy(sound)+countHealthy(olds) <= lower { // those beyond it are protected, and serve nobody yet
			break
		}
		if sound[i].Settling && countUp(sound)+countUp(olds) <= lower {
			break
		}
		stop(sound[i], ScaleIn)
		sound = slices.Delete(sound, i, i+1)
	}
	p.Protected = len(sound) > v.Desired
	healthyNew, healthyOld := countHealthy(sound), countHealthy(olds)

	// 2. What fails goes when it is replaced. Without room for the replacement it goes first, one at a
	// time: in a service at rest the next waits until the replacement is up. (In a rollout the old
	// tasks serve, and a bad version shall be known soon.)
	replacing := primary.Completed && healthyNew < len(sound)
	for _, t := range failing {
		if v.Desired == 0 {
			stop(t, ScaleIn)
		} else if healthyNew >= v.Desired {
			stop(t, Unhealthy)
		} else if active >= upper && len(sound) < v.Desired && !replacing {
			stop(t, Unhealthy)
			break
		}
	}

	// 3. Start of the primary what fits.
	wantNew, up := v.Desired-len(sound), len(sound)
	if n := min(wantNew, upper-active); n > 0 && !primary.Failed {
		if primary.Wait > 0 {
			p.Again = primary.Wait
		} else {
			p.Start = append(p.Start, Start{Deployment: primary.ID, Count: n})
			p.Replaces = min(n, len(failing))
			active, up = active+n, up+n
		}
	}

	// 4. Old tasks go as far as the lower bound allows; those that serve nobody go first. After a
	// failed deployment without rollback the old ones are the service: they stay, up to desired.
	served := newestCompleted(v)
	floor := lower
	if primary.Failed {
		floor = v.Desired
	}
	spare := healthyNew + healthyOld - floor
	spareUp := healthyNew + countUp(olds) - floor
	kept := olds[:0:0]
	for _, t := range olds {
		var keep bool
		switch {
		case t.Protected && !t.Failed:
			keep = true
		case t.Healthy:
			keep = spare <= 0
		case t.Failed: // goes when others serve in its stead, or first where these have no room
			keep = spare < 0 && (active < upper || !primary.Failed && up >= v.Desired)
		case t.Settling && spareUp <= 0: // of whichever deployment: to ECS it serves
			keep = true
		default: // on its way up, to make good a loss
			keep = (primary.Failed || t.Deployment == served.ID) && spare < 0
		}
		if keep {
			kept = append(kept, t)
			continue
		}
		stop(t, ScaleIn)
		if t.Healthy {
			spare--
		}
		if t.Settling {
			spareUp--
		}
	}
	olds = kept

	// 5. While the new deployment isn't up, losses of the old one are made good with its own
	// revision, so that the lower bound holds.
	if served.ID != "" && served.ID != primary.ID {
		if n := min(floor-healthyNew-countSound(olds), upper-active); n > 0 {
			if served.Wait > 0 {
				p.Again = sooner(p.Again, served.Wait)
			} else {
				p.Start = append(p.Start, Start{Deployment: served.ID, Count: n})
				active += n
			}
		}
	}
	// 6. A service at rest whose zones differ by two tasks or more gets one more in the emptiest. Protected tasks can't
	// make room for it.
	guarded := slices.ContainsFunc(sound, func(t TaskView) bool { return t.Protected })
	if !guarded && len(p.Start)+len(p.Stop) == 0 && primary.Completed && active == v.Desired && healthyNew == v.Desired && active < upper && primary.Wait == 0 && unbalanced(v.Zones, sound) != "" {
		p.Start = append(p.Start, Start{Deployment: primary.ID, Count: 1, Rebalances: true})
	}
	p.Blocked = len(p.Start)+len(p.Stop) == 0 && p.Again == 0 && !primary.Failed && len(olds) > 0 && wantNew > 0 && len(sound) == 0 && active >= upper
	return p
}

// settled reports whether the primary deployment is done: desired healthy tasks of its own and
// nothing else, stopping tasks of older deployments included.
func settled(v View) bool {
	if len(v.Deployments) == 0 {
		return false
	}
	n := 0
	for _, t := range v.Tasks {
		if t.Deployment != v.Deployments[0].ID {
			return false
		}
		if t.Stopping {
			continue
		}
		if !t.Healthy {
			return false
		}
		n++
	}
	return n == v.Desired
}

// Private

// unbalanced is the fullest zone if it has at least two tasks more than the emptiest; "" when they are in balance.
func unbalanced(zones []string, ts []TaskView) string {
	if len(zones) < 2 {
		return ""
	}
	n := map[string]int{}
	for _, t := range ts {
		n[t.Zone]++
	}
	by := func(a, b string) int { return cmp.Compare(n[a], n[b]) }
	fullest, emptiest := slices.MaxFunc(zones, by), slices.MinFunc(zones, by)
	if n[fullest]-n[emptiest] < 2 {
		return ""
	}
	return fullest
}

// perZone counts the tasks of a service at rest.
func perZone(v View) map[string]int {
	n := map[string]int{}
	for _, z := range v.Zones {
		n[z] = 0
	}
	for _, t := range v.Tasks {
		if !t.Stopping {
			n[t.Zone]++
		}
	}
	return n
}

// split sorts the tasks that were not told to stop: the primary's sound and failing ones, and
// those of older deployments; in each list what can best be spared comes first.
func split(ts []TaskView, primary string) (sound, failing, olds []TaskView) {
	for _, t := range ts {
		switch {
		case t.Stopping:
		case t.Deployment != primary:
			olds = append(olds, t)
		case t.Failed:
			failing = append(failing, t)
		default:
			sound = append(sound, t)
		}
	}
	for _, l := range [][]TaskView{sound, failing, olds} {
		leastUseful(l)
	}
	return sound, failing, olds
}

func countHealthy(ts []TaskView) int {
	n := 0
	for _, t := range ts {
		if t.Healthy {
			n++
		}
	}
	return n
}

// countUp counts the healthy tasks and those that only have to run a little longer to be.
func countUp(ts []TaskView) int {
	n := 0
	for _, t := range ts {
		if t.Healthy || t.Settling {
			n++
		}
	}
	return n
}

// leastUseful sorts failing tasks first, then those not yet healthy, then those that settle, then those of the fullest zone, then the youngest.
func leastUseful(ts []TaskView) {
	rank := func(t TaskView) int {
		switch {
		case t.Failed:
			return 0
		case t.Settling:
			return 2
		case !t.Healthy:
			return 1
		}
		return 3
	}
	young := func(a, b TaskView) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	}
	slices.SortStableFunc(ts, young)
	// crowd is how many older ones a task has beside it in its zone: the one with the most goes first, so that the zones
	// empty in turn.
	crowd, n := map[string]int{}, map[string]int{}
	for _, t := range slices.Backward(ts) {
		crowd[t.ID] = n[t.Zone]
		n[t.Zone]++
	}
	slices.SortStableFunc(ts, func(a, b TaskView) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(crowd[b.ID], crowd[a.ID]))
	})
}

// newestCompleted is the deployment that served last; one without an ID when none has completed.
func newestCompleted(v View) DeploymentView {
	for _, d := range v.Deployments {
		if d.Completed {
			return d
		}
	}
	return DeploymentView{}
}

func countSound(ts []TaskView) int {
	n := 0
	for _, t := range ts {
		if !t.Failed {
			n++
		}
	}
	return n
}

// sooner is the shorter of two waits, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
