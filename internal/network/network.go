// Package network makes VPCs out of the kernel's own parts. A VPC is a network namespace that
// routes; a task has a namespace of its own, joined to it by a veth; security groups are one
// nftables table inside the VPC's namespace. A caller says what a VPC is to be:
//
//	m, err := network.New(network.Options{RunDir: "/run/lotse/abcd2345", ID: "abcd2345"})
//	err = m.Apply(ctx, network.Intent{ID: "vpc-1", CIDR: …, Groups: …, ENIs: …})
//	// m.TaskNetns("0f3a…") is now the path of a namespace with eth0, for the container runtime
//	err = m.Apply(ctx, next)  // only what differs is touched; connections go on
//	err = m.RemoveAll(ctx)    // no trace is left
//
// Everything is found again by name after the process was killed at any point: applying the same
// intent once more ends in the same world. Two servers share nothing but two directories of
// claims (see claim.go) and never meet, whatever their CIDRs.
//
// In the host's own namespace there is one veth per VPC, and one route per public address of a
// task. No table, no forwarding, no switch of the host is touched; what there is goes with the veth.
//
// Packets take this way through a VPC's table, ruleset.go has it in full:
//
//	task ─ eth0 ═ veth ─┐ spoof: is the source the link's own?
//	                    ├─ pre:  public address → task's address
//	balancer (on lo) ───┤ via / into / from: known flows pass; then the sender's egress,
//	host ─ uplink ══════┘ which continues in the receiver's ingress; else dropped in silence
package network

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync"
)

// Options are a Manager's.
type Options struct {
	// RunDir is the server's run directory, /run/lotse/ID; its parent holds the claims that
	// servers on one machine make. It must not survive a reboot.
	RunDir string
	// ID is the server's short id, at most 8 characters of a-z and 0-9. Links carry it.
	ID string
	// PublicPool is where public addresses come from, inside 127.0.0.0/8. Zero claims a /24 of
	// 127.64.0.0/10 that no other server has.
	PublicPool netip.Prefix
	Log        *slog.Logger // nil: silent
}

// A Manager makes and removes the networks of one server. It is safe for concurrent use; work on
// one VPC is done one after the other.
type Manager struct {
	o      Options
	pool   netip.Prefix
	claims claims

	mu   sync.Mutex
	vpcs map[string]*vpc
}

// New claims the public pool. It makes no link and no namespace.
func New(o Options) (*Manager, error) {
	if !shortID.MatchString(o.ID) {
		return nil, fmt.Errorf("network: server id %q: want 1 to 8 characters of a-z and 0-9, links are named after it", o.ID)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []string{netnsDir, recordDir} {
		if err := os.MkdirAll(filepath.Join(o.RunDir, d), 0o700); err != nil {
			return nil, fmt.Errorf("network: %w", err)
		}
	}
	real, err := filepath.EvalSymlinks(o.RunDir) // as mountinfo names it
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	o.RunDir = real
	m := &Manager{o: o, claims: claims{dir: filepath.Dir(real), id: o.ID}, vpcs: map[string]*vpc{}}
	if m.pool, err = m.claims.pool(o.PublicPool); err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	return m, nil
}

// PublicPool is where this server's public addresses come from. All of it is the host's own
// loopback, so that a balancer may listen on any address of it; Apply sends those of tasks into
// their VPC.
func (m *Manager) PublicPool() netip.Prefix { return m.pool }

// VPCNetns is the path of the VPC's namespace, whether it exists or not.
func (m *Manager) VPCNetns(vpcID string) string {
	return filepath.Join(m.o.RunDir, netnsDir, vpcID)
}

// TaskNetns is the path of the namespace that Apply makes for the ENI with this Task.
func (m *Manager) TaskNetns(task string) string {
	return filepath.Join(m.o.RunDir, netnsDir, "task-"+task)
}

// Private

const (
	netnsDir  = "netns"   // pins, below RunDir
	recordDir = "network" // what was made, below RunDir
)

var (
	shortID = regexp.MustCompile(`^[a-z0-9]{1,8}$`)
	// Ids become file, chain and set names.
	plainID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

var errUnknownVPC = errors.New("this VPC has no namespace: Apply has not been called for it")

// vpc is what the Manager remembers of one VPC, so that applying again is cheap. All of it can be
// had again from the record and from the kernel.
type vpc struct {
	mu     sync.Mutex
	m      *Manager
	id     string
	ns     *namespace // nil: not opened
	record record
	table  *table // as applied, nil: not known, replace
	gen    uint32 // of the ruleset when table was applied
	joined map[string]joined
}

// lock gives the VPC's memory with its lock held.
func (m *Manager) lock(id string) *vpc {
	m.mu.Lock()
	v := m.vpcs[id]
	if v == nil {
		v = &vpc{m: m, id: id, joined: map[string]joined{}}
		m.vpcs[id] = v
	}
	m.mu.Unlock()
	v.mu.Lock()
	return v
}

// forget drops handles and memory.
func (v *vpc) forget() {
	if v.ns != nil {
		v.ns.close()
	}
	v.ns, v.table, v.gen, v.record, v.joined = nil, nil, 0, record{}, map[string]joined{}
}
