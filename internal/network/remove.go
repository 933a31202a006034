package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Remove takes the VPC away: links, namespaces, those of its tasks as well, addresses. Removing
// one that isn't there is no error.
func (m *Manager) Remove(_ context.Context, vpcID string) error {
	if !plainID.MatchString(vpcID) {
		return fmt.Errorf("network: no VPC can have the id %q", vpcID)
	}
	v := m.lock(vpcID)
	defer v.mu.Unlock()
	if err := v.remove(); err != nil {
		return fmt.Errorf("network: remove %s: %w", vpcID, err)
	}
	return nil
}

// RemoveAll takes away all that this server, or a killed predecessor with its id and run directory,
// has made, and gives up its claims. Tasks must have ended: a process keeps its namespace alive.
// The Manager may be used again afterwards.
func (m *Manager) RemoveAll(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(4)
	for _, id := range m.recorded() {
		if plainID.MatchString(id) {
			g.Go(func() error { return m.Remove(ctx, id) })
		}
	}
	errs := []error{g.Wait()}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer h.Close()
	ours, err := uplinksOf(h, m.o.ID)
	errs = append(errs, err, unlink(h, ours...), m.unpinAll(), m.claims.releaseAll())
	for _, d := range []string{netnsDir, recordDir} {
		errs = append(errs, os.RemoveAll(filepath.Join(m.o.RunDir, d)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("network: remove all: %w", err)
	}
	return nil
}

// Private

// remove deletes links first and by name: a socket somewhere may keep a namespace alive, and with
// it the links in it, long after its pin.
func (v *vpc) remove() error {
	v.load()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	for name, owner := range v.m.claims.list(linksDir) {
		if owner != v.m.o.ID+"/"+v.id {
			continue
		}
		if a, err := parsePair(name); err == nil {
			l, err := linkByName(h, uplinkAt(v.m.o.ID, a).name)
			if err := errors.Join(err, unlink(h, l)); err != nil {
				return err
			}
		}
	}
	if ns, err := openNS(v.m.VPCNetns(v.id)); err == nil {
		err := unlinkAll(ns)
		ns.close()
		if err != nil {
			return err
		}
	}
	tasks := v.record.ENIs
	v.forget()
	for _, e := range tasks {
		if e.Task != "" {
			if err := unpin(v.m.TaskNetns(e.Task)); err != nil {
				return err
			}
		}
	}
	if err := unpin(v.m.VPCNetns(v.id)); err != nil {
		return err
	}
	if err := v.m.claims.release(v.id); err != nil {
		return err
	}
	for _, f := range []string{v.recordPath() + "~", v.recordPath()} { // last: until then it is found again
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func unlinkAll(ns *namespace) error {
	have, err := links(ns.nl)
	if err != nil {
		return err
	}
	var all []netlink.Link
	for _, l := range have {
		all = append(all, l)
	}
	return ns.unlink(all...)
}

// unpinAll removes every pin below the run directory, those of tasks with no record too.
func (m *Manager) unpinAll() error {
	dir := filepath.Join(m.o.RunDir, netnsDir)
	pins := map[string]bool{}
	for _, p := range mountsBelow(dir) {
		pins[p] = true
	}
	es, _ := os.ReadDir(dir)
	for _, e := range es {
		pins[filepath.Join(dir, e.Name())] = true
	}
	var errs []error
	for p := range pins {
		if ns, err := openNS(p); err == nil {
			errs = append(errs, unlinkAll(ns))
			ns.close()
		}
		errs = append(errs, unpin(p))
	}
	return errors.Join(errs...)
}

// mountsBelow are the mount points in dir. Source: proc(5), /proc/pid/mountinfo.
func mountsBelow(dir string) (all []string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 4 {
			if p := unescape(fields[4]); strings.HasPrefix(p, dir+"/") {
				all = append(all, p)
			}
		}
	}
	return all
}

// unescape undoes \040 and the like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
