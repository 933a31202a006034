package lb

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/proc"
)

// process is a worker, ours or one taken over. Its descriptor tells it from another that gets its number later.
type process struct {
	pid  int
	fd   int // pidfd
	born time.Time
	gone chan struct{} // closed when it has ended
}

// start starts a worker on the parent's sockets.
func (p *parent) start() (*process, error) {
	if err := p.sockets(); err != nil {
		return nil, err
	}
	p.prune()
	exe, err := os.Open(p.o.Command[0])
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	defer exe.Close()
	channel, err := p.channel.File()
	if err != nil {
		return nil, err
	}
	defer channel.Close()
	ctl, err := p.control.File()
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	home, err := os.Open(filepath.Join(p.o.RunDir, homeDir))
	if err != nil {
		return nil, err
	}
	defer home.Close()

	cmd := &exec.Cmd{
		// By descriptor: the folders above the file may be closed to the worker's user.
		Path: fmt.Sprintf("/proc/self/fd/%d", exeFD),
		Args: p.o.Command, Env: workerEnv(p.o.Env), Dir: "/", Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles: []*os.File{channel, ctl, home, exe}, // channelFD and so on
		// A session of its own: a signal to the parent's group is not meant for it.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.o.UID), Gid: uint32(p.o.GID)}
	}
	passing("sockets made")
	if err := startConfined(cmd); err != nil {
		if errors.Is(err, os.ErrPermission) {
			err = fmt.Errorf("%w; user %d must be allowed to execute %s: chmod o+x", err, p.o.UID, p.o.Command[0])
		}
		return nil, fmt.Errorf("start worker: %w", err)
	}
	w, err := openProcess(cmd.Process.Pid)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, err
	}
	go cmd.Wait() // reaps; it ends with the worker
	passing("started")
	p.note(w)
	return w, nil
}

// startConfined starts a process that can never gain privileges: what the thread gives up here, its children lack
// too. The thread is not used again.
func startConfined(cmd *exec.Cmd) error {
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		for c := uintptr(0); err == nil && c <= unix.CAP_LAST_CAP && os.Geteuid() == 0; c++ {
			if e := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); e != nil && e != unix.EINVAL {
				err = e
			}
		}
		if err == nil {
			err = cmd.Start()
		}
		errs <- err
	}()
	return <-errs
}

// sockets makes the sockets that the parent shares with its workers.
func (p *parent) sockets() error {
	for name, ln := range map[string]**net.UnixListener{channelSocket: &p.channel, ControlSocket: &p.control} {
		if *ln != nil {
			continue
		}
		path := filepath.Join(p.o.RunDir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		kind := "unix"
		if name == channelSocket {
			kind = "unixpacket"
		}
		l, err := net.ListenUnix(kind, &net.UnixAddr{Name: path, Net: kind})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false) // by then the path may be another's
		if err := os.Chmod(path, 0o600); err != nil {
			l.Close()
			return err
		}
		*ln = l
	}
	return nil
}

// prune closes the sockets that the saved snapshot does not have: nobody would accept there.
func (p *parent) prune() {
	for k, h := range p.held {
		if !p.wanted.port(k) {
			unix.Close(h.fd)
			delete(p.held, k)
		}
	}
}

// workerEnv passes on what tunes the Go runtime, and no secrets.
func workerEnv(more []string) []string {
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range []string{"GOMAXPROCS", "GODEBUG", "GOGC", "GOMEMLIMIT", "GOTRACEBACK", "GOCOVERDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, more...)
}

func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("worker %d: %w", pid, err)
	}
	w := &process{pid: pid, fd: fd, born: time.Now(), gone: make(chan struct{})}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	go func() { // ends with the worker
		defer unix.Close(dup)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(dup), Events: unix.POLLIN}}, -1)
			if n > 0 || err != nil && err != unix.EINTR {
				close(w.gone)
				return
			}
		}
	}()
	return w, nil
}

func (w *process) ended() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

func (w *process) signal(s unix.Signal) { unix.PidfdSendSignal(w.fd, s, nil, 0) }

// end asks the process to finish, and kills it when that takes longer than timeout.
func (w *process) end(timeout time.Duration) {
	w.signal(unix.SIGTERM)
	select {
	case <-w.gone:
	case <-time.After(timeout):
		w.signal(unix.SIGKILL)
		<-w.gone
	}
}

func (w *process) close() { unix.Close(w.fd) }

// pidFile is the content of WorkerPIDFile.
type pidFile struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

func (p *parent) note(w *process) {
	p.write(WorkerPIDFile, pidFile{w.pid, proc.Start(w.pid)})
}

// noteRetired adds a worker to those that retire, and drops those that have ended.
func (p *parent) noteRetired(w *process) {
	p.write(retiredPIDFile, append(retired(p.o.RunDir), pidFile{w.pid, proc.Start(w.pid)}))
}

func (p *parent) write(name string, what any) {
	path := filepath.Join(p.o.RunDir, name)
	data, err := json.Marshal(what)
	if err == nil {
		err = os.WriteFile(path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		p.log.Warn("worker not noted", "file", name, "err", err)
	}
}

// retired are the workers that still retire.
func retired(runDir string) (list []pidFile) {
	data, err := os.ReadFile(filepath.Join(runDir, retiredPIDFile))
	if err != nil || json.Unmarshal(data, &list) != nil {
		return nil
	}
	return slices.DeleteFunc(list, func(f pidFile) bool { return !proc.Is(f.PID, f.Start) })
}

// EndRetired ends the workers that a take-over by another build has left to serve the connections they had. What is
// open then may go on for as long as at any end of a worker; who is not done after timeout is killed.
func EndRetired(runDir string, timeout time.Duration) {
	var all sync.WaitGroup
	for _, f := range retired(runDir) {
		w, err := openProcess(f.PID)
		if err != nil {
			continue
		}
		all.Go(func() {
			defer w.close()
			if proc.Is(f.PID, f.Start) {
				w.end(timeout)
			}
		})
	}
	all.Wait()
	os.Remove(filepath.Join(runDir, retiredPIDFile))
}

// endLeftover kills the process that a pid file names, if it is still that one.
func endLeftover(path string) {
	var f pidFile
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &f) != nil || f.PID <= 1 || f.Start == 0 {
		return
	}
	w, err := openProcess(f.PID)
	if err != nil {
		return
	}
	defer w.close()
	if proc.Is(f.PID, f.Start) {
		w.end(0)
	}
}
