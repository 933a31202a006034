package scheduler

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// followBench has a service that follows app:latest, and what that means.
func followBench(t *testing.T, tags map[string]string) (b *bench, tag *string) {
	b = newBench(t, false)
	tag = aws.String("sha256:1")
	b.c.o.ImageAt = func(_ store.Reader, ref string, _ arn.Scope) (string, error) {
		if ref == "app:latest" {
			return *tag, nil
		}
		return "", nil
	}
	b.update(func(tx *store.WriteTx) error {
		o, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(here.ARN("ecs", "task-definition/web:1")))
		if err != nil {
			return err
		}
		o.Val.Definition.ContainerDefinitions = []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app:latest")},
			{Name: aws.String("side"), Image: aws.String("side@sha256:0")}}
		return state.TaskDefinitions.Put(tx, &o)
	})
	b.create(1, func(s *state.Service) { s.Tags = tags })
	b.settle()
	return b, tag
}

// found notes the digest that a deployment's tasks have found.
func (b *bench) found(deployment, digest string) {
	b.t.Helper()
	b.run(b.of(deployment)...)
	for _, r := range b.of(deployment) {
		b.setStatus(r, func(_ *store.WriteTx, st *state.TaskStatus) error {
			st.Containers = []state.ContainerStatus{{Name: "app", Digest: digest}}
			return nil
		})
	}
}

func (b *bench) newest() (d state.Deployment) {
	b.t.Helper()
	b.view(func(tx *store.ReadTx) error {
		for o, err := range state.Deployments.List(tx, serviceKey+"/") {
			if err != nil {
				return err
			}
			d = o.Val
		}
		return nil
	})
	return d
}

func TestFollow(t *testing.T) {
	b, tag := followBench(t, map[string]string{FollowTag: "true"})
	b.reconcile()
	if n := b.service().Sequence; n != 1 {
		t.Fatalf("%d deployments although the tag has not moved", n)
	}
	*tag = "sha256:2"
	b.reconcile()
	two := b.newest()
	if two.Sequence != 2 || two.TaskDefinitionARN != here.ARN("ecs", "task-definition/web:1") || two.ID == "ecs-svc/1" || len(two.Source) != 1 {
		t.Fatalf("the tag has moved: newest deployment %+v", two)
	}
	if events := b.events(); !strings.Contains(strings.Join(events, "\n"), "because an image's tag has moved") {
		t.Errorf("events %q", events)
	}
	b.reconcile()
	b.found(two.ID, "sha256:2")
	b.settle()
	if st := b.status().Deployments[two.ID]; st.RolloutState != "COMPLETED" || b.service().Sequence != 2 {
		t.Errorf("%+v after %d deployments", st, b.service().Sequence)
	}
	*tag = "sha256:1"
	b.reconcile()
	if n := b.service().Sequence; n != 3 {
		t.Errorf("%d deployments after the tag has moved back, want 3", n)
	}
}

// Where nobody asked for it, the tag has gone, or the service is deleted, nothing happens.
func TestFollow_Not(t *testing.T) {
	for name, test := range map[string]struct {
		tags map[string]string
		do   func(b *bench, tag *string)
	}{
		"NotAsked":  {nil, func(_ *bench, tag *string) { *tag = "sha256:2" }},
		"SaidFalse": {map[string]string{FollowTag: "false"}, func(_ *bench, tag *string) { *tag = "sha256:2" }},
		"TagGone":   {map[string]string{FollowTag: "true"}, func(_ *bench, tag *string) { *tag = "" }},
		"Deleted": {map[string]string{FollowTag: "true"}, func(b *bench, tag *string) {
			b.change(func(s *state.Service) { s.DeletedAt, s.DesiredCount = b.clock, 0 })
			*tag = "sha256:2"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b, tag := followBench(t, test.tags)
			test.do(b, tag)
			b.reconcile()
			if n := b.service().Sequence; n != 1 {
				t.Errorf("%d deployments, want 1", n)
			}
		})
	}
}

// An image that fails is tried once; the rollback stays.
func TestFollow_FailedImage(t *testing.T) {
	b, tag := followBench(t, map[string]string{FollowTag: "true"})
	b.change(func(s *state.Service) { s.CircuitBreaker = state.CircuitBreaker{Enable: true, Rollback: true} })
	*tag = "sha256:2"
	b.reconcile()
	two := b.newest().ID
	b.found(two, "sha256:2")
	for i := 0; b.status().Deployments[two].RolloutState != "FAILED"; i++ {
		if i > 50 {
			t.Fatalf("never failed: %+v", b.status().Deployments[two])
		}
		b.exit("EssentialContainerExited", "Essential container in task exited", b.of(two)...)
		b.reconcile()
		b.end(b.stopping()...)
		b.clock = b.clock.Add(b.again)
		b.reconcile()
	}
	b.settle()
	for range 5 {
		b.reconcile()
	}
	if d := b.newest(); d.Sequence != 3 || d.RollbackOf != two || b.status().Deployments[d.ID].RolloutState != "COMPLETED" {
		t.Errorf("newest deployment %+v %+v, want the rollback", d, b.status().Deployments[d.ID])
	}
	*tag = "sha256:3"
	b.reconcile()
	if d := b.newest(); d.Sequence != 4 || d.RollbackOf != "" {
		t.Errorf("a newer image: newest deployment %+v, want another", d)
	}
}
