package network

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestClaims_PoolsOfManyServersAtOnce(t *testing.T) {
	dir := t.TempDir()
	const servers = 40
	got := make([]netip.Prefix, servers)
	var wg sync.WaitGroup
	for i := range servers {
		wg.Go(func() {
			p, err := claims{dir, fmt.Sprintf("s%d", i)}.pool(netip.Prefix{})
			if err != nil {
				t.Error(err)
			}
			got[i] = p
		})
	}
	wg.Wait()
	seen := map[netip.Prefix]int{}
	for i, p := range got {
		if o, twice := seen[p]; twice || p.Bits() != 24 || !publicPools.Contains(p.Addr()) {
			t.Errorf("server %d got %s; as %d", i, p, o)
		}
		seen[p] = i
		again, err := claims{dir, fmt.Sprintf("s%d", i)}.pool(netip.Prefix{})
		if err != nil || again != p {
			t.Errorf("server %d again: %s, %v; want %s", i, again, err, p)
		}
	}
	for i := range servers {
		if err := (claims{dir, fmt.Sprintf("s%d", i)}).releaseAll(); err != nil {
			t.Error(err)
		}
	}
	if es, _ := os.ReadDir(dir); len(es) != 0 {
		t.Errorf("left behind: %v", es)
	}
}

func TestClaims_TakenStaysOne(t *testing.T) {
	// A server keeps its pool though one that it would have preferred has become free since.
	dir := t.TempDir()
	a, b := claims{dir, "a"}, claims{dir, "b"}
	first := netip.PrefixFrom(offset(publicPools.Addr(), hash("b")%(1<<14)<<8), 24)
	if _, err := a.pool(first); err != nil {
		t.Fatal(err)
	}
	p, err := b.pool(netip.Prefix{})
	if err != nil || p == first {
		t.Fatalf("pool() = %s, %v; want another than a's", p, err)
	}
	if err := a.releaseAll(); err != nil {
		t.Fatal(err)
	}
	if again, err := b.pool(netip.Prefix{}); err != nil || again != p {
		t.Errorf("pool() = %s, %v; want %s as before", again, err, p)
	}
}

func TestClaims_AskedForPools(t *testing.T) {
	dir := t.TempDir()
	if _, err := (claims{dir, "a"}).pool(cidr("127.70.0.0/16")); err != nil {
		t.Fatal(err)
	}
	for want, pool := range map[string]string{
		"the server a has it": "127.70.3.0/24",
		"a part of it":        "127.0.0.0/8",
		"real addresses":      "192.0.2.0/24",
	} {
		_, err := claims{dir, "b"}.pool(cidr(pool))
		if pool == "127.0.0.0/8" {
			want = "contains 127.0.0.1"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("pool(%s) = %v, want %q", pool, err, want)
		}
	}
	// Whoever changes his mind gives up what he had.
	if _, err := (claims{dir, "a"}).pool(cidr("127.71.0.0/16")); err != nil {
		t.Fatal(err)
	}
	if p, err := (claims{dir, "b"}).pool(cidr("127.70.3.0/24")); err != nil || p != cidr("127.70.3.0/24") {
		t.Errorf("pool = %s, %v", p, err)
	}
	if es, _ := os.ReadDir(filepath.Join(dir, publicDir)); len(es) != 2 {
		t.Errorf("claims: %v", es)
	}
}

func TestClaims_Uplinks(t *testing.T) {
	dir := t.TempDir()
	free := func(netip.Prefix) (bool, error) { return true, nil }
	seen := map[netip.Prefix]bool{}
	for _, id := range []string{"a", "b"} {
		for i := range 50 {
			c := claims{dir, id}
			p, err := c.uplink(fmt.Sprintf("vpc-%d", i), free)
			if err != nil || seen[p] || p.Bits() != 31 || p.Addr().As4()[3]%2 != 0 || !uplinks.Contains(p.Addr()) {
				t.Fatalf("uplink() = %s, %v", p, err)
			}
			seen[p] = true
			if again, _ := c.uplink(fmt.Sprintf("vpc-%d", i), free); again != p {
				t.Errorf("uplink() again = %s, want %s", again, p)
			}
			if n := len(uplinkAt("abcd2345", p).name); n > 15 {
				t.Errorf("link name of %d characters", n)
			}
		}
	}
	for _, n := range []string{"169.254.169.254", "169.254.170.2", "169.254.171.1"} {
		for p := range seen {
			if p.Addr().As4()[2] == ip(n).As4()[2] {
				t.Errorf("%s is somebody else's", p)
			}
		}
	}
}
