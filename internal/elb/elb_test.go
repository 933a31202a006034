package elb

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// bench is a service over a store with a default VPC, and a caller.
type bench struct {
	*Service
	t       *testing.T
	ctx     context.Context
	sc      arn.Scope
	vpc     string
	subnets []string // one in each zone
	group   string   // the VPC's default security group
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "lotse.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b := &bench{Service: New(Options{DB: db, PublicPool: netip.MustParsePrefix("127.64.7.0/24"), Log: slog.New(slog.DiscardHandler)}), t: t,
		sc: arn.Scope{Account: "000000000000", Region: "us-east-1"}}
	b.ctx = awsauth.WithCaller(t.Context(), awsauth.Caller{Account: b.sc.Account, Region: b.sc.Region})
	b.update(func(tx *store.WriteTx) error {
		if err := state.EnsureDefaultVPC(tx, b.sc, netip.MustParsePrefix("172.31.0.0/16")); err != nil {
			return err
		}
		for s, err := range state.Subnets.List(tx, b.sc.Key()) {
			if err != nil {
				return err
			}
			b.subnets, b.vpc = append(b.subnets, s.Val.ID), s.Val.VPC
		}
		b.group, err = state.DefaultSecurityGroup(tx, b.sc, b.vpc)
		return err
	})
	return b
}

func (b *bench) update(fn func(*store.WriteTx) error) {
	b.t.Helper()
	if err := b.o.DB.Update(b.ctx, fn); err != nil {
		b.t.Fatal(err)
	}
}

func must[T any](out T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func (b *bench) balancer(name string) types.LoadBalancer {
	b.t.Helper()
	return must(b.CreateLoadBalancer(b.ctx, &elb.CreateLoadBalancerInput{Name: &name, Subnets: b.subnets[:2]}))(b.t).LoadBalancers[0]
}

func (b *bench) targetGroup(name string) types.TargetGroup {
	b.t.Helper()
	return must(b.CreateTargetGroup(b.ctx, groupInput(b, name)))(b.t).TargetGroups[0]
}

func groupInput(b *bench, name string) *elb.CreateTargetGroupInput {
	return &elb.CreateTargetGroupInput{Name: &name, TargetType: types.TargetTypeEnumIp, Protocol: types.ProtocolEnumHttp, Port: aws.Int32(8080), VpcId: &b.vpc}
}

func (b *bench) listener(balancer *string, port int32, actions ...types.Action) types.Listener {
	b.t.Helper()
	if len(actions) == 0 {
		actions = fixed404()
	}
	return must(b.CreateListener(b.ctx, &elb.CreateListenerInput{LoadBalancerArn: balancer, Port: &port, Protocol: types.ProtocolEnumHttp, DefaultActions: actions}))(b.t).Listeners[0]
}

func fixed404() []types.Action {
	return []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: aws.String("404")}}}
}

func forward(group *string) []types.Action {
	return []types.Action{{Type: types.ActionTypeEnumForward, TargetGroupArn: group}}
}

func path(values ...string) []types.RuleCondition {
	return []types.RuleCondition{{Field: aws.String("path-pattern"), Values: values}}
}

func (b *bench) rule(listener *string, priority int32, group *string) types.Rule {
	b.t.Helper()
	return must(b.CreateRule(b.ctx, &elb.CreateRuleInput{ListenerArn: listener, Priority: &priority, Conditions: path("/a/*"), Actions: forward(group)}))(b.t).Rules[0]
}

// wantError checks for AWS's code, and its text unless that is "".
func wantError(t *testing.T, what string, err error, code, text string) {
	t.Helper()
	var ae *awswire.Error
	if !errors.As(err, &ae) || ae.Code != code || text != "" && ae.Message != text {
		t.Errorf("%s: error %v, want %s: %s", what, err, code, text)
	}
}
