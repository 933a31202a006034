package ctrd

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/lotse-project/lotse/internal/runtime"
)

func TestLedger_SurvivesItsProcess(t *testing.T) {
	dir := t.TempDir()
	l, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	entry := taskEntry{ID: "a", Containers: []containerEntry{{ID: "a-1", Name: "one"}, {ID: "a-2", Name: "two"}}}
	if err := l.put(entry); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	if err := l.update("a-2", func(c *containerEntry) { c.Created, c.Exit = true, &exit{Code: 3, At: at} }); err != nil {
		t.Fatal(err)
	}
	if err := l.update("b-1", func(*containerEntry) { t.Error("changed a task that is not there") }); err != nil {
		t.Fatal(err)
	}
	if err := l.put(taskEntry{ID: "gone"}); err != nil {
		t.Fatal(err)
	}
	if err := l.remove("gone"); err != nil {
		t.Fatal(err)
	}
	again, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	entry.Containers[1] = containerEntry{ID: "a-2", Name: "two", Created: true, Exit: &exit{Code: 3, At: at}}
	if diff := cmp.Diff([]taskEntry{entry}, again.all()); diff != "" {
		t.Errorf("after a restart (-want +got)\n%s", diff)
	}
}

// A power failure may leave an empty file; its task is dead, but must be listed, so that it gets removed.
func TestLedger_TornFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]taskEntry{{ID: "a"}}, l.all()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestBroadcast_WhoeverFallsBehindLooksAtAll(t *testing.T) {
	var b broadcast
	ch, leave := b.join()
	for i := range 10 * hintsBehind {
		b.send(fmt.Sprint(i))
	}
	n, all := 0, false
	for len(ch) > 0 {
		n++
		all = <-ch == ""
	}
	if !all || n != hintsBehind {
		t.Errorf("%d hints, the last for all: %t; want %d, true", n, all, hintsBehind)
	}
	b.send("x")
	if got := <-ch; got != "x" {
		t.Errorf("next hint = %q, want x", got)
	}
	leave()
	b.send("y")
	if len(ch) != 0 {
		t.Error("hint after leaving")
	}
}

func TestContainerID_FitsContainerd(t *testing.T) {
	id := containerID("0123456789abcdef0123456789abcdef", "--a__b--")
	if want := "0123456789abcdef0123456789abcdef-"; len(id) > 76 || id[:len(want)] != want {
		t.Errorf("containerID() = %q, want at most 76 letters, the task's ID first", id)
	}
	if id == containerID("0123456789abcdef0123456789abcdef", "--a__b-") {
		t.Error("two names, one ID")
	}
}

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		l          limits
		want       [2]uint64
		soft, hard uint64 // 0 = refused
	}{
		{limits{mayRaise: true, maxFiles: 1024}, [2]uint64{}, 65535, 65535},
		{limits{mayRaise: false, maxFiles: 20000}, [2]uint64{}, 20000, 20000},
		{limits{mayRaise: false, maxFiles: 1 << 20}, [2]uint64{}, 65535, 65535},
		{limits{mayRaise: false, maxFiles: 20000}, [2]uint64{10, 20000}, 10, 20000},
		{limits{mayRaise: false, maxFiles: 20000}, [2]uint64{10, 20001}, 0, 0},
		{limits{mayRaise: true, maxFiles: 20000}, [2]uint64{10, 20001}, 10, 20001},
		{limits{mayRaise: true, maxFiles: 20000}, [2]uint64{11, 10}, 0, 0},
	} {
		var ask []runtime.Ulimit
		if test.want[1] != 0 {
			ask = []runtime.Ulimit{{Name: "nofile", Soft: test.want[0], Hard: test.want[1]}, {Name: "core", Hard: 7}}
		}
		all, err := test.l.rlimits(ask)
		got := specs.POSIXRlimit{}
		if err == nil {
			got = all[0]
		}
		if len(all) == 2 && (all[1].Type != "RLIMIT_CORE" || all[1].Hard != 7) {
			t.Errorf("core is %+v", all[1])
		}
		if got.Soft != test.soft || got.Hard != test.hard || (err != nil) != (test.hard == 0) {
			t.Errorf("%+v.rlimits(%v) = %d, %d, %v, want %d, %d", test.l, test.want, got.Soft, got.Hard, err, test.soft, test.hard)
		}
	}
}
