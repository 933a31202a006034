package elb

import (
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

func (b *bench) interfaces() (out []state.NetworkInterface) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) error {
		for o, err := range state.NetworkInterfaces.List(tx, b.sc.Key()) {
			if err != nil {
				return err
			}
			out = append(out, o.Val)
		}
		return nil
	})
	return out
}

func TestCreateLoadBalancer_HasAnInterfaceInEachSubnet(t *testing.T) {
	b := newBench(t)
	l := b.balancer("Web")
	if !regexp.MustCompile(`^web-\d{10}\.us-east-1\.elb\.localhost$`).MatchString(*l.DNSName) {
		t.Errorf("DNSName = %s", *l.DNSName)
	}
	if !regexp.MustCompile(`^arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/Web/[0-9a-f]{16}$`).MatchString(*l.LoadBalancerArn) {
		t.Errorf("LoadBalancerArn = %s", *l.LoadBalancerArn)
	}
	if l.State.Code != types.LoadBalancerStateEnumProvisioning || l.Scheme != types.LoadBalancerSchemeEnumInternetFacing || !slices.Equal(l.SecurityGroups, []string{b.group}) {
		t.Errorf("state %s, scheme %s, groups %v, want provisioning, internet-facing and the default group", l.State.Code, l.Scheme, l.SecurityGroups)
	}
	enis := b.interfaces()
	if len(enis) != 2 {
		t.Fatalf("%d interfaces, want 2", len(enis))
	}
	for _, e := range enis {
		if want := "ELB " + (*l.LoadBalancerArn)[strings.Index(*l.LoadBalancerArn, "app/"):]; e.Description != want || e.RequesterID != "amazon-elb" || e.Task != "" {
			t.Errorf("interface %+v, want description %q, requester amazon-elb", e, want)
		}
		if !strings.HasPrefix(e.Public, "127.64.7.") {
			t.Errorf("public address %q, want one of the pool", e.Public)
		}
	}
	must(b.DeleteLoadBalancer(b.ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: l.LoadBalancerArn}))(t)
	if enis := b.interfaces(); len(enis) != 0 {
		t.Errorf("left after the deletion: %v", enis)
	}
	must(b.DeleteLoadBalancer(b.ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: l.LoadBalancerArn}))(t) // gone is no error
}

func TestCreateLoadBalancer_InternalHasNoPublicAddress(t *testing.T) {
	b := newBench(t)
	l := must(b.CreateLoadBalancer(b.ctx, &elb.CreateLoadBalancerInput{Name: aws.String("web"), Subnets: b.subnets, Scheme: types.LoadBalancerSchemeEnumInternal}))(t).LoadBalancers[0]
	if !strings.HasPrefix(*l.DNSName, "internal-web-") {
		t.Errorf("DNSName = %s, want internal-web-…", *l.DNSName)
	}
	for _, e := range b.interfaces() {
		if e.Public != "" {
			t.Errorf("an internal balancer's interface has the public address %s", e.Public)
		}
	}
}

func TestCreateLoadBalancer_TheSameAgainIsTheOneThatIsThere(t *testing.T) {
	b := newBench(t)
	first := b.balancer("web")
	if again := b.balancer("web"); *again.LoadBalancerArn != *first.LoadBalancerArn || len(b.interfaces()) != 2 {
		t.Errorf("created again: %s with %d interfaces, want %s with 2", *again.LoadBalancerArn, len(b.interfaces()), *first.LoadBalancerArn)
	}
	_, err := b.CreateLoadBalancer(b.ctx, &elb.CreateLoadBalancerInput{Name: aws.String("web"), Subnets: b.subnets[1:]})
	wantError(t, "other subnets", err, "DuplicateLoadBalancerName", "A load balancer with the same name 'web' exists, but with different settings")
}

func TestCreateLoadBalancer_Refusals(t *testing.T) {
	b := newBench(t)
	type in = elb.CreateLoadBalancerInput
	for _, tc := range []struct {
		name string
		in   in
		code string
		text string
	}{
		{"one subnet", in{Name: aws.String("web"), Subnets: b.subnets[:1]}, "ValidationError", "At least two subnets in two different Availability Zones must be specified"},
		{"one zone", in{Name: aws.String("web"), Subnets: []string{b.subnets[0], b.subnets[0]}}, "InvalidConfigurationRequest", "A load balancer cannot be attached to multiple subnets in the same Availability Zone"},
		{"no subnet", in{Name: aws.String("web"), Subnets: []string{b.subnets[0], "subnet-x"}}, "SubnetNotFound", "The subnet ID 'subnet-x' does not exist"},
		{"no group", in{Name: aws.String("web"), Subnets: b.subnets, SecurityGroups: []string{"sg-x"}}, "InvalidSecurityGroup", ""},
		{"long name", in{Name: aws.String(strings.Repeat("x", 33)), Subnets: b.subnets}, "ValidationError", ""},
		{"hyphen", in{Name: aws.String("web-"), Subnets: b.subnets}, "ValidationError", "Load balancer name 'web-' cannot begin or end with '-'"},
		{"underscore", in{Name: aws.String("a_b"), Subnets: b.subnets}, "ValidationError", ""},
		{"internal-", in{Name: aws.String("internal-web"), Subnets: b.subnets}, "ValidationError", ""},
		{"network", in{Name: aws.String("web"), Subnets: b.subnets, Type: types.LoadBalancerTypeEnumNetwork}, "ValidationError", ""},
		{"dualstack", in{Name: aws.String("web"), Subnets: b.subnets, IpAddressType: types.IpAddressTypeDualstack}, "ValidationError", ""},
		{"a fixed address", in{Name: aws.String("web"), SubnetMappings: []types.SubnetMapping{{SubnetId: &b.subnets[0], PrivateIPv4Address: aws.String("172.31.0.9")}, {SubnetId: &b.subnets[1]}}},
			"ValidationError", "Lotse does not act on PrivateIPv4Address in SubnetMappings yet, so it does not accept it."},
		{"tag twice", in{Name: aws.String("web"), Subnets: b.subnets, Tags: []types.Tag{{Key: aws.String("a")}, {Key: aws.String("a")}}}, "DuplicateTagKeys", ""},
	} {
		_, err := b.CreateLoadBalancer(b.ctx, &tc.in)
		wantError(t, tc.name, err, tc.code, tc.text)
	}
	if enis := b.interfaces(); len(enis) != 0 {
		t.Errorf("refused, and left %d interfaces", len(enis))
	}
}

func TestDescribeLoadBalancers(t *testing.T) {
	b := newBench(t)
	for _, n := range []string{"a", "b", "c"} {
		b.balancer(n)
	}
	var names []string
	var marker *string
	for {
		out := must(b.DescribeLoadBalancers(b.ctx, &elb.DescribeLoadBalancersInput{PageSize: aws.Int32(2), Marker: marker}))(t)
		for _, l := range out.LoadBalancers {
			names = append(names, *l.LoadBalancerName)
		}
		if marker = out.NextMarker; marker == nil {
			break
		}
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("pages of 2: %v, want a b c", names)
	}
	_, err := b.DescribeLoadBalancers(b.ctx, &elb.DescribeLoadBalancersInput{Names: []string{"b", "x"}})
	wantError(t, "by name", err, "LoadBalancerNotFound", "Load balancers '[x]' not found")
	_, err = b.DescribeLoadBalancers(b.ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{b.sc.ARN("elasticloadbalancing", "loadbalancer/app/x/0000000000000000")}})
	wantError(t, "by ARN", err, "LoadBalancerNotFound", "One or more load balancers not found")
	_, err = b.DescribeLoadBalancers(b.ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{"x"}})
	wantError(t, "no ARN", err, "ValidationError", "")
}

func TestLoadBalancer_ShowsTheReportedState(t *testing.T) {
	b := newBench(t)
	l := b.balancer("web")
	key := state.ELBKey(b.sc, "loadbalancer", *l.LoadBalancerArn)
	b.update(func(tx *store.WriteTx) error {
		return state.LoadBalancerStatuses.Put(tx, &store.Object[state.LoadBalancerStatus]{Key: key, Val: state.LoadBalancerStatus{State: state.Active}})
	})
	got := must(b.DescribeLoadBalancers(b.ctx, &elb.DescribeLoadBalancersInput{Names: []string{"web"}}))(t).LoadBalancers[0]
	if got.State.Code != types.LoadBalancerStateEnumActive || len(got.AvailabilityZones) != 2 || *got.AvailabilityZones[0].ZoneName == "" {
		t.Errorf("state %s, zones %v, want active in two zones", got.State.Code, got.AvailabilityZones)
	}
}

func TestLoadBalancerAttributes(t *testing.T) {
	b := newBench(t)
	l := b.balancer("web")
	set := func(kv ...string) error {
		in := &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: l.LoadBalancerArn}
		for i := 0; i < len(kv); i += 2 {
			in.Attributes = append(in.Attributes, types.LoadBalancerAttribute{Key: &kv[i], Value: &kv[i+1]})
		}
		_, err := b.ModifyLoadBalancerAttributes(b.ctx, in)
		return err
	}
	if err := set("idle_timeout.timeout_seconds", "120", "deletion_protection.enabled", "true", "routing.http2.enabled", "true"); err != nil {
		t.Fatal(err)
	}
	wantError(t, "not acted on", set("waf.fail_open.enabled", "true"), "InvalidConfigurationRequest", "")
	if err := set("routing.http.preserve_host_header.enabled", "true", "routing.http.desync_mitigation_mode", "strictest", "client_keep_alive.seconds", "60"); err != nil {
		t.Fatal(err)
	}
	wantError(t, "no bucket", set("access_logs.s3.enabled", "true"), "InvalidConfigurationRequest", "")
	wantError(t, "bucket", set("access_logs.s3.bucket", "../x"), "ValidationError", "")
	wantError(t, "prefix", set("access_logs.s3.prefix", "../x"), "ValidationError", "")
	wantError(t, "prefix of AWS's", set("access_logs.s3.prefix", "a/AWSLogs"), "ValidationError", "")
	if err := set("access_logs.s3.enabled", "true", "access_logs.s3.bucket", "my-logs", "access_logs.s3.prefix", "web"); err != nil {
		t.Fatal(err)
	}
	wantError(t, "bucket taken away", set("access_logs.s3.bucket", ""), "InvalidConfigurationRequest", "")
	wantError(t, "no bucket for connections", set("connection_logs.s3.enabled", "true"), "InvalidConfigurationRequest", "")
	if err := set("connection_logs.s3.enabled", "true", "connection_logs.s3.bucket", "my-connections", "connection_logs.s3.prefix", "web"); err != nil {
		t.Fatal(err)
	}
	wantError(t, "mode", set("routing.http.desync_mitigation_mode", "lenient"), "ValidationError", "")
	wantError(t, "keep-alive", set("client_keep_alive.seconds", "59"), "ValidationError", "")
	wantError(t, "unknown", set("x", "y"), "ValidationError", "")
	wantError(t, "range", set("idle_timeout.timeout_seconds", "4001"), "ValidationError", "'idle_timeout.timeout_seconds' value '4001' must be between '1-4000' inclusive")
	wantError(t, "all or none", set("idle_timeout.timeout_seconds", "7", "deletion_protection.enabled", "maybe"), "ValidationError", "")
	wantError(t, "twice", set("idle_timeout.timeout_seconds", "7", "idle_timeout.timeout_seconds", "8"), "ValidationError", "Attribute key 'idle_timeout.timeout_seconds' has been specified more than once")
	got := map[string]string{}
	for _, a := range must(b.DescribeLoadBalancerAttributes(b.ctx, &elb.DescribeLoadBalancerAttributesInput{LoadBalancerArn: l.LoadBalancerArn}))(t).Attributes {
		got[*a.Key] = *a.Value
	}
	for k, v := range map[string]string{"idle_timeout.timeout_seconds": "120", "deletion_protection.enabled": "true", "routing.http.xff_header_processing.mode": "append",
		"routing.http.preserve_host_header.enabled": "true", "routing.http.desync_mitigation_mode": "strictest", "client_keep_alive.seconds": "60", "access_logs.s3.bucket": "my-logs",
		"connection_logs.s3.bucket": "my-connections", "connection_logs.s3.enabled": "true"} {
		if have, ok := got[k]; !ok || have != v {
			t.Errorf("%s = %q, want %q", k, have, v)
		}
	}
	_, err := b.DeleteLoadBalancer(b.ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: l.LoadBalancerArn})
	wantError(t, "protected", err, "OperationNotPermitted", "Load balancer '"+*l.LoadBalancerArn+"' cannot be deleted because deletion protection is enabled")
}

func TestSetSubnets_KeepsTheInterfacesThatStay(t *testing.T) {
	b := newBench(t)
	l := b.balancer("web")
	before := b.interfaces()
	out := must(b.SetSubnets(b.ctx, &elb.SetSubnetsInput{LoadBalancerArn: l.LoadBalancerArn, Subnets: b.subnets[1:]}))(t)
	if len(out.AvailabilityZones) != 2 || *out.AvailabilityZones[0].SubnetId != b.subnets[1] {
		t.Errorf("zones %v, want those of %v", out.AvailabilityZones, b.subnets[1:])
	}
	at := map[string]string{}
	for _, e := range b.interfaces() {
		at[e.Subnet] = e.ID
	}
	for _, e := range before {
		if id, there := at[e.Subnet]; there != (e.Subnet == b.subnets[1]) || there && id != e.ID {
			t.Errorf("interface of %s: %s, was %s", e.Subnet, id, e.ID)
		}
	}
	if len(at) != 2 || at[b.subnets[2]] == "" {
		t.Errorf("interfaces by subnet: %v, want in %v", at, b.subnets[1:])
	}
}

func TestSetSecurityGroups_ReachesTheInterfaces(t *testing.T) {
	b := newBench(t)
	l := b.balancer("web")
	g := state.SecurityGroup{Scope: b.sc, ID: "sg-00000000000000001", VPC: b.vpc, Name: "x"}
	b.update(func(tx *store.WriteTx) error {
		return state.SecurityGroups.Put(tx, &store.Object[state.SecurityGroup]{Key: b.sc.Key(g.ID), Val: g})
	})
	must(b.SetSecurityGroups(b.ctx, &elb.SetSecurityGroupsInput{LoadBalancerArn: l.LoadBalancerArn, SecurityGroups: []string{g.ID}}))(t)
	for _, e := range b.interfaces() {
		if !slices.Equal(e.Groups, []string{g.ID}) {
			t.Errorf("interface's groups %v, want %s", e.Groups, g.ID)
		}
	}
}
