package lb

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portOwner says, in the form " by nginx (pid 7)", who listens at the address in the process's own namespace; "" when
// that can't be found out.
func portOwner(addr netip.AddrPort) string {
	inode := listeningInode("/proc/self/net/tcp", addr)
	if inode == "" {
		inode = listeningInode("/proc/self/net/tcp6", addr)
	}
	if inode == "" {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, l := range links {
		if to, err := os.Readlink(l); err != nil || to != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(l, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		return fmt.Sprintf(" by %s (pid %s)", strings.TrimSpace(string(name)), pid)
	}
	return ""
}

// listeningInode finds the socket in a file as /proc/net/tcp: one at the address, or at every address. It is enough
// for tcp6 to compare ports: only a socket at :: stands in the way of an IPv4 address.
func listeningInode(file string, addr netip.AddrPort) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	a4 := addr.Addr().As4()
	want := fmt.Sprintf("%08X", binary.NativeEndian.Uint32(a4[:]))
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if len(fields) < 10 || fields[3] != "0A" { // TCP_LISTEN
			continue
		}
		host, port, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); err != nil || uint16(n) != addr.Port() {
			continue
		}
		if host == want || strings.Trim(host, "0") == "" {
			return fields[9]
		}
	}
	return ""
}
