package lbconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// MaxSize is the most bytes a snapshot may have as JSON.
const MaxSize = 64 << 20

// Save writes the snapshot to path: beside, synced, renamed. Only the owner can read or write the file.
func Save(path string, s Snapshot) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("save snapshot %d: %w", s.Rev, err)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("save snapshot %d: %w", s.Rev, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".snapshot-*")
	if err != nil {
		return fmt.Errorf("save snapshot %d: %w", s.Rev, err)
	}
	defer os.Remove(f.Name()) // gone already when the rename went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("save snapshot %d: %w", s.Rev, err)
	}
	return syncDir(filepath.Dir(path))
}

// Load reads and validates the snapshot at path. A missing file is fs.ErrNotExist.
func Load(path string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f)
}

// Read reads and validates one snapshot.
func Read(r io.Reader) (*Snapshot, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("read snapshot: more than %d bytes", MaxSize)
	}
	var s Snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("read snapshot %d: %w", s.Rev, err)
	}
	return &s, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
