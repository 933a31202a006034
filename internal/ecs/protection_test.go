package ecs

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

func TestTaskProtection(t *testing.T) {
	b := newBench(t)
	b.s.o.Now = func() time.Time { return b.clock }
	b.cluster()
	b.register()
	must(b.createService())(t)
	one, two, over := strings.Repeat("1", 32), strings.Repeat("2", 32), strings.Repeat("3", 32)
	b.serviceTask(one, "d", "RUNNING")
	b.serviceTask(two, "d", "PENDING")
	b.serviceTask(over, "d", "RUNNING")
	must(b.s.StopTask(b.ctx, &ecs.StopTaskInput{Task: &over}))(t)
	alone := *must(b.runTask())(t).Tasks[0].TaskArn
	protect := func(on bool, minutes *int32, tasks ...string) (*ecs.UpdateTaskProtectionOutput, error) {
		return b.s.UpdateTaskProtection(b.ctx, &ecs.UpdateTaskProtectionInput{Cluster: aws.String("default"), Tasks: tasks, ProtectionEnabled: on, ExpiresInMinutes: minutes})
	}
	show := func() map[string]time.Time {
		t.Helper()
		m := map[string]time.Time{}
		for _, p := range must(b.s.GetTaskProtection(b.ctx, &ecs.GetTaskProtectionInput{Cluster: aws.String("default")}))(t).ProtectedTasks {
			if p.ProtectionEnabled != (p.ExpirationDate != nil) {
				t.Errorf("%+v", p)
			}
			m[(*p.TaskArn)[len(*p.TaskArn)-32:]] = aws.ToTime(p.ExpirationDate)
		}
		return m
	}
	out := must(protect(true, nil, one, over, alone, "9"))(t)
	if len(out.ProtectedTasks) != 1 || len(out.Failures) != 3 {
		t.Fatalf("%+v", out)
	}
	if d := out.ProtectedTasks[0].ExpirationDate.Sub(b.clock); d > 2*time.Hour || d < 2*time.Hour-time.Second {
		t.Errorf("protected for %v, want 2h", d)
	}
	var reasons []string
	for _, f := range out.Failures {
		reasons = append(reasons, *f.Reason)
	}
	if got := strings.Join(reasons, " "); got != "TASK_NOT_VALID TASK_NOT_VALID MISSING" {
		t.Errorf("failures %s", got)
	}
	must(protect(true, aws.Int32(5), two))(t)
	if m := show(); len(m) != 2 || m[one].IsZero() || m[two].Sub(b.clock) > 5*time.Minute {
		t.Errorf("protected: %v", m)
	}
	b.clock = b.clock.Add(6 * time.Minute)
	must(protect(false, nil, one))(t)
	if m := show(); !m[one].IsZero() || !m[two].IsZero() {
		t.Errorf("protected after the end: %v", m)
	}
	for _, tc := range []struct {
		minutes int32
		tasks   []string
		text    string
	}{
		{0, []string{one}, "expiresInMinutes should be between 1 and 2880."},
		{2881, []string{one}, "expiresInMinutes should be between 1 and 2880."},
		{1, nil, "Tasks cannot be empty."},
		{1, make([]string, 11), "tasks can have at most 10 items."},
	} {
		_, err := protect(true, &tc.minutes, tc.tasks...)
		refused(t, err, "InvalidParameterException", tc.text)
	}
	_, err := b.s.GetTaskProtection(b.ctx, &ecs.GetTaskProtectionInput{Cluster: aws.String("none")})
	refused(t, err, "ClusterNotFoundException", "Cluster not found.")
}
