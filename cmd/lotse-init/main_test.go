package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "lotse-init")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

func TestInit(t *testing.T) {
	bin := build(t)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want int
	}{
		{"ExitCode", []string{"--", "sh", "-c", "exit 3"}, 3},
		{"KilledChild", []string{"--", "sh", "-c", "kill -9 $$"}, 137},
		{"NoSuchCommand", []string{"--", "/nonsense"}, 127},
		{"NotInPath", []string{"--", "nonsense"}, 127},
		{"NotExecutable", []string{"--", plain}, 126},
		{"Nothing", nil, 64},
		{"OutlivedByAnOrphan", []string{"--", "sh", "-c", "(sleep 0.1 &) ; exit 4"}, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := exec.Command(bin, test.args...).Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != test.want {
				t.Errorf("lotse-init %q: %v, want exit code %d", test.args, err, test.want)
			}
		})
	}
}

func TestInit_PassesSignalsOn(t *testing.T) {
	cmd := exec.Command(build(t), "--", "sh", "-c", `trap 'echo got it; exit 9' USR1; echo ready; while :; do sleep 0.02; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 6)
	if _, err := out.Read(line); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Signal(syscall.SIGUSR1)
	rest := make([]byte, 100)
	n, _ := out.Read(rest)
	cmd.Wait()
	if got := strings.TrimSpace(string(rest[:n])); got != "got it" || cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("after SIGUSR1: %q, exit code %d, want got it, 9", got, cmd.ProcessState.ExitCode())
	}
}
