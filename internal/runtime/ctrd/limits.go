package ctrd

import (
	"fmt"
	"slices"
	"strings"

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

// rlimits are the limits of a container that asks for some; for the default of nofile it does what it can.
func (l limits) rlimits(want []runtime.Ulimit) ([]specs.POSIXRlimit, error) {
	files := runtime.Ulimit{Name: "nofile", Soft: defaultNofile, Hard: defaultNofile}
	if !l.mayRaise {
		files.Soft = min(files.Soft, l.maxFiles)
		files.Hard = files.Soft
	}
	out := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: files.Soft, Hard: files.Hard}}
	for _, u := range want {
		name := "RLIMIT_" + strings.ToUpper(u.Name)
		if u.Soft > u.Hard {
			return nil, fmt.Errorf("ulimit %s: soft limit %d is above the hard limit %d: %w", u.Name, u.Soft, u.Hard, runtime.ErrUnrunnable)
		}
		if name != "RLIMIT_NOFILE" {
			out = append(out, specs.POSIXRlimit{Type: name, Soft: u.Soft, Hard: u.Hard})
			continue
		}
		if u.Hard > l.maxFiles && !l.mayRaise {
			return nil, fmt.Errorf("ulimit nofile %d is above this server's own limit of %d; raise that with ulimit -Hn or LimitNOFILE= and start it again: %w", u.Hard, l.maxFiles, runtime.ErrUnrunnable)
		}
		out[0].Soft, out[0].Hard = u.Soft, u.Hard
	}
	return out, nil
}
