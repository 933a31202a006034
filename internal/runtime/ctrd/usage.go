package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"

	"github.com/lotse-project/lotse/internal/runtime"
)

// Usage implements runtime.Engine.
func (e *Engine) Usage(ctx context.Context, taskID string) (int64, error) {
	t, ok := e.s.ledger.get(taskID)
	if !ok {
		return 0, fmt.Errorf("usage of task %s: %w", taskID, runtime.ErrNotFound)
	}
	c, ctx, err := e.client(ctx)
	if err != nil {
		return 0, err
	}
	dirs := []string{filepath.Join(e.s.taskFiles(), taskID, "volumes")}
	for _, entry := range t.Containers {
		mounts, err := c.SnapshotService(snapshotter).Mounts(ctx, entry.ID)
		if errdefs.IsNotFound(err) {
			continue // not made yet, or removed meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("usage of container %s of task %s: %w", entry.Name, taskID, err)
		}
		dirs = append(dirs, writable(mounts))
	}
	var sum int64
	for _, d := range dirs {
		n, err := diskUsage(ctx, d)
		if err != nil {
			return 0, fmt.Errorf("usage of task %s: %w", taskID, err)
		}
		sum += n
	}
	return sum, nil
}

// Private

// writable is the directory where a snapshot's changes go.
func writable(mounts []mount.Mount) string {
	for _, o := range mounts[0].Options {
		if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
			return dir
		}
	}
	return mounts[0].Source // an image without layers has no overlay
}

// diskUsage is what the files below dir occupy, in bytes. What comes and goes meanwhile is no error; a file with
// several names counts once.
func diskUsage(ctx context.Context, dir string) (int64, error) {
	type inode struct{ dev, ino uint64 }
	var sum int64
	linked := map[inode]bool{}
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
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
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if id := (inode{uint64(st.Dev), st.Ino}); st.Nlink > 1 && !info.IsDir() {
			if linked[id] {
				return nil
			}
			linked[id] = true
		}
		sum += st.Blocks * 512 // st_blocks counts these whatever the file system's block size. Source: stat(2)
		return nil
	})
	return sum, err
}
