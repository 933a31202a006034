package ctrd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/runtime"
)

// fillVolumes copies what the image has at its VOLUME paths into the task's volumes that are mounted there and still empty,
// with owners and permissions. Source: ECS Developer Guide, bind-mounts.
func (e *Engine) fillVolumes(ctx context.Context, c *client.Client, taskID string, spec runtime.ContainerSpec, id string, img *image) error {
	declared := map[string]bool{}
	for p := range img.config.Config.Volumes {
		declared[path.Clean(p)] = true
	}
	for _, m := range spec.Mounts {
		if m.Volume == "" || !declared[path.Clean(m.Path)] {
			continue
		}
		dir := e.volume(taskID, m.Volume)
		if found, err := os.ReadDir(dir); err != nil || len(found) > 0 {
			if err != nil {
				return err
			}
			continue
		}
		layers, err := c.SnapshotService(snapshotter).Mounts(ctx, id)
		if err != nil {
			return err
		}
		// A name that no volume can have, so that a copy that was broken off is never taken for one.
		part := dir + ".part"
		if err := os.RemoveAll(part); err != nil {
			return err
		}
		err = inImage(layers, func(root string) error {
			from, err := fs.RootPath(root, path.Clean(m.Path)) // a link of the image leads nowhere else
			if err != nil {
				return err
			}
			if info, err := os.Stat(from); err != nil || !info.IsDir() {
				return ignoreMissing(err)
			}
			return fs.CopyDir(part, from)
		})
		if err == nil {
			err = ignoreMissing(unix.Rename(part, dir)) // it takes the place of an empty directory
		}
		if err != nil {
			return fmt.Errorf("copy the image's %s into volume %s: %w", m.Path, m.Volume, err)
		}
	}
	return nil
}

// Private

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// inImage calls do with the files of an image whose snapshot is mounted so. The mount is in a mount namespace of one thread,
// which is where do runs, and ends with it, whatever happens to us.
func inImage(layers []mount.Mount, do func(root string) error) error {
	lower, err := lowerDirs(layers)
	if err != nil || len(lower) == 0 {
		return err
	}
	if len(lower) == 1 {
		return do(lower[0])
	}
	return inThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			return fmt.Errorf("mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		// The options have a page: names relative to the snapshots' directory leave room for some hundred layers.
		top := path.Dir(path.Dir(lower[0]))
		if err := unix.Chdir(top); err != nil {
			return err
		}
		short := make([]string, len(lower))
		for i, l := range lower {
			if short[i], err = filepath.Rel(top, l); err != nil {
				return err
			}
		}
		root, err := os.MkdirTemp("", "image")
		if err != nil {
			return err
		}
		defer os.Remove(root)
		if err := unix.Mount("overlay", root, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(short, ":")); err != nil {
			return fmt.Errorf("overlay of %d layers: %w", len(lower), err)
		}
		defer unix.Unmount(root, unix.MNT_DETACH)
		return do(root)
	})
}

// inThread calls do on a thread that ends with it. The first thread of a process never ends, so it isn't taken.
func inThread(do func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- inThread(do)
			goruntime.UnlockOSThread()
			return
		}
		done <- do()
	}()
	return <-done
}

// lowerDirs are the directories of a snapshot's layers, the uppermost first.
func lowerDirs(layers []mount.Mount) ([]string, error) {
	if len(layers) != 1 {
		return nil, fmt.Errorf("a snapshot of %d mounts", len(layers))
	}
	for _, o := range layers[0].Options {
		if dirs, ok := strings.CutPrefix(o, "lowerdir="); ok {
			return strings.Split(dirs, ":"), nil
		}
	}
	return nil, nil // an image without layers
}
