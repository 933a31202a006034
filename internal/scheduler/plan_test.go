package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// tasks reads a picture: one task a letter, n/o its deployment, capital when healthy, ! after a
// failing one, ~ after one that settles, # after a protected one, - after a stopping one.
func tasks(picture string) []TaskView {
	var out []TaskView
	for i, r := range picture {
		switch r {
		case '!':
			out[len(out)-1].Failed, out[len(out)-1].Healthy = true, false
		case '~':
			out[len(out)-1].Settling = true
		case '#':
			out[len(out)-1].Protected = true
		case '-':
			out[len(out)-1].Stopping = true
		default:
			t := TaskView{ID: fmt.Sprintf("t%d", i), Deployment: "new", CreatedAt: time.Unix(int64(i), 0)}
			if r == 'o' || r == 'O' {
				t.Deployment = "old"
			}
			t.Healthy = r == 'N' || r == 'O'
			out = append(out, t)
		}
	}
	return out
}

var (
	rollout = []DeploymentView{{ID: "new"}, {ID: "old", Completed: true}}
	steady  = []DeploymentView{{ID: "new", Completed: true}}
	begun   = []DeploymentView{{ID: "new"}, {ID: "old"}}
	failed  = []DeploymentView{{ID: "new", Failed: true}, {ID: "old", Completed: true}}
)

func TestPlan(t *testing.T) {
	for _, tc := range []struct {
		name              string
		desired, min, max int
		deployments       []DeploymentView
		tasks             string
		want              Plan
	}{
		{"first start", 2, 100, 200, []DeploymentView{{ID: "new"}}, "", Plan{Start: []Start{{Deployment: "new", Count: 2}}}},
		{"nothing to do", 2, 100, 200, steady, "NN", Plan{}},
		{"rollout begins within the upper bound", 2, 100, 200, rollout, "OO", Plan{Start: []Start{{Deployment: "new", Count: 2}}}},
		{"rollout waits for health", 2, 100, 200, rollout, "OOnn", Plan{}},
		{"an old one goes for each healthy new one", 2, 100, 200, rollout, "OONn", Plan{Stop: []Stop{{"t1", ScaleIn}}}},
		{"all old ones go", 2, 100, 200, rollout, "OONN", Plan{Stop: []Stop{{"t1", ScaleIn}, {"t0", ScaleIn}}}},
		{"stopping ones count neither way", 2, 100, 200, rollout, "O-O-NN", Plan{}},
		{"half may go first", 4, 50, 100, rollout, "OOOO", Plan{Stop: []Stop{{"t3", ScaleIn}, {"t2", ScaleIn}}}},
		{"and make room", 4, 50, 100, rollout, "OO", Plan{Start: []Start{{Deployment: "new", Count: 2}}}},
		{"bounds that block", 1, 100, 150, rollout, "O", Plan{Blocked: true}},
		{"scale in: the unhealthy, then the youngest", 1, 100, 200, steady, "NnN", Plan{Stop: []Stop{{"t1", ScaleIn}, {"t2", ScaleIn}}}},
		{"scale in: not the protected", 1, 100, 200, steady, "NN#N", Plan{Stop: []Stop{{"t3", ScaleIn}, {"t0", ScaleIn}}}},
		{"scale in: all are protected", 1, 100, 200, steady, "N#N#", Plan{Protected: true}},
		{"scale in: not what serves for a protected one that doesn't yet", 1, 100, 200, steady, "Nn#", Plan{Protected: true}},
		{"a rollout waits for the protected", 2, 100, 200, rollout, "O#ONN", Plan{Stop: []Stop{{"t2", ScaleIn}}}},
		{"a rollout starts no more than fits beside the protected", 2, 100, 150, rollout, "O#O#n", Plan{}},
		{"a protected task that fails is replaced", 1, 100, 200, steady, "N!#N", Plan{Stop: []Stop{{"t0", Unhealthy}}}},
		{"what settles stays until the new ones are up", 2, 100, 200, begun, "o~o~nn", Plan{}},
		{"as far as needed to be healthy", 2, 100, 200, begun, "o~o~Nn", Plan{Stop: []Stop{{"t2", ScaleIn}}}},
		{"what settles goes before what is healthy", 2, 100, 200, begun, "Oo~NN", Plan{Stop: []Stop{{"t1", ScaleIn}, {"t0", ScaleIn}}}},
		{"scale in: what settles stays longer than what doesn't run", 1, 100, 200, begun, "n~n", Plan{Stop: []Stop{{"t2", ScaleIn}}}},
		{"scale in: not what settles for a protected one that doesn't run", 1, 100, 200, begun, "n~n#", Plan{Protected: true}},
		{"scale out", 3, 100, 200, steady, "N", Plan{Start: []Start{{Deployment: "new", Count: 2}}}},
		{"a failing task is replaced first", 2, 100, 200, steady, "NN!", Plan{Start: []Start{{Deployment: "new", Count: 1}}, Replaces: 1}},
		{"and goes when its replacement is healthy", 2, 100, 200, steady, "NN!N", Plan{Stop: []Stop{{"t1", Unhealthy}}}},
		{"without room it goes first", 2, 50, 100, steady, "NN!", Plan{Start: []Start{{Deployment: "new", Count: 1}}, Stop: []Stop{{"t1", Unhealthy}}, Replaces: 1}},
		{"one at a time", 2, 0, 100, steady, "N!N!", Plan{Start: []Start{{Deployment: "new", Count: 1}}, Stop: []Stop{{"t2", Unhealthy}}, Replaces: 1}},
		{"and the next when the replacement is up", 2, 0, 100, steady, "nN!", Plan{}},
		{"in a rollout at once", 2, 100, 200, rollout, "OOnN!", Plan{Start: []Start{{Deployment: "new", Count: 1}}, Stop: []Stop{{"t3", Unhealthy}}, Replaces: 1}},
		{"scaled to 0, failing tasks are scaled in", 0, 100, 200, steady, "N!", Plan{Stop: []Stop{{"t0", ScaleIn}}}},
		{"failing old tasks stay until the new ones are up", 2, 100, 200, rollout, "O!O!nn", Plan{}},
		{"and go then", 2, 100, 200, rollout, "O!O!NN", Plan{Stop: []Stop{{"t2", ScaleIn}, {"t0", ScaleIn}}}},
		{"or make room", 2, 0, 100, rollout, "O!O!", Plan{Stop: []Stop{{"t2", ScaleIn}, {"t0", ScaleIn}}}},
		{"as far as needed", 2, 50, 100, rollout, "O!O!n", Plan{Stop: []Stop{{"t2", ScaleIn}, {"t0", ScaleIn}}, Start: []Start{{Deployment: "old", Count: 1}}}},
		{"the old deployment's throttle waits too", 1, 100, 200, []DeploymentView{{ID: "new", Wait: 2 * time.Second}, {ID: "old", Completed: true, Wait: time.Second}}, "", Plan{Again: time.Second}},
		{"after a failed deployment the old one is scaled in", 1, 100, 200, failed, "OOn", Plan{Stop: []Stop{{"t1", ScaleIn}}}},
		{"and its losses are made good", 2, 100, 200, failed, "On", Plan{Start: []Start{{Deployment: "old", Count: 1}}}},
		{"and its failing tasks replaced first", 2, 100, 200, failed, "OO!", Plan{Start: []Start{{Deployment: "old", Count: 1}}}},
		{"and then stopped", 2, 100, 200, failed, "OO!O", Plan{Stop: []Stop{{"t1", ScaleIn}}}},
		{"a failed deployment is deleted", 0, 100, 200, failed, "On", Plan{Stop: []Stop{{"t1", ScaleIn}, {"t0", ScaleIn}}}},
		{"an old loss is made good while the new isn't up", 2, 100, 200, rollout, "Onn", Plan{Start: []Start{{Deployment: "old", Count: 1}}}},
		{"which is kept while it is needed", 2, 100, 200, rollout, "Oonn", Plan{}},
		{"a failed deployment launches nothing and stops nothing", 2, 100, 200, failed, "OOn", Plan{}},
		{"the throttle waits", 1, 100, 200, []DeploymentView{{ID: "new", Wait: time.Second}}, "", Plan{Again: time.Second}},
		{"deleted", 0, 100, 200, rollout, "OOnN", Plan{Stop: []Stop{{"t2", ScaleIn}, {"t3", ScaleIn}, {"t1", ScaleIn}, {"t0", ScaleIn}}}},
		{"a third deployment drops the half-started second", 2, 100, 200,
			[]DeploymentView{{ID: "newest"}, {ID: "new"}, {ID: "old", Completed: true}}, "OOnn",
			Plan{Stop: []Stop{{"t3", ScaleIn}, {"t2", ScaleIn}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := plan(View{Desired: tc.desired, MinimumHealthy: tc.min, Maximum: tc.max, Deployments: tc.deployments, Tasks: tasks(tc.tasks)})
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("plan(%q) (-want +got):\n%s", tc.tasks, d)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	for _, tc := range []struct{ desired, percent, lower, upper int }{
		{1, 100, 1, 1}, {1, 150, 2, 1}, {3, 50, 2, 1}, {4, 50, 2, 2}, {4, 200, 8, 8}, {0, 200, 0, 0},
	} {
		if l, u := lowerBound(tc.desired, tc.percent), upperBound(tc.desired, tc.percent); l != tc.lower || u != tc.upper {
			t.Errorf("bounds(%d, %d%%) = %d, %d; want %d, %d", tc.desired, tc.percent, l, u, tc.lower, tc.upper)
		}
	}
}

// A world of tasks follows the plan. Whatever happens in it, a stop never takes the healthy
// tasks below the lower bound, and a start never goes above the upper one; left alone it settles.
func TestPlan_KeepsItsBoundsAndSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := View{
			Desired:        rapid.IntRange(0, 6).Draw(t, "desired"),
			MinimumHealthy: rapid.SampledFrom([]int{0, 50, 66, 100}).Draw(t, "min"),
			Maximum:        rapid.SampledFrom([]int{100, 150, 200}).Draw(t, "max"),
			Deployments:    []DeploymentView{{ID: "d0"}},
		}
		next, n := 1, 0
		step := func() Plan {
			lower, upper := lowerBound(v.Desired, v.MinimumHealthy), upperBound(v.Desired, v.Maximum)
			before, up, active := healthy(v.Tasks), countRunning(v.Tasks), activeCount(v.Tasks)
			p := plan(v)
			for _, s := range p.Stop {
				for i := range v.Tasks {
					if v.Tasks[i].ID == s.Task {
						if v.Tasks[i].Stopping {
							t.Fatalf("stopped %s twice", s.Task)
						}
						v.Tasks[i].Stopping = true
					}
				}
			}
			for _, s := range p.Start {
				for range s.Count {
					n++
					v.Tasks = append(v.Tasks, TaskView{ID: fmt.Sprint("t", n), Deployment: s.Deployment, CreatedAt: time.Unix(int64(n), 0)})
				}
			}
			if after := healthy(v.Tasks); after < before && after < lower {
				t.Fatalf("healthy %d → %d below the lower bound %d: %+v", before, after, lower, p)
			}
			if after := countRunning(v.Tasks); after < up && after < lower {
				t.Fatalf("healthy or settling %d → %d below the lower bound %d: %+v", up, after, lower, p)
			}
			if now := activeCount(v.Tasks); now > active && now > upper {
				t.Fatalf("active %d → %d above the upper bound %d: %+v", active, now, upper, p)
			}
			if v.Tasks != nil && settled(v) {
				v.Deployments = v.Deployments[:1]
				v.Deployments[0].Completed = true
			}
			return p
		}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 8).Draw(t, "happens") {
			case 0:
				v.Deployments = append([]DeploymentView{{ID: fmt.Sprint("d", next)}}, v.Deployments...)
				next++
			case 1:
				v.Desired = rapid.IntRange(0, 6).Draw(t, "newDesired")
			case 2, 3:
				pick(t, v.Tasks, func(k *TaskView) { k.Healthy, k.Failed, k.Settling = true, false, false })
			case 4:
				pick(t, v.Tasks, func(k *TaskView) { k.Healthy, k.Failed, k.Settling = false, true, false })
			case 8:
				pick(t, v.Tasks, func(k *TaskView) { k.Settling = !k.Healthy && !k.Failed })
			case 6:
				v.Deployments[0].Failed = !v.Deployments[0].Completed
			case 5:
				pick(t, v.Tasks, func(k *TaskView) { k.Stopping, k.Healthy, k.Settling = true, false, false })
			}
			step()
		}
		if v.Deployments[0].Failed { // nothing but a new deployment goes on from there
			v.Deployments = append([]DeploymentView{{ID: fmt.Sprint("d", next)}}, v.Deployments...)
		}
		// Left alone: every task becomes healthy, every stopping one goes.
		stuck := lowerBound(v.Desired, v.MinimumHealthy) >= v.Desired && upperBound(v.Desired, v.Maximum) <= v.Desired
		for range 60 {
			kept := v.Tasks[:0]
			for _, k := range v.Tasks {
				if !k.Stopping {
					k.Healthy, k.Failed, k.Settling = true, false, false
					kept = append(kept, k)
				}
			}
			v.Tasks = kept
			step()
		}
		if !stuck && !settled(v) {
			t.Fatalf("did not settle: %+v", v)
		}
	})
}

func pick(t *rapid.T, ts []TaskView, change func(*TaskView)) {
	if len(ts) == 0 {
		return
	}
	k := &ts[rapid.IntRange(0, len(ts)-1).Draw(t, "task")]
	if !k.Stopping {
		change(k)
	}
}

func healthy(ts []TaskView) int {
	n := 0
	for _, k := range ts {
		if k.Healthy && !k.Stopping {
			n++
		}
	}
	return n
}

func countRunning(ts []TaskView) int {
	n := 0
	for _, k := range ts {
		if (k.Healthy || k.Settling) && !k.Stopping {
			n++
		}
	}
	return n
}

func activeCount(ts []TaskView) int {
	n := 0
	for _, k := range ts {
		if !k.Stopping {
			n++
		}
	}
	return n
}
