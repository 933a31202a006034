package task

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// fileSystems are the task's EFS volumes, by name: what is mounted for each, when the records say that AWS would.
func (c *Controller) fileSystems(ctx context.Context, l life) (map[string]runtime.Mount, error) {
	out := map[string]runtime.Mount{}
	for _, v := range l.definition.Volumes {
		cfg := v.EfsVolumeConfiguration
		if cfg == nil {
			continue
		}
		point := ""
		if cfg.AuthorizationConfig != nil {
			point = aws.ToString(cfg.AuthorizationConfig.AccessPointId)
		}
		var found state.EFSVolume
		err := c.o.DB.View(ctx, func(tx *store.ReadTx) (err error) {
			found, err = state.MountEFS(tx, l.scope(), l.status.ENI, aws.ToString(cfg.FileSystemId), point)
			return err
		})
		dir, create := path.Join("/", aws.ToString(cfg.RootDirectory)), (*state.Creation)(nil)
		var m runtime.Mount
		if err == nil && found.Point != nil {
			dir, create = found.Point.Path, found.Point.Create
			if u := found.Point.User; u != nil {
				m.As = &runtime.User{UID: uint32(u.UID), GID: uint32(u.GID)}
			}
		}
		if err == nil {
			m.Source, err = fileSystemDir(c.o.FileSystems, found.FileSystem.ID, dir, create)
		}
		var refused *state.MountError
		if errors.As(err, &refused) {
			return nil, &startError{"", refused.Error()}
		}
		if err != nil {
			return nil, err
		}
		out[aws.ToString(v.Name)] = m
	}
	return out, nil
}

// Private

// fileSystemDir returns the directory of a file system that is mounted, made when create says how. A symbolic link on the way
// is refused: it could lead out of the file system.
func fileSystemDir(all, id, dir string, create *state.Creation) (string, error) {
	top := filepath.Join(all, id)
	if err := os.MkdirAll(all, 0o700); err != nil {
		return "", err
	}
	if err := os.Mkdir(top, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return "", err
	}
	defer root.Close()
	refuse := func(why string) error {
		return &state.MountError{Text: fmt.Sprintf("b'mount.nfs4: mounting 127.0.0.1:%s failed, reason given by server: %s'", dir, why), Code: 32}
	}
	names := strings.FieldsFunc(dir, func(r rune) bool { return r == '/' })
	for i := range names {
		p := filepath.Join(names[:i+1]...)
		info, err := root.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist) && create == nil:
			return "", refuse("No such file or directory")
		case errors.Is(err, fs.ErrNotExist):
			owner := *create
			if i+1 < len(names) {
				owner = state.Creation{Permissions: 0o755}
			}
			if err := makeDir(root, p, owner); err != nil {
				return "", err
			}
		case err != nil:
			return "", err
		case !info.IsDir():
			return "", refuse("Not a directory")
		}
	}
	return filepath.Join(append([]string{top}, names...)...), nil
}

// makeDir makes a directory with its owner, or none: another name is its until it has all.
func makeDir(root *os.Root, name string, owner state.Creation) error {
	made := name + ".lotse-new"
	if err := root.Mkdir(made, 0o700); err != nil && !errors.Is(err, fs.ErrExist) { // of a server that was killed
		return err
	}
	if err := root.Chown(made, int(owner.UID), int(owner.GID)); err != nil {
		return err
	}
	mode := fs.FileMode(owner.Permissions & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if owner.Permissions&bit != 0 {
			mode |= flag
		}
	}
	if err := root.Chmod(made, mode); err != nil {
		return err
	}
	return root.Rename(made, name)
}
