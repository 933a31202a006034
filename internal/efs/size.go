package efs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// sizeEvery is how often file systems are measured. AWS's figure is at most about an hour old.
const sizeEvery = time.Minute

// emptySize is what AWS says of an empty file system, in bytes. Source: EFS user guide, metering.
const emptySize = 6144

type size struct {
	bytes int64
	at    time.Time
}

// remove removes the files of deleted file systems, then their records: killed in between, it goes on at the next start.
func (s *Service) remove(ctx context.Context) error {
	all, err := s.all(ctx)
	for _, f := range all {
		if !f.Deleting {
			continue
		}
		rerr := os.RemoveAll(filepath.Join(s.o.Dir, f.ID))
		if rerr == nil {
			rerr = s.o.DB.Update(ctx, func(tx *store.WriteTx) error { return state.FileSystems.Delete(tx, f.Scope.Key(f.ID), 0) })
		}
		err = errors.Join(err, rerr)
	}
	return err
}

// measure finds how much each file system holds.
func (s *Service) measure(ctx context.Context) {
	all, err := s.all(ctx)
	if err != nil {
		return
	}
	sizes := map[string]size{}
	for _, f := range all {
		bytes, err := used(ctx, filepath.Join(s.o.Dir, f.ID))
		if err != nil && ctx.Err() == nil {
			s.o.Log.Warn("a file system can't be measured", "file_system", f.ID, "err", err)
		}
		sizes[f.ID] = size{max(emptySize, bytes), time.Now()}
	}
	s.mu.Lock()
	s.sizes = sizes
	s.mu.Unlock()
}

// Private

func (s *Service) sizeOf(f state.FileSystem) (int64, *time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.sizes[f.ID]; ok {
		return m.bytes, &m.at
	}
	return emptySize, nil
}

func (s *Service) all(ctx context.Context) (out []state.FileSystem, err error) {
	return out, s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.FileSystems.List(tx, "") {
			if err != nil {
				return err
			}
			out = append(out, o.Val)
		}
		return nil
	})
}

// used is what the files below dir occupy, in bytes; what comes and goes meanwhile is no error.
func used(ctx context.Context, dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && !d.IsDir() {
			sum += st.Blocks * 512 / int64(max(1, st.Nlink)) // so that a file of several names counts once
		}
		return nil
	})
	return sum, err
}
