package fabric

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// awsDomain ends load balancers' names on AWS, and inside VPCs here: there the names the host
// uses may end in localhost, which many clients take for the task itself without asking anybody.
const awsDomain = "elb.amazonaws.com"

// publish hands out the names and metadata of all VPCs that have a namespace.
func (c *Controller) publish(ctx context.Context) error {
	return c.turn(namesKey).share(ctx, func(ctx context.Context) error {
		var all []records
		err := c.o.DB.View(ctx, func(tx *store.ReadTx) (err error) {
			all, err = readAll(tx)
			return err
		})
		if err != nil {
			return fmt.Errorf("names: %w", err)
		}
		keys, err := c.credentials(ctx, all)
		if err != nil {
			return fmt.Errorf("names: %w", err)
		}
		s, err := snapshot(all, keys, c.netns)
		if err != nil {
			return fmt.Errorf("names: %w", err)
		}
		b, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("names: %w", err)
		}
		if c.known(b) {
			return nil
		}
		c.remember(nil) // after an error it is not known what is served
		if err := c.o.Names(ctx, s); err != nil {
			return fmt.Errorf("names: %w", err)
		}
		c.remember(b)
		return nil
	})
}

// snapshot says what each VPC's resolver and metadata endpoint know. A VPC without a namespace
// ("") is left out: nothing can be served there, and nobody is there to ask.
func snapshot(all []records, keys map[string]linklocal.Credentials, netns func(vpc string) string) (linklocal.Snapshot, error) {
	var s linklocal.Snapshot
	for _, r := range all {
		path := netns(r.vpc.ID)
		if path == "" {
			continue
		}
		cidr, err := netip.ParsePrefix(r.vpc.CIDR)
		if err != nil {
			return s, fmt.Errorf("%s: %w", r.vpc.ID, err)
		}
		v := linklocal.VPC{ID: r.vpc.ID, Netns: path, Resolver: resolver(cidr), Names: map[string][]netip.Addr{}, Tasks: map[netip.Addr]linklocal.Task{}}
		byID, zones := map[string]netip.Addr{}, map[netip.Addr]string{}
		for _, e := range r.interfaces {
			a, err := netip.ParseAddr(e.Address)
			if err != nil {
				return s, fmt.Errorf("%s: %w", e.ID, err)
			}
			byID[e.ID], zones[a] = a, e.Zone
			v.Names[state.PrivateDNSName(e.Scope.Region, e.Address)] = []netip.Addr{a}
			if t, ok := r.tasks[e.Task]; ok {
				m := metadata(r, t, e)
				if k, ok := keys[t.ID]; ok {
					m.CredentialsID, m.Credentials = state.CredentialsID(t.ID), &k
				}
				v.Tasks[a] = m
			}
		}
		for _, b := range r.balancers {
			var addrs []netip.Addr
			for _, id := range b.ENIs {
				if a, ok := byID[id]; ok && !slices.Contains(b.status.Failed, zones[a]) {
					addrs = append(addrs, a)
				}
			}
			for _, name := range balancerNames(b.DNSName) {
				v.Names[name] = addrs
			}
		}
		s.VPCs = append(s.VPCs, v)
	}
	return s, nil
}

// Private

// balancerNames are the names of a load balancer inside its VPC: the one the API shows, and
// NAME-DIGITS.REGION.elb.amazonaws.com.
func balancerNames(dnsName string) []string {
	name := strings.ToLower(strings.TrimSuffix(dnsName, "."))
	parts := strings.SplitN(name, ".", 3)
	if len(parts) < 3 || parts[2] == awsDomain {
		return []string{name}
	}
	return []string{name, parts[0] + "." + parts[1] + "." + awsDomain}
}

// resolver is the VPC's second address. Source: VPC user guide, DNS attributes.
func resolver(cidr netip.Prefix) netip.Addr { return cidr.Masked().Addr().Next().Next() }

// netns is the path of a VPC's namespace, "" without one.
func (c *Controller) netns(vpc string) string {
	if p := c.o.Net.VPCNetns(vpc); exists(p) {
		return p
	}
	return ""
}

func (c *Controller) known(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last != nil && bytes.Equal(c.last, b)
}

func (c *Controller) remember(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = b
}
