package network

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Servers on one machine share the addresses of the host's namespace. A claim is a symbolic link
// in a directory beside their run directories: its name is what is claimed, its target the owner.
// Making one either succeeds or fails, there is no moment between; and it stays when its owner is
// killed, as the owner's networks do. After a reboot claims are gone, like all networks.
//
//	/run/lotse/public/127.64.17.0_24      → abcd2345
//	/run/lotse/links/169.254.131.6        → abcd2345/vpc-1
type claims struct {
	dir string // holds the two directories
	id  string // of the server
}

const (
	publicDir = "public"
	linksDir  = "links"
)

// publicPools are where servers find their pool: 16,384 blocks of /24.
var publicPools = netip.MustParsePrefix("127.64.0.0/10")

// uplinks are the link-local addresses between the host and VPCs: 8,192 pairs, but for those that
// AWS and others use (169.254.169.0/24 to 171).
var uplinks = netip.MustParsePrefix("169.254.128.0/18")

// pool claims want, or a free /24 if it is zero, or finds what this server has claimed already.
func (c claims) pool(want netip.Prefix) (netip.Prefix, error) {
	if want.IsValid() {
		want = want.Masked()
		if !loopback.Contains(want.Addr()) || want.Bits() < 8 {
			return want, fmt.Errorf("public pool %s is not inside 127.0.0.0/8: real addresses would need forwarding in the host, which is not offered", want)
		}
		if want.Contains(netip.MustParseAddr("127.0.0.1")) {
			return want, fmt.Errorf("public pool %s contains 127.0.0.1, which is the host's own; take one of 127.64.0.0/10", want)
		}
		if owner, err := c.claimPool(want); err != nil {
			return want, err
		} else if owner != "" {
			return want, fmt.Errorf("public pool %s: the server %s has it, or a part of it; choose another, or stop that server with all it runs", want, owner)
		}
		return want, c.releasePools(want)
	}
	if p, ok := c.ownPool(); ok {
		return p, c.releasePools(p)
	}
	const blocks = 1 << (24 - 10)
	for i := range uint32(blocks) {
		n := (hash(c.id) + i) % blocks
		p := netip.PrefixFrom(offset(publicPools.Addr(), n<<8), 24)
		if owner, err := c.claimPool(p); err != nil {
			return p, err
		} else if owner == "" {
			return p, nil
		}
	}
	return want, fmt.Errorf("no /24 of %s is free: remove stale claims below %s", publicPools, filepath.Join(c.dir, publicDir))
}

// uplink claims the pair of addresses of a VPC, host's and VPC's, or finds it. free says whether
// nothing of the host's is in the way.
func (c claims) uplink(vpc string, free func(netip.Prefix) (bool, error)) (netip.Prefix, error) {
	owner := c.id + "/" + vpc
	for name, o := range c.list(linksDir) {
		if a, err := netip.ParseAddr(name); err == nil && o == owner {
			return netip.PrefixFrom(a, 31), nil
		}
	}
	const pairs = 1 << (31 - 18)
	for i := range uint32(pairs) {
		p := netip.PrefixFrom(offset(uplinks.Addr(), (hash(owner)+i)%pairs*2), 31)
		if b := p.Addr().As4()[2]; b >= 169 && b <= 171 {
			continue
		}
		if ok, err := free(p); err != nil {
			return p, err
		} else if !ok {
			continue
		}
		if o, err := c.claim(linksDir, p.Addr().String(), owner); err != nil {
			return p, err
		} else if o == owner {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no pair of addresses of %s is free: remove stale claims below %s", uplinks, filepath.Join(c.dir, linksDir))
}

// release gives up what this server has claimed for the VPC.
func (c claims) release(vpc string) error {
	return c.drop(linksDir, func(_, owner string) bool { return owner == c.id+"/"+vpc })
}

// releaseAll gives up everything, and the directories if nobody else has claims.
func (c claims) releaseAll() error {
	err := errors.Join(
		c.drop(publicDir, func(_, owner string) bool { return owner == c.id }),
		c.drop(linksDir, func(_, owner string) bool { return strings.HasPrefix(owner, c.id+"/") }))
	for _, d := range []string{publicDir, linksDir} {
		_ = os.Remove(filepath.Join(c.dir, d)) // others may have claims
	}
	return err
}

// Private

// claimPool gives the owner of p, or of a pool that overlaps it; "" if it is ours now.
func (c claims) claimPool(p netip.Prefix) (string, error) {
	owner, err := c.claim(publicDir, poolName(p), c.id)
	if err != nil || owner != c.id {
		return owner, err
	}
	// Pools of other sizes have other names. Whoever claims looks afterwards, so that of two at
	// least one sees the other.
	for name, o := range c.list(publicDir) {
		if q, ok := poolOf(name); ok && o != c.id && q.Overlaps(p) {
			return o, os.Remove(filepath.Join(c.dir, publicDir, poolName(p)))
		}
	}
	return "", nil
}

func (c claims) ownPool() (netip.Prefix, bool) {
	for name, o := range c.list(publicDir) {
		if p, ok := poolOf(name); ok && o == c.id && publicPools.Contains(p.Addr()) && p.Bits() == 24 {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// releasePools gives up the server's pools but for keep.
func (c claims) releasePools(keep netip.Prefix) error {
	return c.drop(publicDir, func(name, owner string) bool { return owner == c.id && name != poolName(keep) })
}

// claim makes a claim and gives its owner, who may be another.
func (c claims) claim(kind, name, owner string) (string, error) {
	path := filepath.Join(c.dir, kind, name)
	for range 100 {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		err := os.Symlink(owner, path)
		if err == nil {
			return owner, nil
		} else if errors.Is(err, fs.ErrNotExist) { // somebody gave up the last claim, and the directory
			continue
		} else if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if o, err := os.Readlink(path); err == nil {
			return o, nil
		} else if !errors.Is(err, fs.ErrNotExist) { // given up since
			return "", err
		}
	}
	return "", fmt.Errorf("%s: others make and remove it all the time", path)
}

// list gives the owners by name.
func (c claims) list(kind string) map[string]string {
	all := map[string]string{}
	es, _ := os.ReadDir(filepath.Join(c.dir, kind))
	for _, e := range es {
		if o, err := os.Readlink(filepath.Join(c.dir, kind, e.Name())); err == nil {
			all[e.Name()] = o
		}
	}
	return all
}

func (c claims) drop(kind string, which func(name, owner string) bool) (err error) {
	for name, owner := range c.list(kind) {
		if which(name, owner) {
			if e := os.Remove(filepath.Join(c.dir, kind, name)); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

func poolName(p netip.Prefix) string { return strings.ReplaceAll(p.String(), "/", "_") }

func poolOf(name string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(strings.ReplaceAll(name, "_", "/"))
	return p, err == nil
}

func hash(s string) uint32 {
	sum := sha256.Sum256([]byte(s))
	return binary.BigEndian.Uint32(sum[:])
}

// offset is the n-th address after a.
func offset(a netip.Addr, n uint32) netip.Addr {
	b := a.As4()
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(b[:])+n)))
}

// hostOrder is an IPv4 address as a number.
func hostOrder(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// parsePair is the pair that a claim names by its first address.
func parsePair(name string) (netip.Prefix, error) {
	a, err := netip.ParseAddr(name)
	if err == nil && !uplinks.Contains(a) {
		err = fmt.Errorf("%s is not in %s", a, uplinks)
	}
	return netip.PrefixFrom(a, 31), err
}
