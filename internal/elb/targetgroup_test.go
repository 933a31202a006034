package elb

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

func TestCreateTargetGroup_HasAWSsDefaults(t *testing.T) {
	b := newBench(t)
	g := b.targetGroup("web")
	if *g.HealthCheckIntervalSeconds != 30 || *g.HealthCheckTimeoutSeconds != 5 || *g.HealthyThresholdCount != 5 || *g.UnhealthyThresholdCount != 2 ||
		*g.Matcher.HttpCode != "200" || *g.HealthCheckPath != "/" || *g.HealthCheckPort != "traffic-port" || *g.ProtocolVersion != "HTTP1" {
		t.Errorf("defaults: %+v", g)
	}
	if again := b.targetGroup("web"); *again.TargetGroupArn != *g.TargetGroupArn {
		t.Errorf("created again: %s, want %s", *again.TargetGroupArn, *g.TargetGroupArn)
	}
	in := groupInput(b, "web")
	in.HealthCheckPath = aws.String("/health")
	_, err := b.CreateTargetGroup(b.ctx, in)
	wantError(t, "another path", err, "DuplicateTargetGroupName", "A target group with the same name 'web' exists, but with different settings")
}

func TestCreateTargetGroup_Refusals(t *testing.T) {
	b := newBench(t)
	type in = *elb.CreateTargetGroupInput
	for _, tc := range []struct {
		name, code, text string
		change           func(in)
	}{
		{"instance", "ValidationError", "", func(i in) { i.TargetType = "" }},
		{"lambda", "ValidationError", "", func(i in) { i.TargetType = types.TargetTypeEnumLambda }},
		{"no port", "ValidationError", "A target group of type 'ip' must have a protocol and a port", func(i in) { i.Port = nil }},
		{"TCP", "UnsupportedProtocol", "", func(i in) { i.Protocol = types.ProtocolEnumTcp }},
		{"HTTP3", "ValidationError", "Protocol version 'HTTP3' must be one of 'GRPC, HTTP1, HTTP2'", func(i in) { i.ProtocolVersion = aws.String("HTTP3") }},
		{"GrpcCode of HTTP1", "InvalidConfigurationRequest", "", func(i in) { i.Matcher = &types.Matcher{GrpcCode: aws.String("0")} }},
		{"HttpCode of gRPC", "InvalidConfigurationRequest", "", func(i in) {
			i.ProtocolVersion, i.Matcher = aws.String("GRPC"), &types.Matcher{HttpCode: aws.String("200")}
		}},
		{"GrpcCode", "ValidationError", "GrpcCode must be like 0 | 0-5 | 0,1 ...", func(i in) {
			i.ProtocolVersion, i.Matcher = aws.String("GRPC"), &types.Matcher{GrpcCode: aws.String("100")}
		}},
		{"check by TCP", "ValidationError", "Health check protocol 'TCP' must be one of 'HTTP, HTTPS'", func(i in) { i.HealthCheckProtocol = types.ProtocolEnumTcp }},
		{"no VPC", "ValidationError", "", func(i in) { i.VpcId = nil }},
		{"unknown VPC", "ValidationError", "The VPC ID 'vpc-x' is not found", func(i in) { i.VpcId = aws.String("vpc-x") }},
		{"timeout", "ValidationError", "Health check timeout '30' must be smaller than the interval '30'", func(i in) { i.HealthCheckTimeoutSeconds = aws.Int32(30) }},
		{"interval", "ValidationError", "", func(i in) { i.HealthCheckIntervalSeconds = aws.Int32(4) }},
		{"matcher", "ValidationError", "HttpCode must be like 200 | 200-399 | 200,201 ...", func(i in) { i.Matcher = &types.Matcher{HttpCode: aws.String("500")} }},
		{"path", "ValidationError", "", func(i in) { i.HealthCheckPath = aws.String("health") }},
		{"port", "ValidationError", "", func(i in) { i.HealthCheckPort = aws.String("0") }},
		{"disabled", "InvalidConfigurationRequest", "", func(i in) { i.HealthCheckEnabled = aws.Bool(false) }},
		{"name", "ValidationError", "Target group name '-x' cannot begin or end with '-'", func(i in) { i.Name = aws.String("-x") }},
		{"control port", "ValidationError", "Lotse does not act on TargetControlPort yet, so it does not accept it.", func(i in) { i.TargetControlPort = aws.Int32(3000) }},
	} {
		i := groupInput(b, "web")
		tc.change(i)
		_, err := b.CreateTargetGroup(b.ctx, i)
		wantError(t, tc.name, err, tc.code, tc.text)
	}
}

func TestModifyTargetGroup(t *testing.T) {
	b := newBench(t)
	g := b.targetGroup("web")
	got := must(b.ModifyTargetGroup(b.ctx, &elb.ModifyTargetGroupInput{TargetGroupArn: g.TargetGroupArn, HealthCheckPath: aws.String("/health?x=1"),
		HealthCheckIntervalSeconds: aws.Int32(5), HealthCheckTimeoutSeconds: aws.Int32(2), Matcher: &types.Matcher{HttpCode: aws.String("200-399")}}))(t).TargetGroups[0]
	if *got.HealthCheckPath != "/health?x=1" || *got.HealthCheckIntervalSeconds != 5 || *got.Matcher.HttpCode != "200-399" || *got.HealthyThresholdCount != 5 {
		t.Errorf("modified: %+v", got)
	}
	_, err := b.ModifyTargetGroup(b.ctx, &elb.ModifyTargetGroupInput{TargetGroupArn: g.TargetGroupArn, HealthCheckTimeoutSeconds: aws.Int32(5)})
	wantError(t, "against what is there", err, "ValidationError", "")
}

func TestTargetGroupAttributes(t *testing.T) {
	b := newBench(t)
	g := b.targetGroup("web")
	set := func(k, v string) error {
		_, err := b.ModifyTargetGroupAttributes(b.ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: g.TargetGroupArn, Attributes: []types.TargetGroupAttribute{{Key: &k, Value: &v}}})
		return err
	}
	if err := set("deregistration_delay.timeout_seconds", "0"); err != nil {
		t.Error(err)
	}
	wantError(t, "range", set("deregistration_delay.timeout_seconds", "3601"), "ValidationError", "'deregistration_delay.timeout_seconds' value '3601' must be between '0-3600' inclusive")
	for k, bad := range map[string]string{"load_balancing.algorithm.type": "random", "slow_start.duration_seconds": "29", "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "0",
		"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "101",
		"target_group_health.dns_failover.minimum_healthy_targets.count":                 "0", "target_group_health.dns_failover.minimum_healthy_targets.percentage": "0", "load_balancing.cross_zone.enabled": "on"} {
		wantError(t, k, set(k, bad), "ValidationError", "")
	}
	for k, bad := range map[string]string{"load_balancing.algorithm.anomaly_mitigation": "on", /* with round robin */
		"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "2"} {
		wantError(t, k, set(k, bad), "InvalidConfigurationRequest", "")
	}
	for _, kv := range [][2]string{{"slow_start.duration_seconds", "30"}, {"load_balancing.algorithm.type", "round_robin"}, {"target_group_health.dns_failover.minimum_healthy_targets.count", "off"},
		{"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "2"}, {"target_group_health.dns_failover.minimum_healthy_targets.count", "2"},
		{"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "50"}, {"target_group_health.dns_failover.minimum_healthy_targets.percentage", "50"},
		{"load_balancing.cross_zone.enabled", "true"}, {"load_balancing.cross_zone.enabled", "false"}} {
		if err := set(kv[0], kv[1]); err != nil {
			t.Error(err)
		}
		if got := b.groupAttribute(g.TargetGroupArn, kv[0]); got != kv[1] {
			t.Errorf("%s = %s, want %s", kv[0], got, kv[1])
		}
	}
	wantError(t, "failover after routing to unhealthy ones", set("target_group_health.dns_failover.minimum_healthy_targets.count", "1"), "InvalidConfigurationRequest", "")
	wantError(t, "as a percentage", set("target_group_health.dns_failover.minimum_healthy_targets.percentage", "49"), "InvalidConfigurationRequest", "")
	wantError(t, "stickiness within a zone", set("stickiness.enabled", "true"), "InvalidConfigurationRequest", "")
	if err := set("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"); err != nil {
		t.Error(err)
	}
	wantError(t, "slow start with another algorithm", set("load_balancing.algorithm.type", "weighted_random"), "InvalidConfigurationRequest", "")
	if err := errors.Join(set("slow_start.duration_seconds", "0"), set("load_balancing.algorithm.type", "weighted_random")); err != nil {
		t.Error(err)
	}
	if err := set("load_balancing.algorithm.anomaly_mitigation", "on"); err != nil || b.groupAttribute(g.TargetGroupArn, "load_balancing.algorithm.anomaly_mitigation") != "on" {
		t.Errorf("mitigation: %v", err)
	}
	wantError(t, "mitigation, neither on nor off", set("load_balancing.algorithm.anomaly_mitigation", "true"), "ValidationError", "")
	wantError(t, "mitigation is on", set("load_balancing.algorithm.type", "round_robin"), "InvalidConfigurationRequest", "")
	wantError(t, "no boolean", set("stickiness.enabled", "yes"), "ValidationError", "")
	wantError(t, "type", set("stickiness.type", "source_ip"), "ValidationError", "")
	wantError(t, "duration", set("stickiness.lb_cookie.duration_seconds", "604801"), "ValidationError", "'stickiness.lb_cookie.duration_seconds' value '604801' must be between '1-604800' inclusive")
	for _, name := range []string{"AWSALB", "AWSALBAPP-0", "AWSALBTGx", "a b", "a=b"} {
		wantError(t, name, set("stickiness.app_cookie.cookie_name", name), "ValidationError", "")
	}
	for _, kv := range [][2]string{{"stickiness.enabled", "true"}, {"stickiness.lb_cookie.duration_seconds", "7"}, {"stickiness.app_cookie.duration_seconds", "8"}} {
		if err := set(kv[0], kv[1]); err != nil {
			t.Error(err)
		}
	}
	wantError(t, "no name", set("stickiness.type", "app_cookie"), "ValidationError", "")
	if err := errors.Join(set("stickiness.app_cookie.cookie_name", "SESSION"), set("stickiness.type", "app_cookie")); err != nil {
		t.Error(err)
	}
	for _, a := range must(b.DescribeTargetGroupAttributes(b.ctx, &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: g.TargetGroupArn}))(t).Attributes {
		if *a.Key == delayKey && *a.Value != "0" {
			t.Errorf("%s = %s, want 0", *a.Key, *a.Value)
		}
	}
}

func (b *bench) groupAttribute(group *string, key string) string {
	b.t.Helper()
	for _, a := range must(b.DescribeTargetGroupAttributes(b.ctx, &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: group}))(b.t).Attributes {
		if *a.Key == key {
			return *a.Value
		}
	}
	return ""
}

// health is the state and reason of the group's targets by address.
func (b *bench) health(group *string, targets ...types.TargetDescription) map[string]string {
	b.t.Helper()
	out := map[string]string{}
	for _, d := range must(b.DescribeTargetHealth(b.ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: group, Targets: targets}))(b.t).TargetHealthDescriptions {
		out[*d.Target.Id+":"+*d.HealthCheckPort] = string(d.TargetHealth.State) + "/" + string(d.TargetHealth.Reason)
	}
	return out
}

func TestTargetHealth_FromRegistrationToDraining(t *testing.T) {
	b := newBench(t)
	g := b.targetGroup("web")
	targets := []types.TargetDescription{{Id: aws.String("172.31.0.9")}, {Id: aws.String("172.31.0.9"), Port: aws.Int32(9090)}}
	must(b.RegisterTargets(b.ctx, &elb.RegisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: targets}))(t)
	check := func(what, want string) {
		t.Helper()
		if got := b.health(g.TargetGroupArn); len(got) != 2 || got["172.31.0.9:8080"] != want {
			t.Errorf("%s: %v, want %s", what, got, want)
		}
	}
	check("not in use", "unused/Target.NotInUse")
	b.listener(b.balancer("web").LoadBalancerArn, 80, forward(g.TargetGroupArn)...)
	check("in use", "initial/Elb.RegistrationInProgress")
	b.update(func(tx *store.WriteTx) error {
		key := state.ELBKey(b.sc, "targetgroup", *g.TargetGroupArn) + "/172.31.0.9:8080"
		return state.TargetHealths.Put(tx, &store.Object[state.TargetHealth]{Key: key, Val: state.TargetHealth{State: "healthy"}})
	})
	check("reported", "healthy/")
	anomaly := func(include ...types.DescribeTargetHealthInputIncludeEnum) *types.AnomalyDetection {
		t.Helper()
		out := must(b.DescribeTargetHealth(b.ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: g.TargetGroupArn, Targets: targets[:1], Include: include}))(t)
		return out.TargetHealthDescriptions[0].AnomalyDetection
	}
	for _, d := range must(b.DescribeTargetHealth(b.ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: g.TargetGroupArn}))(t).TargetHealthDescriptions {
		if o := d.AdministrativeOverride; o == nil || o.State != types.TargetAdministrativeOverrideStateEnumNoOverride || o.Reason != "AdministrativeOverride.NoOverride" || *o.Description != "No override is currently active on target" {
			t.Errorf("override %+v", o)
		}
	}
	if got := anomaly(); got != nil {
		t.Errorf("not asked for: %+v", got)
	}
	if got := anomaly("All"); got == nil || got.Result != "normal" || got.MitigationInEffect != "no" {
		t.Errorf("a normal one: %+v", got)
	}
	b.update(func(tx *store.WriteTx) error {
		o, err := state.TargetHealths.Get(tx, state.ELBKey(b.sc, "targetgroup", *g.TargetGroupArn)+"/172.31.0.9:8080")
		o.Val.Anomalous, o.Val.Mitigated = true, true
		return errors.Join(err, state.TargetHealths.Put(tx, &o))
	})
	if got := anomaly("AnomalyDetection"); got == nil || got.Result != "anomalous" || got.MitigationInEffect != "yes" {
		t.Errorf("an anomalous one: %+v", got)
	}
	_, err := b.DescribeTargetHealth(b.ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: g.TargetGroupArn, Include: []types.DescribeTargetHealthInputIncludeEnum{"Anomaly"}})
	wantError(t, "another word", err, "ValidationError", "")
	if got := b.health(g.TargetGroupArn, types.TargetDescription{Id: aws.String("172.31.0.77")}); got["172.31.0.77:8080"] != "unused/Target.NotRegistered" || len(got) != 1 {
		t.Errorf("of another: %v", got)
	}
	must(b.DeregisterTargets(b.ctx, &elb.DeregisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: []types.TargetDescription{{Id: aws.String("172.31.0.9")}, {Id: aws.String("172.31.0.88")}}}))(t)
	check("deregistered", "draining/Target.DeregistrationInProgress")
	if got := b.health(g.TargetGroupArn); got["172.31.0.9:9090"] != "initial/Elb.RegistrationInProgress" {
		t.Errorf("at the group's port only: %v", got)
	}
	must(b.DeregisterTargets(b.ctx, &elb.DeregisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: targets}))(t)
	if got := b.health(g.TargetGroupArn); got["172.31.0.9:9090"] != "draining/Target.DeregistrationInProgress" {
		t.Errorf("at its own port: %v", got)
	}
}

func TestRegisterTargets_Refusals(t *testing.T) {
	b := newBench(t)
	g := b.targetGroup("web")
	for _, tc := range []struct {
		name, code string
		t          types.TargetDescription
	}{
		{"outside the VPC", "ValidationError", types.TargetDescription{Id: aws.String("10.9.0.1")}},
		{"outside the VPC, in all zones", "ValidationError", types.TargetDescription{Id: aws.String("10.9.0.1"), AvailabilityZone: aws.String("all")}},
		{"an instance", "ValidationError", types.TargetDescription{Id: aws.String("i-0123")}},
		{"port 0", "ValidationError", types.TargetDescription{Id: aws.String("172.31.0.9"), Port: aws.Int32(70000)}},
		{"zone", "ValidationError", types.TargetDescription{Id: aws.String("172.31.0.9"), AvailabilityZone: aws.String("us-east-1z")}},
		{"QUIC", "ValidationError", types.TargetDescription{Id: aws.String("172.31.0.9"), QuicServerId: aws.String("x")}},
	} {
		_, err := b.RegisterTargets(b.ctx, &elb.RegisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: []types.TargetDescription{{Id: aws.String("172.31.0.8")}, tc.t}})
		wantError(t, tc.name, err, tc.code, "")
	}
	if got := b.health(g.TargetGroupArn); len(got) != 0 {
		t.Errorf("registered in spite of an error: %v", got)
	}
	elsewhere := &elb.RegisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: []types.TargetDescription{{Id: aws.String("172.31.0.8"), AvailabilityZone: aws.String("us-east-1c")}, {Id: aws.String("172.31.0.9"), AvailabilityZone: aws.String("all")}}}
	must(b.RegisterTargets(b.ctx, elsewhere))(t) // a zone means nothing then
	must(b.ModifyTargetGroupAttributes(b.ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: g.TargetGroupArn, Attributes: []types.TargetGroupAttribute{{Key: aws.String("load_balancing.cross_zone.enabled"), Value: aws.String("false")}}}))(t)
	_, err := b.RegisterTargets(b.ctx, elsewhere)
	wantError(t, "another zone than the address's", err, "ValidationError", "")
	for _, tc := range []types.TargetDescription{{Id: aws.String("x")}, {Id: aws.String("172.31.0.8"), Port: aws.Int32(0)}, {Id: aws.String("172.31.0.8"), AvailabilityZone: aws.String("x")}} {
		_, err := b.DescribeTargetHealth(b.ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: g.TargetGroupArn, Targets: []types.TargetDescription{tc}})
		wantError(t, "health", err, "ValidationError", "")
		_, err = b.DeregisterTargets(b.ctx, &elb.DeregisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: []types.TargetDescription{tc}})
		wantError(t, "deregister", err, "ValidationError", "")
	}
	// It means something now.
	out := must(b.DescribeTargetHealth(b.ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: g.TargetGroupArn,
		Targets: []types.TargetDescription{{Id: aws.String("172.31.0.8"), AvailabilityZone: aws.String("us-east-1c")}}}))(t).TargetHealthDescriptions
	if len(out) != 1 || out[0].TargetHealth.Reason != types.TargetHealthReasonEnumNotRegistered {
		t.Errorf("the target in another zone: %+v", out)
	}
}

func TestTags(t *testing.T) {
	b := newBench(t)
	l, g := b.balancer("web"), b.targetGroup("web")
	li := b.listener(l.LoadBalancerArn, 80)
	r := b.rule(li.ListenerArn, 1, g.TargetGroupArn)
	arns := []string{*l.LoadBalancerArn, *g.TargetGroupArn, *li.ListenerArn, *r.RuleArn}
	tags := []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}, {Key: aws.String("b"), Value: aws.String("2")}}
	for _, a := range arns {
		must(b.AddTags(b.ctx, &elb.AddTagsInput{ResourceArns: []string{a}, Tags: tags}))(t)
	}
	must(b.RemoveTags(b.ctx, &elb.RemoveTagsInput{ResourceArns: arns, TagKeys: []string{"a", "z"}}))(t)
	for _, d := range must(b.DescribeTags(b.ctx, &elb.DescribeTagsInput{ResourceArns: arns}))(t).TagDescriptions {
		if len(d.Tags) != 1 || *d.Tags[0].Key != "b" || *d.Tags[0].Value != "2" {
			t.Errorf("tags of %s: %v, want b=2", *d.ResourceArn, d.Tags)
		}
	}
	_, err := b.DescribeTags(b.ctx, &elb.DescribeTagsInput{ResourceArns: []string{*g.TargetGroupArn + "0"}})
	wantError(t, "unknown", err, "TargetGroupNotFound", "")
	for name, c := range map[string]struct {
		in   elb.AddTagsInput
		text string
	}{
		"two":               {elb.AddTagsInput{ResourceArns: arns, Tags: tags}, "Only one resource can be tagged at a time"},
		"no tags":           {elb.AddTagsInput{ResourceArns: arns[:1]}, "Tags must be specified"},
		"another account's": {elb.AddTagsInput{ResourceArns: []string{"arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/a/0123456789abcdef"}, Tags: tags}, "'arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/a/0123456789abcdef' must be in ARN format"},
		"a trust store":     {elb.AddTagsInput{ResourceArns: []string{"arn:aws:elasticloadbalancing:us-east-1:000000000000:truststore/a/0123456789abcdef"}, Tags: tags}, "'arn:aws:elasticloadbalancing:us-east-1:000000000000:truststore/a/0123456789abcdef' must be in ARN format"},
		"a star":            {elb.AddTagsInput{ResourceArns: arns[:1], Tags: []types.Tag{tags[0], {Key: aws.String("b"), Value: aws.String("*")}}}, `1 validation error detected: Value '*' at 'tags.2.member.value' failed to satisfy constraint: Member must satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`},
	} {
		_, err := b.AddTags(b.ctx, &c.in)
		wantError(t, name, err, "ValidationError", c.text)
	}
}

func TestTargetGroup_Protocols(t *testing.T) {
	b := newBench(t)
	in := groupInput(b, "grpc")
	in.ProtocolVersion = aws.String("GRPC")
	g := must(b.CreateTargetGroup(b.ctx, in))(t).TargetGroups[0]
	if *g.ProtocolVersion != "GRPC" || *g.HealthCheckPath != "/AWS.ALB/healthcheck" || *g.Matcher.GrpcCode != "12" || g.Matcher.HttpCode != nil {
		t.Errorf("GRPC = %+v", g)
	}
	m := must(b.ModifyTargetGroup(b.ctx, &elb.ModifyTargetGroupInput{TargetGroupArn: g.TargetGroupArn, Matcher: &types.Matcher{GrpcCode: aws.String("0-5,12")}}))(t).TargetGroups[0]
	if *m.Matcher.GrpcCode != "0-5,12" {
		t.Errorf("matcher = %v", *m.Matcher.GrpcCode)
	}
	in = groupInput(b, "tls")
	in.Protocol, in.ProtocolVersion, in.HealthCheckProtocol = types.ProtocolEnumHttps, aws.String("HTTP2"), types.ProtocolEnumHttps
	if s := must(b.CreateTargetGroup(b.ctx, in))(t).TargetGroups[0]; s.Protocol != types.ProtocolEnumHttps || *s.ProtocolVersion != "HTTP2" || s.HealthCheckProtocol != types.ProtocolEnumHttps || *s.Matcher.HttpCode != "200" {
		t.Errorf("HTTPS, HTTP2 = %+v", s)
	}
	in.ProtocolVersion = aws.String("HTTP1")
	_, err := b.CreateTargetGroup(b.ctx, in)
	wantError(t, "another version", err, "DuplicateTargetGroupName", "")

	lb := b.balancer("web")
	_, err = b.CreateListener(b.ctx, &elb.CreateListenerInput{LoadBalancerArn: lb.LoadBalancerArn, Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp, DefaultActions: forward(g.TargetGroupArn)})
	wantError(t, "gRPC behind HTTP", err, "InvalidConfigurationRequest", "Listener protocol 'HTTP' is not supported with a target group with the protocol-version 'GRPC'")
	in.Name, in.ProtocolVersion = aws.String("two"), aws.String("HTTP2")
	two := must(b.CreateTargetGroup(b.ctx, in))(t).TargetGroups[0]
	_, err = b.CreateListener(b.ctx, &elb.CreateListenerInput{LoadBalancerArn: lb.LoadBalancerArn, Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp, DefaultActions: forward(two.TargetGroupArn)})
	wantError(t, "HTTP/2 behind HTTP", err, "InvalidConfigurationRequest", "Listener protocol 'HTTP' is not supported with a target group with the protocol-version 'HTTP2'")
	secure := b.httpsInput(lb.LoadBalancerArn, b.certificate("one"))
	secure.DefaultActions = forward(g.TargetGroupArn)
	must(b.CreateListener(b.ctx, secure))(t)
}
