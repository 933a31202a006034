package ctrd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/runtime"
)

// ledger holds what containerd does not remember: which containers of a task are whole, in which order they were
// specified, when they were started, and how those ended that containerd has forgotten. One file per task.
type ledger struct {
	dir string

	mu    sync.Mutex
	tasks map[string]*taskEntry // by task ID
}

type taskEntry struct {
	ID         string           `json:"id"`
	Containers []containerEntry `json:"containers"`
}

type containerEntry struct {
	ID      string    `json:"id"` // containerd's
	Name    string    `json:"name"`
	Created bool      `json:"created,omitempty"` // its process was made; without it nothing of the container counts
	Signal  string    `json:"signal,omitempty"`  // the image's STOPSIGNAL
	Started time.Time `json:"started,omitzero"`
	Exit    *exit     `json:"exit,omitempty"` // for when containerd no longer knows

	Restarts int         `json:"restarts,omitempty"`
	Log      runtime.Log `json:"log,omitzero"` // where its next run's output goes
}

type exit struct {
	Code int       `json:"code"`
	At   time.Time `json:"at,omitzero"`
	OOM  bool      `json:"oom,omitempty"`
	Lost bool      `json:"lost,omitempty"`
}

func openLedger(dir string) (*ledger, error) {
	l := &ledger{dir: dir, tasks: map[string]*taskEntry{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("ledger of tasks: %w", err)
		}
		t := taskEntry{ID: strings.TrimSuffix(filepath.Base(f), ".json")}
		// A file cut short by a power failure tells of a task that is dead; it is listed with nothing in it.
		if json.Unmarshal(b, &t) != nil {
			t.Containers = nil
		}
		l.tasks[t.ID] = &t
	}
	return l, nil
}

// get returns a copy.
func (l *ledger) get(id string) (taskEntry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.tasks[id]
	if !ok {
		return taskEntry{}, false
	}
	return t.clone(), true
}

// all returns copies, sorted by ID.
func (l *ledger) all() []taskEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []taskEntry
	for _, id := range slices.Sorted(maps.Keys(l.tasks)) {
		out = append(out, l.tasks[id].clone())
	}
	return out
}

func (l *ledger) put(t taskEntry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.putLocked(t)
}

// update changes one container's entry; it does nothing when there is none.
func (l *ledger) update(containerID string, change func(*containerEntry)) error {
	taskID, _, _ := strings.Cut(containerID, "-")
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.tasks[taskID]
	if !ok {
		return nil
	}
	next := t.clone()
	for i := range next.Containers {
		if next.Containers[i].ID == containerID {
			change(&next.Containers[i])
			return l.putLocked(next)
		}
	}
	return nil
}

func (l *ledger) remove(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.tasks, id)
	if err := os.Remove(l.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Private

func (l *ledger) file(id string) string { return filepath.Join(l.dir, id+".json") }

func (l *ledger) putLocked(t taskEntry) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := writeFile(l.file(t.ID), b, 0o600); err != nil {
		return fmt.Errorf("ledger of task %s: %w", t.ID, err)
	}
	c := t.clone()
	l.tasks[t.ID] = &c
	return nil
}

func (t *taskEntry) clone() taskEntry {
	c := *t
	c.Containers = slices.Clone(t.Containers)
	for i, e := range c.Containers {
		if e.Exit != nil {
			x := *e.Exit
			c.Containers[i].Exit = &x
		}
	}
	return c
}

func (t *taskEntry) byName(name string) (containerEntry, bool) {
	for _, c := range t.Containers {
		if c.Name == name {
			return c, true
		}
	}
	return containerEntry{}, false
}
