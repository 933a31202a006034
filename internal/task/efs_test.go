package task

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lotse-project/lotse/internal/state"
)

func TestFileSystemDir(t *testing.T) {
	all := filepath.Join(t.TempDir(), "efs")
	outside := t.TempDir()
	dir := func(path string, create *state.Creation) (string, error) {
		return fileSystemDir(all, "fs-1", path, create)
	}
	top, err := dir("/", nil)
	if err != nil || top != filepath.Join(all, "fs-1") {
		t.Fatalf("%q, %v", top, err)
	}
	if info, err := os.Stat(all); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may look into all file systems: %v, %v", info, err)
	}
	if err := os.Symlink(outside, filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	me := &state.Creation{UID: int64(os.Getuid()), GID: int64(os.Getgid()), Permissions: 0o2750}
	if os.Getuid() == 0 {
		me.UID, me.GID = 1000, 1001
	}
	if err := os.MkdirAll(filepath.Join(top, "a", "b.lotse-new"), 0o755); err != nil { // a server was killed
		t.Fatal(err)
	}
	for range 2 {
		got, err := dir("/a/b", me)
		if err != nil || got != filepath.Join(top, "a", "b") {
			t.Fatalf("%q, %v", got, err)
		}
		info, err := os.Stat(got)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); int64(st.Uid) != me.UID || int64(st.Gid) != me.GID || st.Mode&0o7777 != 0o2750 {
			t.Errorf("%d:%d %o, want %d:%d 2750", st.Uid, st.Gid, st.Mode&0o7777, me.UID, me.GID)
		}
		me.Permissions = 0 // what is there stays as it is
	}
	if left, _ := filepath.Glob(filepath.Join(top, "a", "*.lotse-new")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for path, want := range map[string]string{"/none": "No such file or directory", "/link": "Not a directory", "/link/x": "Not a directory", "/file": "Not a directory"} {
		_, err := dir(path, nil)
		var refused *state.MountError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := dir("/link/x", me); err == nil {
		t.Error("a directory was made through a link")
	}
	if made, _ := os.ReadDir(outside); len(made) > 0 {
		t.Errorf("outside of the file system: %v", made)
	}
}
