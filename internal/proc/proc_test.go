package proc

import (
	"os/exec"
	"testing"
	"time"
)

func TestStart(t *testing.T) {
	const rest = " 1 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 4711 1000 2 18446744073709551615"
	for stat, want := range map[string]uint64{
		"7 (lotse) S" + rest:     4711,
		"7 (a) Z (b c) R" + rest: 4711,
		"7 (lotse) Z" + rest:     0,
		"7 (lotse) X" + rest:     0,
		"7 (lotse) S 1 7":        0,
		"":                       0,
	} {
		if got := start([]byte(stat)); got != want {
			t.Errorf("start(%q) = %d, want %d", stat, got, want)
		}
	}
}

// A process is itself as long as it lives, and not when it has ended and nobody has reaped it.
func TestIs(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	started := Start(pid)
	if !Is(pid, started) || Is(pid, started+1) || Is(pid, 0) {
		t.Errorf("process %d started at %d", pid, started)
	}
	in.Close()
	for Start(pid) != 0 { // not reaped yet, but it ends
		time.Sleep(time.Millisecond)
	}
	if Is(pid, started) {
		t.Error("a process that has ended is taken for itself")
	}
	_ = cmd.Wait()
}
