package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A namespace is an open handle on a network namespace pinned at path.
type namespace struct {
	path string
	f    *os.File
	ino  uint64 // cannot be another's as long as f is open
	nl   *netlink.Handle
}

// home is the namespace of the process. It is opened on a thread that never was anywhere else.
var home = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") })

// createNS makes or opens the namespace pinned at path. A file that a killed predecessor left
// between create and mount is not a namespace and is mounted over.
func createNS(path string) (*namespace, error) {
	if n, err := openNS(path); err == nil {
		return n, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- fmt.Errorf("make a network namespace: %w; Lotse needs root and CAP_SYS_ADMIN for its networks", err)
			return
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			made <- fmt.Errorf("pin a network namespace at %s: %w", path, err)
			return
		}
		made <- nil
	}()
	if err := <-made; err != nil {
		return nil, err
	}
	return openNS(path)
}

// openNS opens a pinned namespace; any other file is an error.
func openNS(path string) (*namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var sfs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(int(f.Fd()), &sfs), unix.Fstat(int(f.Fd()), &st)); err != nil {
		f.Close()
		return nil, err
	}
	if sfs.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, fmt.Errorf("%s: not a network namespace", path)
	}
	nl, err := netlink.NewHandleAt(netns.NsHandle(f.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &namespace{path, f, st.Ino, nl}, nil
}

func (n *namespace) fd() int { return int(n.f.Fd()) }

func (n *namespace) close() {
	n.nl.Close()
	n.f.Close()
}

// stale says whether path now names another namespace, or none.
func (n *namespace) stale() bool { return inode(n.path) != n.ino }

// inode of what is at path, 0: nothing.
func inode(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// do runs fn on a thread that is inside the namespace. fn must not start goroutines that rely on it.
func (n *namespace) do(fn func() error) error { return inside(n.fd(), fn) }

// inside runs fn on a thread that is in the namespace fd.
func inside(fd int, fn func() error) error {
	back, err := home()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	err = fn()
	if e := unix.Setns(int(back.Fd()), unix.CLONE_NEWNET); e != nil {
		panic(fmt.Sprintf("network: a thread is lost in a network namespace: %v", e)) // it must not be used again
	}
	runtime.UnlockOSThread()
	return err
}

// unpin removes the pin at path; what is left of a killed predecessor goes as well.
func unpin(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // EINVAL: a plain file
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// setting is a value below /proc/sys/net, which shows the reading thread's namespace.
type setting struct{ key, value string }

// adjust writes what differs.
func adjust(ss ...setting) error {
	for _, s := range ss {
		path := "/proc/sys/net/" + s.key
		b, err := os.ReadFile(path)
		if err == nil && strings.Join(strings.Fields(string(b)), " ") == s.value {
			continue
		}
		if err == nil {
			err = os.WriteFile(path, []byte(s.value), 0)
		}
		if errors.Is(err, syscall.ENOENT) && strings.HasPrefix(s.key, "ipv6/") {
			continue // a kernel without IPv6 has it off already
		}
		if err != nil {
			return fmt.Errorf("set net/%s to %s: %w", s.key, s.value, err)
		}
	}
	return nil
}
