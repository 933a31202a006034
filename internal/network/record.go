package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A record is what was made of a VPC, in RunDir/network/ID.json. It is written before something
// new is made and after all is done, so that it always names all there may be; a process that was
// killed in between finds it again.
type record struct {
	ENIs    []made   `json:",omitempty"`
	Applied *applied `json:",omitempty"`
}

// made is an ENI as it was made, as far as that cannot be changed.
type made struct {
	ID, Addr, Task string
}

// applied is the intent that the kernel's table was rendered from, so that a new process goes on
// with deltas.
type applied struct {
	Intent     Intent
	Generation uint32 // of the ruleset with that table
	Digest     string // of the table's text: another Lotse may render another
}

func (e ENI) made() made { return made{e.ID, e.Addr.String(), e.Task} }

func (v *vpc) recordPath() string {
	return filepath.Join(v.m.o.RunDir, recordDir, v.id+".json")
}

// load reads the record; one that can't be read is as good as none, since all it speaks of is
// found by other means as well, if more slowly.
func (v *vpc) load() {
	v.record = record{}
	b, err := os.ReadFile(v.recordPath())
	if err == nil {
		err = json.Unmarshal(b, &v.record)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.m.o.Log.Warn("network record is unreadable; looking at the kernel instead", "vpc", v.id, "err", err)
		v.record = record{}
	}
}

// save replaces the record's file. It need not survive a power cut, after which nothing of what
// it names exists.
func (v *vpc) save() error {
	b, err := json.Marshal(v.record)
	if err != nil {
		return err
	}
	path := v.recordPath()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+"~", b, 0o600); err != nil {
		return fmt.Errorf("note what is made of %s: %w", v.id, err)
	}
	return os.Rename(path+"~", path)
}

// plan notes what is about to be made and gives what is there and no longer wanted.
func (v *vpc) plan(in Intent) (gone []made, err error) {
	want := map[made]bool{}
	for _, e := range in.ENIs {
		want[e.made()] = true
	}
	for _, e := range v.record.ENIs {
		if want[e] {
			delete(want, e)
		} else {
			gone = append(gone, e)
		}
	}
	if len(want) == 0 {
		return gone, nil
	}
	for _, e := range in.ENIs {
		if want[e.made()] {
			v.record.ENIs = append(v.record.ENIs, e.made())
		}
	}
	return gone, v.save()
}

// done notes what there is now.
func (v *vpc) done(in Intent) error {
	a := applied{Intent: in.clone(), Generation: v.gen, Digest: v.table.digest()}
	if was := v.record.Applied; was != nil && was.Generation == a.Generation && was.Digest == a.Digest && len(v.record.ENIs) == len(in.ENIs) {
		return nil
	}
	v.record.ENIs = nil
	for _, e := range in.ENIs {
		v.record.ENIs = append(v.record.ENIs, e.made())
	}
	v.record.Applied = &a
	return v.save()
}

// recorded are the ids of the VPCs that have a record or a pin.
func (m *Manager) recorded() []string {
	ids := map[string]bool{}
	files, _ := os.ReadDir(filepath.Join(m.o.RunDir, recordDir))
	for _, f := range files {
		ids[strings.TrimSuffix(strings.TrimSuffix(f.Name(), "~"), ".json")] = true
	}
	pins, _ := os.ReadDir(filepath.Join(m.o.RunDir, netnsDir))
	for _, f := range pins {
		if !strings.HasPrefix(f.Name(), "task-") {
			ids[f.Name()] = true
		}
	}
	m.mu.Lock()
	for id := range m.vpcs {
		ids[id] = true
	}
	m.mu.Unlock()
	var all []string
	for id := range ids {
		all = append(all, id)
	}
	return all
}
