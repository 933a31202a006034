package iam

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/lotse-project/lotse/internal/awswire"
)

const (
	trustAccount = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"sts:AssumeRole"}]}`
	webRole      = "arn:aws:iam::000000000000:role/app/web"
	webSession   = "arn:aws:sts::000000000000:assumed-role/web/0123"
)

// A stage has a role web, whose sessions call the real API through the SDK.
type stage struct {
	t     *testing.T
	s     *Service
	ctx   context.Context // root's
	now   time.Time
	cfg   aws.Config // root's
	calls []string   // ECS operations that were let through
}

func newStage(t *testing.T) *stage {
	s, ctx := newService(t)
	st := &stage{t: t, s: s, ctx: ctx, now: time.Now()}
	s.o.Now = func() time.Time { return st.now }
	must(s.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("web"), Path: aws.String("/app/"), AssumeRolePolicyDocument: aws.String(trustECS)}))
	api := &awswire.API{SigningName: "ecs", Protocol: awswire.JSON11, Target: "AmazonEC2ContainerServiceV20141113"}
	awswire.Handle(api, func(context.Context, *ecs.UpdateServiceInput) (*ecs.UpdateServiceOutput, error) {
		st.calls = append(st.calls, "UpdateService")
		return &ecs.UpdateServiceOutput{}, nil
	})
	awswire.Handle(api, func(context.Context, *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
		st.calls = append(st.calls, "RunTask")
		return &ecs.RunTaskOutput{}, nil
	})
	st.cfg = serveAll(t, s, api)
	return st
}

// as is a configuration of a task of the role.
func (st *stage) as(task string) aws.Config {
	st.t.Helper()
	k := must(st.s.TaskKey(st.ctx, "000000000000", webRole, task, time.Hour))
	cfg := st.cfg.Copy()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, k.SessionToken)
	return cfg
}

func (st *stage) policy(text string) {
	st.t.Helper()
	must(st.s.PutRolePolicy(st.ctx, &iam.PutRolePolicyInput{RoleName: aws.String("web"), PolicyName: aws.String("p"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + text + `]}`)}))
}

func (st *stage) update(cfg aws.Config) error {
	_, err := ecs.NewFromConfig(cfg).UpdateService(st.ctx, &ecs.UpdateServiceInput{Cluster: aws.String("shop"), Service: aws.String("cart")})
	return err
}

func told(t *testing.T, err error, code, text string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || e.ErrorMessage() != text {
		t.Errorf("got  %v\nwant %s: %s", err, code, text)
	}
}

func TestSession_IsWhoItIs(t *testing.T) {
	st := newStage(t)
	id := must(sts.NewFromConfig(st.as("0123")).GetCallerIdentity(st.ctx, &sts.GetCallerIdentityInput{}))
	role := must(st.s.GetRole(st.ctx, &iam.GetRoleInput{RoleName: aws.String("web")})).Role
	if *id.Arn != webSession || *id.UserId != *role.RoleId+":0123" || *id.Account != "000000000000" {
		t.Errorf("GetCallerIdentity = %s %s %s", *id.Arn, *id.UserId, *id.Account)
	}
}

func TestSession_MayWhatItsPoliciesSay(t *testing.T) {
	const service = "arn:aws:ecs:eu-central-1:000000000000:service/shop/cart"
	st := newStage(t)
	cfg := st.as("0123")
	silent := "User: " + webSession + " is not authorized to perform: ecs:UpdateService on resource: " + service + " because no identity-based policy allows the ecs:UpdateService action"
	told(t, st.update(cfg), "AccessDeniedException", silent)
	st.policy(`{"Effect":"Allow","Action":"ecs:UpdateService","Resource":"arn:aws:ecs:*:*:service/other/*"}`)
	told(t, st.update(cfg), "AccessDeniedException", silent)
	st.policy(`{"Effect":"Allow","Action":"ecs:UpdateService","Resource":"arn:aws:ecs:*:*:service/shop/*"},{"Effect":"Deny","Action":"*","Resource":"` + service + `"}`)
	told(t, st.update(cfg), "AccessDeniedException", "User: "+webSession+" is not authorized to perform: ecs:UpdateService on resource: "+service+" with an explicit deny in an identity-based policy")
	if len(st.calls) != 0 {
		t.Fatalf("let through: %v", st.calls)
	}
	st.policy(`{"Effect":"Allow","Action":"ecs:UpdateService","Resource":"*","Condition":{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:eu-central-1:000000000000:cluster/shop"}}}`)
	if err := st.update(cfg); err != nil || len(st.calls) != 1 {
		t.Errorf("with a policy: %v, calls %v", err, st.calls)
	}
	// Other services' errors are their own.
	_, err := iam.NewFromConfig(cfg).GetRole(st.ctx, &iam.GetRoleInput{RoleName: aws.String("web")})
	told(t, err, "AccessDenied", "User: "+webSession+" is not authorized to perform: iam:GetRole on resource: "+webRole+" because no identity-based policy allows the iam:GetRole action")
}

func TestSession_PassesOnlyRolesItMay(t *testing.T) {
	st := newStage(t)
	st.policy(`{"Effect":"Allow","Action":"ecs:*","Resource":"*"}`)
	run := func() error {
		_, err := ecs.NewFromConfig(st.as("0123")).RunTask(st.ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("web:3"), Overrides: taskRole(webRole)})
		return err
	}
	told(t, run(), "AccessDeniedException", "User: "+webSession+" is not authorized to perform: iam:PassRole on resource: "+webRole+" because no identity-based policy allows the iam:PassRole action")
	st.policy(`{"Effect":"Allow","Action":"ecs:*","Resource":"*"},{"Effect":"Allow","Action":"iam:PassRole","Resource":"` + webRole + `","Condition":{"StringEquals":{"iam:PassedToService":"ecs-tasks.amazonaws.com"}}}`)
	if err := run(); err != nil {
		t.Error(err)
	}
}

// Whatever isn't the very key that was given is refused.
func TestSession_Refused(t *testing.T) {
	st := newStage(t)
	who := func(id, secret, token string) error {
		cfg := st.cfg.Copy()
		cfg.Credentials = credentials.NewStaticCredentialsProvider(id, secret, token)
		_, err := sts.NewFromConfig(cfg).GetCallerIdentity(st.ctx, &sts.GetCallerIdentityInput{})
		return err
	}
	a := must(st.s.TaskKey(st.ctx, "000000000000", webRole, "a", time.Hour))
	b := must(st.s.TaskKey(st.ctx, "000000000000", webRole, "b", time.Hour))
	if err := who(a.AccessKeyID, a.SecretAccessKey, a.SessionToken); err != nil {
		t.Fatal(err)
	}
	const invalid = "The security token included in the request is invalid."
	told(t, who(a.AccessKeyID, a.SecretAccessKey, b.SessionToken), "InvalidClientTokenId", invalid) // another task's token
	told(t, who(a.AccessKeyID, a.SecretAccessKey, ""), "InvalidClientTokenId", invalid)
	told(t, who(a.AccessKeyID, a.SecretAccessKey, a.SessionToken+"x"), "InvalidClientTokenId", invalid)
	told(t, who("AKIAIOSFODNN7EXAMPLE", "secret", a.SessionToken), "InvalidClientTokenId", invalid)
	if err := who(a.AccessKeyID, b.SecretAccessKey, a.SessionToken); err == nil {
		t.Error("another task's secret is accepted")
	}
	// What is over is over. The signature's own time goes with ours.
	short := must(st.s.TaskKey(st.ctx, "000000000000", webRole, "c", time.Minute))
	st.now = st.now.Add(2 * time.Minute)
	told(t, who(short.AccessKeyID, short.SecretAccessKey, short.SessionToken), "ExpiredToken", "The security token included in the request is expired")
	// A role that was made anew is another one.
	must(st.s.DeleteRole(st.ctx, &iam.DeleteRoleInput{RoleName: aws.String("web")}))
	told(t, who(a.AccessKeyID, a.SecretAccessKey, a.SessionToken), "InvalidClientTokenId", invalid)
	must(st.s.CreateRole(st.ctx, &iam.CreateRoleInput{RoleName: aws.String("web"), Path: aws.String("/app/"), AssumeRolePolicyDocument: aws.String(trustECS)}))
	told(t, who(a.AccessKeyID, a.SecretAccessKey, a.SessionToken), "InvalidClientTokenId", invalid)
}

func TestAssumeRole(t *testing.T) {
	const admin = "arn:aws:iam::000000000000:role/admin"
	st := newStage(t)
	must(st.s.CreateRole(st.ctx, &iam.CreateRoleInput{RoleName: aws.String("admin"), AssumeRolePolicyDocument: aws.String(trustAccount)}))
	must(st.s.PutRolePolicy(st.ctx, &iam.PutRolePolicyInput{RoleName: aws.String("admin"), PolicyName: aws.String("all"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)}))
	assume := func(cfg aws.Config, change func(*sts.AssumeRoleInput)) (*sts.AssumeRoleOutput, error) {
		in := &sts.AssumeRoleInput{RoleArn: aws.String(admin), RoleSessionName: aws.String("ci")}
		if change != nil {
			change(in)
		}
		return sts.NewFromConfig(cfg).AssumeRole(st.ctx, in)
	}
	as := func(out *sts.AssumeRoleOutput) aws.Config {
		cfg := st.cfg.Copy()
		c := out.Credentials
		cfg.Credentials = credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
		return cfg
	}
	out := must(assume(st.cfg, nil)) // the root key
	if want := "arn:aws:sts::000000000000:assumed-role/admin/ci"; *out.AssumedRoleUser.Arn != want || len(*out.Credentials.AccessKeyId) != 20 || (*out.Credentials.AccessKeyId)[:4] != "ASIA" {
		t.Errorf("AssumeRole = %+v %s", out.AssumedRoleUser, *out.Credentials.AccessKeyId)
	}
	if d := out.Credentials.Expiration.Sub(st.now); d > time.Hour || d < time.Hour-time.Second {
		t.Errorf("the key lives %v, want 1h", d)
	}
	if err := st.update(as(out)); err != nil {
		t.Errorf("admin may not: %v", err)
	}
	narrow := must(assume(st.cfg, func(in *sts.AssumeRoleInput) {
		in.Policy = aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:Describe*","Resource":"*"}]}`)
	}))
	told(t, st.update(as(narrow)), "AccessDeniedException", "User: arn:aws:sts::000000000000:assumed-role/admin/ci is not authorized to perform: ecs:UpdateService on resource: arn:aws:ecs:eu-central-1:000000000000:service/shop/cart because no session policy allows the ecs:UpdateService action")

	// A task's role: the trust of the account leaves it to the role's own policies.
	task := st.as("0123")
	refused := "User: " + webSession + " is not authorized to perform: sts:AssumeRole on resource: " + admin
	_, err := assume(task, nil)
	told(t, err, "AccessDenied", refused)
	st.policy(`{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"` + admin + `"}`)
	must(assume(task, nil))
	_, err = assume(task, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3601) })
	told(t, err, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	// ECS's own trust lets nobody else in, not even root; a role that isn't there sounds the same.
	for _, role := range []string{webRole, "arn:aws:iam::000000000000:role/none", "arn:aws:iam::111122223333:role/admin"} {
		_, err = assume(st.cfg, func(in *sts.AssumeRoleInput) { in.RoleArn = &role })
		told(t, err, "AccessDenied", "User: arn:aws:iam::000000000000:root is not authorized to perform: sts:AssumeRole on resource: "+role)
	}
	// An external id.
	must(st.s.UpdateAssumeRolePolicy(st.ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("admin"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + webRole + `"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"x1"}}}]}`)}))
	_, err = assume(task, nil)
	told(t, err, "AccessDenied", refused)
	must(assume(task, func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("x1") }))
	_, err = assume(st.cfg, func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("me") })
	told(t, err, "ValidationError", "Lotse does not act on sourceIdentity yet, so it does not accept it.")
	_, err = assume(st.cfg, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(60) })
	told(t, err, "ValidationError", "1 validation error detected: Value '60' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900")
}

func taskRole(arn string) *types.TaskOverride { return &types.TaskOverride{TaskRoleArn: &arn} }
