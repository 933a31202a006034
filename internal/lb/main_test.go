package lb

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// roleEnv makes a process of this binary a balancer's parent or worker.
const roleEnv = "LB_TEST_ROLE"

// TestMain runs the tests of a privileged user in a network of their own, where "the host" is no one's.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	judgeEvery = 20 * time.Millisecond
	switch os.Getenv(roleEnv) {
	case "worker":
		must(RunWorker(ctx, WorkerOptions{Inherited: true, Engine: os.Getenv("LB_TEST_ENGINE"), Log: testLog()}))
	case "parent":
		dir := os.Getenv("LB_TEST_DIR")
		passing = func(step string) {
			if step == os.Getenv("LB_TEST_DIES") {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
		must(RunParent(ctx, ParentOptions{RunDir: dir, SnapshotPath: filepath.Join(dir, "snapshot.json"),
			KeyPath: filepath.Join(dir, "key"), Command: []string{os.Args[0]}, Env: workerRole(), Log: testLog()}))
	case "reverseproxy":
		must(reverseProxy(ctx, os.Getenv("LB_TEST_LISTEN"), os.Getenv("LB_TEST_TARGETS")))
	case "inside":
		must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		must(loopbackUp())
		os.Exit(m.Run())
	default:
		if os.Geteuid() != 0 {
			os.Exit(m.Run())
		}
		exe, err := os.Executable()
		must(err)
		c := exec.Command(exe, os.Args[1:]...)
		c.Env = append(os.Environ(), roleEnv+"=inside")
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		runtime.LockOSThread() // Pdeathsig is about this thread
		if err := c.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func workerRole() []string {
	env := []string{roleEnv + "=worker", "LB_TEST_ENGINE=" + os.Getenv("LB_TEST_ENGINE")}
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "LB_TEST_LOG=") {
			env = append(env, e)
		}
	}
	return env
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// loopbackUp sets lo up in the current namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
