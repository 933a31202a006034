package elb

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// A step is what Terraform's AWS provider asks for a resource.
// Source of all: terraform-provider-aws 6, internal/service/elbv2: load_balancer.go, listener.go, listener_rule.go,
// listener_certificate.go, target_group.go, target_group_attachment.go and the data sources beside them.
type step struct {
	name string
	do   func() error
}

func run(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
}

// gone is nil if err is the SDK's own type for what isn't there, which is what the provider looks for.
func gone[E error](err error) error {
	var e E
	if errors.As(err, &e) {
		return nil
	}
	return fmt.Errorf("not what Terraform takes for a missing resource: %w", err)
}

// pairs are attributes in the order of their keys.
func pairs[T any](of func(k, v *string) T, kv ...string) (out []T) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, of(&kv[i], &kv[i+1]))
	}
	return out
}

func balancerAttr(k, v *string) types.LoadBalancerAttribute {
	return types.LoadBalancerAttribute{Key: k, Value: v}
}
func groupAttr(k, v *string) types.TargetGroupAttribute {
	return types.TargetGroupAttribute{Key: k, Value: v}
}
func listenerAttr(k, v *string) types.ListenerAttribute {
	return types.ListenerAttribute{Key: k, Value: v}
}

// tagsReadAndChanged is what the provider does with tags at every read and update.
func tagsReadAndChanged(ctx context.Context, c *elb.Client, arn *string) error {
	out, err := c.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: []string{*arn}})
	if err == nil && (len(out.TagDescriptions) != 1 || len(out.TagDescriptions[0].Tags) != 1 || *out.TagDescriptions[0].Tags[0].Key != "env") {
		err = fmt.Errorf("tags of %s: %+v", *arn, out.TagDescriptions)
	}
	_, err2 := c.RemoveTags(ctx, &elb.RemoveTagsInput{ResourceArns: []string{*arn}, TagKeys: []string{"env"}})
	_, err3 := c.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{*arn}, Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("b")}}})
	return errors.Join(err, err2, err3)
}

// perDefault are the attributes that aws_lb sends when it is created with nothing but a name, subnets and security groups.
var perDefault = pairs(balancerAttr, "access_logs.s3.enabled", "false", "connection_logs.s3.enabled", "false", "health_check_logs.s3.enabled", "false",
	"client_keep_alive.seconds", "3600", "deletion_protection.enabled", "false", "idle_timeout.timeout_seconds", "60", "routing.http.desync_mitigation_mode", "defensive",
	"routing.http.drop_invalid_header_fields.enabled", "false", "routing.http.preserve_host_header.enabled", "false", "routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false",
	"routing.http.xff_client_port.enabled", "false", "routing.http.xff_header_processing.mode", "append", "routing.http2.enabled", "true", "waf.fail_open.enabled", "false", "zonal_shift.config.enabled", "false")

// unknownKey is how the provider finds the key that it is to leave out. Source: modifyLoadBalancerAttributes.
var unknownKey = regexp.MustCompile(`attribute key ('|")?([^'" ]+)('|")? is not (recognized|supported)`)

func TestTerraform_LoadBalancer(t *testing.T) {
	b := newBench(t)
	c, ctx := b.client(), t.Context()
	var lb types.LoadBalancer
	describe := func() error {
		p := elb.NewDescribeLoadBalancersPaginator(c, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{*lb.LoadBalancerArn}})
		out, err := p.NextPage(ctx)
		if err != nil || p.HasMorePages() || len(out.LoadBalancers) != 1 || *out.LoadBalancers[0].LoadBalancerArn != *lb.LoadBalancerArn {
			return fmt.Errorf("DescribeLoadBalancers() = %+v, %w", out, err)
		}
		lb = out.LoadBalancers[0]
		return nil
	}
	attributes := func() map[string]string {
		out := map[string]string{}
		for _, a := range must(c.DescribeLoadBalancerAttributes(ctx, &elb.DescribeLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn}))(t).Attributes {
			out[*a.Key] = *a.Value
		}
		return out
	}
	run(t, []step{
		{"aws_lb/create", func() error {
			_, err := c.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{"web"}})
			if err := gone[*types.LoadBalancerNotFoundException](err); err != nil {
				return err
			}
			out, err := c.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("web"), Type: types.LoadBalancerTypeEnumApplication, Subnets: b.subnets[:2],
				SecurityGroups: []string{b.group}, Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("a")}}})
			if err != nil {
				return err
			}
			lb = out.LoadBalancers[0]
			b.active(lb.LoadBalancerArn)
			if err := describe(); err != nil || lb.State.Code != types.LoadBalancerStateEnumActive {
				return fmt.Errorf("state %s, %w", lb.State.Code, err)
			}
			_, err = c.ModifyLoadBalancerAttributes(ctx, &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn, Attributes: perDefault})
			return err
		}},
		{"aws_lb/read", func() error {
			if err := describe(); err != nil {
				return err
			}
			if lb.Scheme != types.LoadBalancerSchemeEnumInternetFacing || lb.IpAddressType != types.IpAddressTypeIpv4 || *lb.VpcId != b.vpc || len(lb.AvailabilityZones) != 2 || *lb.CanonicalHostedZoneId != "Z35SXDOTRQ7X7K" ||
				!slices.Equal(lb.SecurityGroups, []string{b.group}) || lb.EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic != nil || lb.IpamPools != nil || lb.CustomerOwnedIpv4Pool != nil {
				t.Errorf("load balancer %+v", lb)
			}
			have := attributes()
			for _, a := range perDefault {
				if have[*a.Key] != *a.Value {
					t.Errorf("%s = %q, want %q: the next plan has a difference", *a.Key, have[*a.Key], *a.Value)
				}
			}
			out, err := c.DescribeCapacityReservation(ctx, &elb.DescribeCapacityReservationInput{LoadBalancerArn: lb.LoadBalancerArn})
			if err == nil && out.MinimumLoadBalancerCapacity != nil {
				t.Errorf("capacity %+v", out.MinimumLoadBalancerCapacity)
			}
			return errors.Join(err, tagsReadAndChanged(ctx, c, lb.LoadBalancerArn))
		}},
		{"aws_lb/update", func() error {
			changed := pairs(balancerAttr, "access_logs.s3.enabled", "true", "access_logs.s3.bucket", "logs", "access_logs.s3.prefix", "web", "idle_timeout.timeout_seconds", "30")
			_, err := c.ModifyLoadBalancerAttributes(ctx, &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn, Attributes: changed})
			_, err2 := c.SetSecurityGroups(ctx, &elb.SetSecurityGroupsInput{LoadBalancerArn: lb.LoadBalancerArn, SecurityGroups: []string{b.group}})
			_, err3 := c.SetSubnets(ctx, &elb.SetSubnetsInput{LoadBalancerArn: lb.LoadBalancerArn, Subnets: b.subnets})
			_, err4 := c.SetIpAddressType(ctx, &elb.SetIpAddressTypeInput{LoadBalancerArn: lb.LoadBalancerArn, IpAddressType: types.IpAddressTypeIpv4})
			if have := attributes(); have["access_logs.s3.prefix"] != "web" || have["idle_timeout.timeout_seconds"] != "30" {
				t.Errorf("attributes %v", have)
			}
			return errors.Join(err, err2, err3, err4, describe())
		}},
		{"aws_lb/update, with an attribute that isn't known", func() error {
			_, err := c.ModifyLoadBalancerAttributes(ctx, &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn, Attributes: pairs(balancerAttr, "some.new.thing", "true", idleTimeoutKey, "60")})
			if err == nil || !slices.Contains(unknownKey.FindStringSubmatch(err.Error()), "some.new.thing") {
				t.Errorf("Terraform can't tell the key from %v", err)
			}
			return nil
		}},
		{"data aws_lb, aws_lbs", func() error {
			for _, in := range []elb.DescribeLoadBalancersInput{{}, {Names: []string{"web"}}} {
				if out, err := c.DescribeLoadBalancers(ctx, &in); err != nil || len(out.LoadBalancers) != 1 {
					return fmt.Errorf("DescribeLoadBalancers() = %+v, %w", out, err)
				}
			}
			return nil
		}},
		{"aws_lb/delete", func() error {
			protect := func(v string) error {
				_, err := c.ModifyLoadBalancerAttributes(ctx, &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn, Attributes: pairs(balancerAttr, protectionKey, v)})
				return err
			}
			if err := protect("true"); err != nil {
				return err
			}
			_, err := c.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancerArn})
			if e := (*types.OperationNotPermittedException)(nil); !errors.As(err, &e) {
				t.Errorf("delete of a protected one: %v", err)
			}
			if err := protect("false"); err != nil {
				return err
			}
			// It finds the interfaces by these two, and waits until there are none.
			_, name, _ := strings.Cut(*lb.LoadBalancerArn, ":loadbalancer/")
			if eni := b.interfaces()[0]; eni.Description != "ELB "+name || eni.RequesterID != "amazon-elb" {
				t.Errorf("interface %+v", eni)
			}
			if _, err := c.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancerArn}); err != nil {
				return err
			}
			if left := b.interfaces(); len(left) > 0 {
				t.Errorf("interfaces are left: %v", left)
			}
			_, err = c.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{*lb.LoadBalancerArn}})
			_, err2 := c.DescribeLoadBalancerAttributes(ctx, &elb.DescribeLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn})
			return errors.Join(gone[*types.LoadBalancerNotFoundException](err), gone[*types.LoadBalancerNotFoundException](err2))
		}},
	})
}

// active reports a load balancer as the controller does.
func (b *bench) active(arn *string) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) error {
		return state.LoadBalancerStatuses.Put(tx, &store.Object[state.LoadBalancerStatus]{Key: state.ELBKey(b.sc, "loadbalancer", *arn), Val: state.LoadBalancerStatus{State: state.Active}})
	})
}
