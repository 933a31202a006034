package ctrd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/cap"

	"github.com/lotse-project/lotse/internal/runtime"
)

// defaultCapabilities are Docker's. Source: moby, oci/caps/defaults.go.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// capabilities applies add and drop to Docker's default set, as Docker does: with ALL added all but those dropped, with
// ALL dropped only those added, else first drop, then add. Source: moby, oci/caps/utils.go, TweakCapabilities.
func capabilities(add, drop []string) ([]string, error) {
	add, err := capabilityNames(add)
	if err != nil {
		return nil, err
	}
	if drop, err = capabilityNames(drop); err != nil {
		return nil, err
	}
	dropped := func(c string) bool { return slices.Contains(drop, c) }
	if slices.Contains(add, "ALL") {
		return slices.DeleteFunc(slices.Clone(cap.Known()), dropped), nil
	}
	var out []string
	if !dropped("ALL") {
		out = slices.DeleteFunc(slices.Clone(defaultCapabilities), dropped)
	}
	for _, c := range add {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

func capabilityNames(names []string) ([]string, error) {
	var out []string
	for _, n := range names {
		n = strings.ToUpper(n)
		if n != "ALL" && !strings.HasPrefix(n, "CAP_") {
			n = "CAP_" + n
		}
		if n != "ALL" && !slices.Contains(cap.Known(), n) {
			return nil, fmt.Errorf("unknown capability %q: %w", n, runtime.ErrUnrunnable)
		}
		out = append(out, n)
	}
	return out, nil
}
