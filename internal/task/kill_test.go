package task

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/runtime/fake"
	"github.com/lotse-project/lotse/internal/state"
)

// A server killed at every single point in turn of a life with dependencies, health checks and a container that must be
// killed, leads it to the same end.
func TestKilledAtEveryPoint(t *testing.T) {
	good := func(b *bench) {
		b.until("RUNNING")
		b.stopTask("enough")
		st := b.until("STOPPED")
		app, migrate, db := st.Containers[0], st.Containers[1], st.Containers[2]
		switch {
		case app.StartedAt.Before(migrate.StoppedAt.Truncate(time.Millisecond)) || app.StartedAt.Before(db.StartedAt):
			b.t.Errorf("app started before what it depends on: %+v", st.Containers)
		case db.StoppingAt.Before(app.StoppedAt.Truncate(time.Millisecond)):
			b.t.Errorf("db was told to stop before app had ended: %+v", st.Containers)
		case *migrate.ExitCode != 0 || *app.ExitCode != 0 || *db.ExitCode != 137 || app.Restarts+migrate.Restarts+db.Restarts != 0:
			b.t.Errorf("%+v", st.Containers)
		case st.Stop.Code != "UserInitiated":
			b.t.Errorf("%+v", st.Stop)
		}
	}
	bad := func(b *bench) {
		st := b.until("STOPPED")
		if app := st.Containers[0]; st.Stop.Reason != "Task failed to start" || *app.ExitCode != 143 || !app.StartedAt.IsZero() || *st.Containers[1].ExitCode != 1 {
			b.t.Errorf("%+v %+v", st.Stop, st.Containers)
		}
	}
	for name, life := range map[string]struct {
		lead func(*bench)
		code int // of migrate
		want []string
	}{
		"good": {good, 0, []string{"task.start:started", "task.stop:signalled", "task.stop:killed", "task.health:before", "task.observe:before"}},
		"bad":  {bad, 1, []string{"task.start:started", "task.observe:after"}},
	} {
		run := func(t *testing.T, killAt int) (points []string) {
			b := newBench(t, func(_ *state.Task, d *ecstypes.TaskDefinition) {
				app, migrate, db := depends("app", "db", "HEALTHY"), depends("migrate", "", ""), depends("db", "", "")
				app.DependsOn = append(app.DependsOn, ecstypes.ContainerDependency{ContainerName: aws.String("migrate"), Condition: "SUCCESS"})
				migrate.Essential = aws.Bool(false)
				db.StopTimeout, db.HealthCheck = aws.Int32(0), &ecstypes.HealthCheck{Command: []string{"CMD", "/check"}}
				d.ContainerDefinitions = []ecstypes.ContainerDefinition{app, migrate, db}
			})
			var ok atomic.Int32
			b.answer(&ok)
			b.engine.Program = func(_ runtime.TaskSpec, c runtime.ContainerSpec) (fake.Program, error) {
				switch c.Name {
				case "migrate":
					return fake.Program{Exits: true, ExitCode: life.code}, nil
				case "db":
					return fake.Program{}, nil // deaf
				}
				return fake.Service, nil
			}
			b.fault = func(p string) {
				if points = append(points, p); len(points)-1 == killAt {
					panic(errKilled)
				}
			}
			life.lead(b)
			if n := b.interfaces(); n != 0 {
				t.Errorf("%d interfaces left", n)
			}
			if all, _ := b.engine.List(t.Context()); len(all) != 0 {
				t.Errorf("the engine still has %v", all)
			}
			return points
		}
		t.Run(name, func(t *testing.T) {
			points := run(t, -1)
			for _, p := range life.want {
				if !slices.Contains(points, p) {
					t.Errorf("%s was not reached: %s", p, strings.Join(points, " "))
				}
			}
			for i, p := range points {
				run(t, i)
				if t.Failed() {
					t.Fatalf("killed at the point %d, %s or near it, of %s", i, p, strings.Join(points, " "))
				}
			}
			t.Logf("killed at each of %d points", len(points))
		})
	}
}
