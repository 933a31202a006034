package lb

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// memoryFile holds the last known states of the targets, so that a restarted process sends requests to those that
// were healthy without examining them first.
const memoryFile = "lb-health.json"

// remembered is one target's state. It counts only for the same registration.
type remembered struct {
	Group  string
	Addr   netip.AddrPort
	Since  time.Time
	State  string
	Reason string `json:",omitempty"`
	Text   string `json:",omitempty"`
}

type memberKey struct {
	group string
	addr  netip.AddrPort
}

// loadMemory reads the file. Without one, or with one that can't be read, nothing is remembered.
func loadMemory(dir string) (map[memberKey]remembered, error) {
	data, err := os.ReadFile(filepath.Join(dir, memoryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []remembered
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	out := map[memberKey]remembered{}
	for _, r := range list {
		out[memberKey{r.Group, r.Addr}] = r
	}
	return out, nil
}

// saveMemory replaces the file. It is not synced: it has to outlive the process, not the machine.
func saveMemory(dir string, list []remembered) error {
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return replaceFile(dir, memoryFile, data)
}

// replaceFile writes a file that is there whole or not at all.
func replaceFile(dir, name string, data []byte) error {
	beside := filepath.Join(dir, name+".new")
	if err := os.WriteFile(beside, data, 0o600); err != nil {
		return err
	}
	return os.Rename(beside, filepath.Join(dir, name))
}

// health is the state that a target begins with: what is remembered of the same registration.
func (r remembered) health(t lbconfig.Target) health {
	if r.Since.Equal(t.Since) && (r.State == lbconfig.Healthy || r.State == lbconfig.Unhealthy) {
		return health{state: r.State, reason: r.Reason, text: r.Text}
	}
	return newHealth()
}

func sortRemembered(list []remembered) {
	slices.SortFunc(list, func(a, b remembered) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), a.Addr.Compare(b.Addr))
	})
}

func sameRemembered(a, b []remembered) bool {
	return slices.EqualFunc(a, b, func(x, y remembered) bool {
		since := x.Since.Equal(y.Since)
		x.Since, y.Since = time.Time{}, time.Time{}
		return since && x == y
	})
}
