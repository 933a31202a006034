package ctrd

import (
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/runtime"
)

// defaultNofile is how many files a container may open, soft and hard: Fargate's. Source: ECS Developer Guide,
// "Amazon ECS task definition parameters for Fargate", resource limits.
const defaultNofile = 65535

// limits is how far this process, and so what it starts, may raise limits.
type limits struct {
	mayRaise bool   // has CAP_SYS_RESOURCE, which some surrounding containers withhold even from root
	maxFiles uint64 // its own hard RLIMIT_NOFILE
}

func findLimits() limits {
	var l limits
	current, err := cap.Current()
	l.mayRaise = err == nil && slices.Contains(current, "CAP_SYS_RESOURCE")
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil {
		l.maxFiles = r.Max
	}
	return l
}

// nofile is the limit for a container that asks for soft and hard; for the default it does what it can.
func (l limits) nofile(want [2]uint64) (specs.POSIXRlimit, error) {
	soft, hard := want[0], want[1]
	if hard == 0 {
		soft, hard = defaultNofile, defaultNofile
		if !l.mayRaise {
			soft = min(soft, l.maxFiles)
			hard = soft
		}
	}
	if soft > hard {
		return specs.POSIXRlimit{}, fmt.Errorf("ulimit nofile: soft limit %d is above the hard limit %d: %w", soft, hard, runtime.ErrUnrunnable)
	}
	if hard > l.maxFiles && !l.mayRaise {
		return specs.POSIXRlimit{}, fmt.Errorf("ulimit nofile %d is above this server's own limit of %d; raise that with ulimit -Hn or LimitNOFILE= and start it again: %w", hard, l.maxFiles, runtime.ErrUnrunnable)
	}
	return specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: soft, Hard: hard}, nil
}
