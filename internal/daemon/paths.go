package daemon

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lotse-project/lotse/internal/lb"
)

// DefaultDataDir is where a server keeps everything that outlives it.
const DefaultDataDir = "/var/lib/lotse"

// Paths are a server's places. Everything outside Data carries the server's short id, so that
// servers side by side never meet.
type Paths struct {
	Data string // what survives
	ID   string // 8 characters of base32, from Data's path
	Run  string // sockets, pid files, pinned namespaces: /run/lotse/ID
	Bin  string // where containerd, runc, buildkitd and the shims are
}

// NewPaths names the places of the server whose data directory is dir; it makes nothing.
func NewPaths(dir string) (Paths, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Paths{}, err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	self, err := os.Executable()
	if err != nil {
		return Paths{}, err
	}
	sum := sha256.Sum256([]byte(abs))
	id := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5]))
	return Paths{Data: abs, ID: id, Run: "/run/lotse/" + id, Bin: runtimeDir(self)}, nil
}

func (p Paths) DB() string          { return filepath.Join(p.Data, "lotse.db") }
func (p Paths) Lock() string        { return filepath.Join(p.Data, "lock") }
func (p Paths) Credentials() string { return filepath.Join(p.Data, "credentials") }
func (p Paths) Key() string         { return filepath.Join(p.Data, "key") }       // seals parameters and secrets
func (p Paths) BalancerKey() string { return filepath.Join(p.Data, "lb", "key") } // seals certificates' private keys; the balancer has it
func (p Paths) Server() string      { return filepath.Join(p.Data, "server.json") }
func (p Paths) Logs() string        { return filepath.Join(p.Data, "logs") }
func (p Paths) Metrics() string     { return filepath.Join(p.Data, "metrics") }
func (p Paths) AccessLogs() string  { return filepath.Join(p.Data, "access-logs") }
func (p Paths) Buckets() string     { return filepath.Join(p.Data, "buckets") } // objects that tasks read; put there by hand
func (p Paths) FileSystems() string { return filepath.Join(p.Data, "efs") }     // each EFS file system by its id
func (p Paths) Snapshot() string    { return filepath.Join(p.Data, "lb", "snapshot.json") }
func (p Paths) Names() string       { return filepath.Join(p.Data, "net", "snapshot.json") }
func (p Paths) Storage() string     { return filepath.Join(p.Data, "net", "storage.json") }
func (p Paths) Plane() string       { return filepath.Join(p.Bin, "lotse-plane") }
func (p Paths) NamesSocket() string { return filepath.Join(p.Run, "net.sock") }
func (p Paths) BalancerSocket() string {
	return filepath.Join(p.Run, lb.ControlSocket)
}
func (p Paths) PIDFile(process string) string {
	return filepath.Join(p.Run, process+".pid")
}

// make creates the directories. Data is the owner's alone: it holds the keys.
func (p Paths) make() error {
	for _, d := range []string{p.Data, filepath.Join(p.Data, "lb"), filepath.Join(p.Data, "net"), p.Logs(), p.Run} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("%w: Lotse keeps its data there; choose another place with --data-dir", err)
		}
	}
	// The balancer's unprivileged worker reads its snapshot and makes its socket below Run.
	for _, d := range []string{"/run/lotse", p.Run} {
		if err := os.Chmod(d, 0o711); err != nil {
			return err
		}
	}
	return nil
}

// Private

// runtimeDir is bin/runtime beside the binary, or where an installation puts it.
func runtimeDir(self string) string {
	if d := os.Getenv("LOTSE_RUNTIME_DIR"); d != "" {
		return d
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	for _, d := range []string{filepath.Join(filepath.Dir(self), "runtime"), "/usr/lib/lotse/runtime", "/usr/local/lib/lotse/runtime"} {
		if _, err := os.Stat(filepath.Join(d, "containerd")); err == nil {
			return d
		}
	}
	return filepath.Join(filepath.Dir(self), "runtime")
}

// checkBinaries tells what isn't built.
func (p Paths) checkBinaries() error {
	for _, b := range []string{"containerd", "containerd-shim-runc-v2", "runc", "buildkitd", "lotse-plane", "lotse-log"} {
		if _, err := os.Stat(filepath.Join(p.Bin, b)); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is missing in %s: run make build, or name the folder with LOTSE_RUNTIME_DIR", b, p.Bin)
		}
	}
	return nil
}
