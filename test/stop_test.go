package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lotse-project/lotse/test/server"
)

// A server is stopped while it starts, at moments that come later and later.
func TestStopWhileStarting(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("runs servers, needs root")
	}
	dir, err := os.MkdirTemp("", "lotse-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for after := time.Duration(0); after < 200*time.Millisecond; after += 25 * time.Millisecond {
		os.Remove(filepath.Join(dir, "lock"))
		cmd := exec.CommandContext(t.Context(), server.Lotse(), "server", "run", "--data-dir", dir, "--listen", "127.0.0.1:0", "--front", "127.0.0.1:0")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		eventually(t, 5*time.Second, func() error {
			if st, err := os.Stat(filepath.Join(dir, "lock")); err != nil || st.Size() == 0 {
				return os.ErrNotExist
			}
			return nil
		})
		time.Sleep(after)
		if out, err := exec.CommandContext(t.Context(), server.Lotse(), "server", "stop", "--all", "--data-dir", dir).CombinedOutput(); err != nil {
			t.Errorf("stop %s after the lock: %v: %s", after, err, out)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the server stopped %s after the lock: %v", after, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the server runs on, stopped %s after the lock", after)
		}
	}
}
