package fabric

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// A key is made once, kept while more than half of its life is left, and made anew then.
func TestCredentials_Renewed(t *testing.T) {
	b := newBench(t)
	now, made := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), 0
	gone := false
	b.o.Now = func() time.Time { return now }
	b.o.Credentials = func(_ context.Context, task state.Task, role string, life time.Duration) (linklocal.Credentials, error) {
		if gone {
			return linklocal.Credentials{}, fmt.Errorf("role %s: %w", role, store.ErrNotFound)
		}
		made++
		return linklocal.Credentials{RoleARN: role, AccessKeyID: fmt.Sprint(task.ID, made), Expiration: now.Add(life)}, nil
	}
	r := named()
	one := r.tasks["t1"]
	one.definition.TaskRoleArn = aws.String("arn:role")
	r.tasks["t1"] = one
	ended := one
	ended.ID, ended.status.LastStatus = "t2", "STOPPED"
	r.tasks["t2"] = ended
	none := one
	none.ID, none.definition.TaskRoleArn = "t3", nil
	r.tasks["t3"] = none
	want := func(keys ...string) {
		t.Helper()
		got, err := b.credentials(t.Context(), []records{r})
		if err != nil || len(got) != len(keys) || len(keys) == 1 && got["t1"].AccessKeyID != keys[0] {
			t.Errorf("keys = %+v, %v, want %v", got, err, keys)
		}
	}
	want("t11")
	now = now.Add(keyLife/2 - time.Minute)
	want("t11")
	now = now.Add(2 * time.Minute)
	want("t12")
	s, err := snapshot([]records{r}, b.heldKeys(), here)
	if err != nil {
		t.Fatal(err)
	}
	m := s.VPCs[0].Tasks[addr("172.31.0.4")]
	if m.CredentialsID != state.CredentialsID("t1") || m.Credentials == nil || m.Credentials.AccessKeyID != "t12" {
		t.Errorf("published: %+v", m)
	}
	gone = true
	now = now.Add(keyLife)
	want()
}
