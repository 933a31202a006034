package fabric

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/network"
	"github.com/lotse-project/lotse/internal/state"
)

var (
	testScope = arn.Scope{Account: "000000000000", Region: "eu-west-1"}
	testPool  = netip.MustParsePrefix("127.64.3.0/24")

	addr   = netip.MustParseAddr
	prefix = netip.MustParsePrefix
	// values of netip compare by ==.
	netips = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
)

// sample is a VPC with a task and a balancer.
func sample() records {
	return records{
		vpc:     state.VPC{Scope: testScope, ID: "vpc-1", CIDR: "172.31.0.0/16"},
		subnets: []state.Subnet{{Scope: testScope, ID: "subnet-a", VPC: "vpc-1", CIDR: "172.31.0.0/20"}, {Scope: testScope, ID: "subnet-b", VPC: "vpc-1", CIDR: "172.31.16.0/20"}},
		groups: []state.SecurityGroup{
			{ID: "sg-lb", VPC: "vpc-1", Ingress: []state.SecurityGroupRule{{ID: "sgr-1", Protocol: "tcp", From: 80, To: 81, CIDR: "0.0.0.0/0"}},
				Egress: []state.SecurityGroupRule{{ID: "sgr-2", Protocol: "-1", From: -1, To: -1, CIDR: "0.0.0.0/0"}}},
			{ID: "sg-web", VPC: "vpc-1", Ingress: []state.SecurityGroupRule{
				{ID: "sgr-3", Protocol: "tcp", From: 8080, To: 8080, Group: "sg-lb"},
				{ID: "sgr-4", Protocol: "udp", From: 0, To: 65535, CIDR: "10.0.0.0/8"},
				{ID: "sgr-5", Protocol: "icmp", From: -1, To: -1, CIDR: "10.0.0.0/8"},
				{ID: "sgr-6", Protocol: "icmp", From: 8, To: 0, CIDR: "10.0.0.0/8"},
				{ID: "sgr-7", Protocol: "50", From: -1, To: -1, Group: "sg-web"}}},
		},
		interfaces: []state.NetworkInterface{
			{Scope: testScope, ID: "eni-1", VPC: "vpc-1", Subnet: "subnet-a", Zone: "eu-west-1a", Address: "172.31.0.4", Public: "127.64.3.9", Groups: []string{"sg-web", "sg-gone"}, Task: "t1"},
			{Scope: testScope, ID: "eni-2", VPC: "vpc-1", Subnet: "subnet-b", Zone: "eu-west-1b", Address: "172.31.16.4", Public: "127.64.99.9", Groups: []string{"sg-lb"}},
		},
	}
}

func TestIntent(t *testing.T) {
	got, err := intent(sample(), testPool)
	if err != nil {
		t.Fatal(err)
	}
	want := network.Intent{Services: []network.Service{{Addr: addr("169.254.170.2"), Proto: 6, Port: 4566}},
		ID: "vpc-1", CIDR: prefix("172.31.0.0/16"), Subnets: []netip.Prefix{prefix("172.31.0.0/20"), prefix("172.31.16.0/20")},
		Groups: []network.Group{
			{ID: "sg-lb", In: []network.Rule{{Proto: 6, Lo: 80, Hi: 81, CIDR: prefix("0.0.0.0/0")}}, Out: []network.Rule{{CIDR: prefix("0.0.0.0/0")}}},
			{ID: "sg-web", In: []network.Rule{
				{Proto: 6, Lo: 8080, Hi: 8080, Group: "sg-lb"},
				{Proto: 17, Hi: 65535, CIDR: prefix("10.0.0.0/8")},
				{Proto: 1, Lo: 65535, Hi: 65535, CIDR: prefix("10.0.0.0/8")},
				{Proto: 1, Lo: 8, CIDR: prefix("10.0.0.0/8")},
				{Proto: 50, Group: "sg-web"}}},
		},
		ENIs: []network.ENI{
			{ID: "eni-1", Addr: addr("172.31.0.4"), Subnet: prefix("172.31.0.0/20"), Groups: []string{"sg-web"}, Public: addr("127.64.3.9"), Task: "t1"},
			{ID: "eni-2", Addr: addr("172.31.16.4"), Subnet: prefix("172.31.16.0/20"), Groups: []string{"sg-lb"}, Local: true}, // its public address is of no pool of ours
		},
	}
	if d := cmp.Diff(want, got, netips, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("intent (-want +got):\n%s", d)
	}
}

func TestIntent_RefusesWhatItCannotRead(t *testing.T) {
	for what, spoil := range map[string]func(*records){
		"VPC":       func(r *records) { r.vpc.CIDR = "x" },
		"subnet":    func(r *records) { r.subnets[0].CIDR = "x" },
		"no subnet": func(r *records) { r.subnets = r.subnets[:1] },
		"address":   func(r *records) { r.interfaces[0].Address = "" },
		"CIDR":      func(r *records) { r.groups[0].Egress[0].CIDR = "" },
		"protocol":  func(r *records) { r.groups[0].Ingress[0].Protocol = "0" },
	} {
		r := sample()
		spoil(&r)
		if in, err := intent(r, testPool); err == nil {
			t.Errorf("a bad %s became %+v", what, in)
		}
	}
}

func TestIntent_LeavesTheRecordsAlone(t *testing.T) {
	r := sample()
	if _, err := intent(r, testPool); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), r, cmp.AllowUnexported(records{})); d != "" {
		t.Errorf("records changed (-want +got):\n%s", d)
	}
}
