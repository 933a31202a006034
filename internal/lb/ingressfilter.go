package lb

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// maxFilterPrefixes keeps the filter below the kernel's 4096 instructions. With more, the client is judged after
// accept only.
const maxFilterPrefixes = 1000

// admitted are the client prefixes that the rules admit to the port; all says that this is everybody.
func admitted(rules []lbconfig.Allow, port uint16) (prefixes []netip.Prefix, all bool) {
	seen := map[netip.Prefix]bool{}
	for _, a := range rules {
		p := a.From.Masked()
		if port < a.Lo || port > a.Hi || !p.Addr().Is4() || seen[p] {
			continue
		}
		if p.Bits() == 0 {
			return nil, true
		}
		seen[p] = true
		prefixes = append(prefixes, p)
	}
	return prefixes, false
}

// setIngressFilter makes the kernel drop what other clients send to the listening socket, beginning with their SYN:
// they see a time-out, as on AWS, and never a connection. Connections that stand keep the filter they began with.
func setIngressFilter(fd int, prefixes []netip.Prefix, all bool) error {
	if all || len(prefixes) > maxFilterPrefixes {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if err == unix.ENOENT {
			return nil
		}
		return err
	}
	prog := ingressProgram(prefixes)
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: unsafe.SliceData(prog)})
}

// ingressProgram passes packets whose IPv4 source is in one of the prefixes.
func ingressProgram(prefixes []netip.Prefix) []unix.SockFilter {
	const (
		netHeader = -0x100000 // SKF_NET_OFF: offsets count from the network header
		srcOffset = 12        // of the source address in the IPv4 header
	)
	src := int32(netHeader + srcOffset)
	var prog []unix.SockFilter
	for _, p := range prefixes {
		a4 := p.Addr().As4()
		mask := uint32(uint64(0xffffffff) << (32 - p.Bits()))
		prog = append(prog,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(src)},
			unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: binary.BigEndian.Uint32(a4[:])},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff})
	}
	return append(prog, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0})
}
