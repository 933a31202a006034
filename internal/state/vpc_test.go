package state

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

var testScope = arn.Scope{Account: "000000000000", Region: "us-east-1"}

func vpcDB(t testing.TB) *store.DB {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "lotse.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func update(t testing.TB, db *store.DB, fn func(tx *store.WriteTx) error) {
	t.Helper()
	if err := db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// defaultSubnets makes the default VPC and gives its subnets, in order of their ranges.
func defaultSubnets(t testing.TB, tx *store.WriteTx, sc arn.Scope, cidr string) []Subnet {
	t.Helper()
	if err := EnsureDefaultVPC(tx, sc, netip.MustParsePrefix(cidr)); err != nil {
		t.Fatal(err)
	}
	var out []Subnet
	for s, err := range Subnets.List(tx, sc.Key()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s.Val)
	}
	slices.SortFunc(out, func(a, b Subnet) int {
		return netip.MustParsePrefix(a.CIDR).Addr().Compare(netip.MustParsePrefix(b.CIDR).Addr())
	})
	return out
}

func TestEnsureDefaultVPC_LikeAWS(t *testing.T) {
	for _, tc := range []struct {
		region, cidr string
		want         []Subnet
	}{
		{"us-east-1", "172.31.0.0/16", []Subnet{
			{CIDR: "172.31.0.0/20", Zone: "us-east-1a", ZoneID: "use1-az1"},
			{CIDR: "172.31.16.0/20", Zone: "us-east-1b", ZoneID: "use1-az2"},
			{CIDR: "172.31.32.0/20", Zone: "us-east-1c", ZoneID: "use1-az3"}}},
		{"ap-southeast-2", "10.9.8.0/24", []Subnet{
			{CIDR: "10.9.8.0/26", Zone: "ap-southeast-2a", ZoneID: "apse2-az1"},
			{CIDR: "10.9.8.64/26", Zone: "ap-southeast-2b", ZoneID: "apse2-az2"},
			{CIDR: "10.9.8.128/26", Zone: "ap-southeast-2c", ZoneID: "apse2-az3"}}},
	} {
		db := vpcDB(t)
		sc := arn.Scope{Account: "111122223333", Region: tc.region}
		update(t, db, func(tx *store.WriteTx) error {
			var got []Subnet
			for _, s := range defaultSubnets(t, tx, sc, tc.cidr) {
				if !strings.HasPrefix(s.ID, "subnet-") || len(s.ID) != len("subnet-")+17 || !s.Default || !s.MapPublic {
					t.Errorf("subnet = %+v", s)
				}
				got = append(got, Subnet{CIDR: s.CIDR, Zone: s.Zone, ZoneID: s.ZoneID})
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("subnets of %s (-want +got):\n%s", tc.cidr, d)
			}
			return nil
		})
	}
}

func TestEnsureDefaultVPC_IsIdempotentAndPerScope(t *testing.T) {
	db := vpcDB(t)
	other := arn.Scope{Account: "000000000000", Region: "us-east-10"}
	for _, cidr := range []string{"172.31.0.0/16", "172.31.0.0/16", "10.0.0.0/16"} { // the setting may change; what is there stays
		update(t, db, func(tx *store.WriteTx) error { defaultSubnets(t, tx, testScope, cidr); return nil })
	}
	update(t, db, func(tx *store.WriteTx) error { defaultSubnets(t, tx, other, "172.31.0.0/16"); return nil })
	counts := map[string]int{}
	var group SecurityGroup
	err := db.View(t.Context(), func(tx *store.ReadTx) error {
		for v, err := range VPCs.List(tx, "") {
			if err != nil {
				return err
			}
			counts["vpc "+v.Val.Scope.Region+" "+v.Val.CIDR]++
		}
		for s, err := range Subnets.List(tx, "") {
			if err != nil {
				return err
			}
			counts["subnet "+s.Val.Scope.Region]++
		}
		for g, err := range SecurityGroups.List(tx, testScope.Key()) {
			if err != nil {
				return err
			}
			counts["group "+g.Val.Scope.Region]++
			group = g.Val
		}
		id, err := DefaultSecurityGroup(tx, testScope, group.VPC)
		if id != group.ID {
			t.Errorf("DefaultSecurityGroup = %q, want %q", id, group.ID)
		}
		if _, err := DefaultSecurityGroup(tx, other, group.VPC); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("DefaultSecurityGroup in another region: %v, want ErrNotFound", err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"vpc us-east-1 172.31.0.0/16": 1, "vpc us-east-10 172.31.0.0/16": 1, "subnet us-east-1": 3, "subnet us-east-10": 3, "group us-east-1": 1}
	if d := cmp.Diff(want, counts); d != "" {
		t.Errorf("records (-want +got):\n%s", d)
	}
	if r := group.Ingress[0]; r.Group != group.ID || r.Protocol != "-1" || len(group.Ingress) != 1 {
		t.Errorf("default group's ingress = %+v, want everything from itself", group.Ingress)
	}
	if r := group.Egress[0]; r.CIDR != "0.0.0.0/0" || r.Protocol != "-1" || len(group.Egress) != 1 {
		t.Errorf("default group's egress = %+v, want everything", group.Egress)
	}
}

func TestEnsureDefaultVPC_RefusesRangesWithoutRoom(t *testing.T) {
	db := vpcDB(t)
	for _, cidr := range []string{"10.0.0.0/8", "10.0.0.0/27", "fd00::/20"} {
		err := db.Update(t.Context(), func(tx *store.WriteTx) error { return EnsureDefaultVPC(tx, testScope, netip.MustParsePrefix(cidr)) })
		if err == nil {
			t.Errorf("EnsureDefaultVPC(%s) did not fail", cidr)
		}
	}
}

// Whatever is made and released, in whatever order: no address twice, none of AWS's, none given
// again while another was free and not given since.
func TestNewInterface_Addresses(t *testing.T) {
	db := vpcDB(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		sc := arn.Scope{Account: "000000000000", Region: "r-" + strings.Repeat("x", n%50) + "-" + string(rune('a'+n%26))}
		bits := rapid.SampledFrom([]string{"10.1.2.0/26", "10.1.2.64/25", "192.168.255.0/26"}).Draw(rt, "cidr")
		rollback := errors.New("rollback")
		err := db.Update(t.Context(), func(tx *store.WriteTx) error {
			sn := defaultSubnets(t, tx, sc, bits)[0]
			p := netip.MustParsePrefix(sn.CIDR)
			held := map[string]NetworkInterface{} // address → interface
			last := ""
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				if rapid.IntRange(0, 2).Draw(rt, "do") < 2 {
					e, err := NewInterface(tx, NewInterfaceInput{Scope: sc, Subnet: sn.ID, Task: "t"})
					var full *NoFreeAddressError
					if errors.As(err, &full) {
						if len(held) != sn.Capacity() {
							rt.Fatalf("full with %d of %d addresses taken", len(held), sn.Capacity())
						}
						continue
					}
					if err != nil {
						rt.Fatal(err)
					}
					a := netip.MustParseAddr(e.Address)
					offset := int(number(a)) - int(number(p.Addr()))
					if !p.Contains(a) || offset < 4 || offset == 1<<(32-p.Bits())-1 {
						rt.Fatalf("%s is not an address to give in %s", a, p)
					}
					if _, dup := held[e.Address]; dup {
						rt.Fatalf("%s given twice", a)
					}
					if e.Address == last && len(held) < sn.Capacity()-1 {
						rt.Fatalf("%s given again at once", a)
					}
					last, held[e.Address] = e.Address, e
					continue
				}
				for a, e := range held { // any one
					if err := ReleaseInterface(tx, sc, e.ID); err != nil {
						rt.Fatal(err)
					}
					delete(held, a)
					break
				}
			}
			return rollback
		})
		if !errors.Is(err, rollback) {
			rt.Fatal(err)
		}
	})
}

func TestNewInterface_ExhaustionAndOrder(t *testing.T) {
	db := vpcDB(t)
	update(t, db, func(tx *store.WriteTx) error {
		sn := defaultSubnets(t, tx, testScope, "10.0.0.0/26")[1] // 10.0.0.16/28: 11 addresses
		var got []string
		var first NetworkInterface
		for i := range 11 {
			e, err := NewInterface(tx, NewInterfaceInput{Scope: testScope, Subnet: sn.ID, Description: "ELB app/x/y"})
			if err != nil {
				return err
			}
			if i == 0 {
				first = e
			}
			got = append(got, e.Address)
		}
		if got[0] != "10.0.0.20" || got[10] != "10.0.0.30" {
			t.Errorf("addresses = %v, want 10.0.0.20 to .30", got)
		}
		_, err := NewInterface(tx, NewInterfaceInput{Scope: testScope, Subnet: sn.ID})
		var full *NoFreeAddressError
		if !errors.As(err, &full) || err.Error() != "The specified subnet does not have enough free addresses to satisfy the request." {
			t.Errorf("NewInterface in a full subnet: %v", err)
		}
		for range 2 { // releasing what is gone is no error
			if err := ReleaseInterface(tx, testScope, first.ID); err != nil {
				return err
			}
		}
		e, err := NewInterface(tx, NewInterfaceInput{Scope: testScope, Subnet: sn.ID, Task: "0123"})
		if err != nil || e.Address != first.Address || e.RequesterID == first.RequesterID {
			t.Errorf("NewInterface = %+v, %v, want the released address", e, err)
		}
		return nil
	})
}

func TestNewInterface_RefusesWhatIsNotThere(t *testing.T) {
	db := vpcDB(t)
	other := arn.Scope{Account: "000000000000", Region: "eu-central-1"}
	update(t, db, func(tx *store.WriteTx) error {
		sn := defaultSubnets(t, tx, testScope, "172.31.0.0/16")[0]
		foreign := defaultSubnets(t, tx, other, "172.31.0.0/16")[0]
		foreignGroup, err := DefaultSecurityGroup(tx, other, foreign.VPC)
		if err != nil {
			return err
		}
		for _, in := range []NewInterfaceInput{
			{Scope: testScope, Subnet: "subnet-0"},
			{Scope: testScope, Subnet: foreign.ID},
			{Scope: testScope, Subnet: sn.ID, Groups: []string{"sg-0"}},
			{Scope: testScope, Subnet: sn.ID, Groups: []string{foreignGroup}},
		} {
			if _, err := NewInterface(tx, in); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("NewInterface(%+v) = %v, want ErrNotFound", in, err)
			}
		}
		return nil
	})
}

func TestClaimPublic(t *testing.T) {
	db := vpcDB(t)
	pool := netip.MustParsePrefix("127.64.3.0/29") // .1 to .7; .0 is not given
	scopes := []arn.Scope{testScope, {Account: "999999999999", Region: "eu-west-1"}}
	update(t, db, func(tx *store.WriteTx) error {
		var enis []NetworkInterface
		for _, sc := range scopes {
			sn := defaultSubnets(t, tx, sc, "172.31.0.0/16")[0]
			for range 4 {
				e, err := NewInterface(tx, NewInterfaceInput{Scope: sc, Subnet: sn.ID})
				if err != nil {
					return err
				}
				enis = append(enis, e)
			}
		}
		var got []string
		for i, e := range enis {
			a, err := ClaimPublic(tx, e.Scope, e.ID, pool)
			if i == 7 {
				var full *NoPublicAddressError
				if !errors.As(err, &full) {
					t.Errorf("the eighth of seven addresses: %q, %v", a, err)
				}
				break
			}
			if err != nil {
				return err
			}
			again, err := ClaimPublic(tx, e.Scope, e.ID, pool)
			if again != a || err != nil {
				t.Errorf("claimed again: %q, %v, want %q", again, err, a)
			}
			o, err := NetworkInterfaces.Get(tx, e.Scope.Key(e.ID))
			if err != nil || o.Val.Public != a {
				t.Errorf("the record has %q, %v, want %q", o.Val.Public, err, a)
			}
			got = append(got, a)
		}
		want := []string{"127.64.3.1", "127.64.3.2", "127.64.3.3", "127.64.3.4", "127.64.3.5", "127.64.3.6", "127.64.3.7"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("addresses, accounts sharing the pool (-want +got):\n%s", d)
		}
		// The server's pool may be another after a restart.
		a, err := ClaimPublic(tx, enis[0].Scope, enis[0].ID, netip.MustParsePrefix("127.64.9.0/24"))
		if a != "127.64.9.1" || err != nil {
			t.Errorf("claimed from a new pool: %q, %v", a, err)
		}
		_, err = ClaimPublic(tx, testScope, "eni-0", pool)
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("ClaimPublic for an unknown interface: %v", err)
		}
		return nil
	})
}

func TestNames(t *testing.T) {
	for _, tc := range [][2]string{
		{MACOf("172.31.0.5"), "02:00:ac:1f:00:05"},
		{MACOf(""), ""},
		{PrivateDNSName("us-east-1", "172.31.0.5"), "ip-172-31-0-5.ec2.internal"},
		{PrivateDNSName("eu-west-1", "172.31.0.5"), "ip-172-31-0-5.eu-west-1.compute.internal"},
		{shortRegion("us-gov-west-1"), "usgw1"},
		{shortRegion("eu-central-1"), "euc1"},
		{shortRegion("eu-north-1"), "eun1"},
		{shortRegion("ap-northeast-3"), "apne3"},
	} {
		if tc[0] != tc[1] {
			t.Errorf("got %q, want %q", tc[0], tc[1])
		}
	}
}
