package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// childEnv names the file that a child process of a test writes to; childMode says how.
const (
	childEnv  = "LOTSE_STORE_TEST_CHILD"
	childMode = "LOTSE_STORE_TEST_MODE"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := child(path, os.Getenv(childMode)); err != nil {
			fmt.Println("error", err)
		}
		return
	}
	os.Exit(m.Run())
}

// tempDir is for rapid, whose T has no TempDir.
func tempDir(t interface {
	Cleanup(func())
	Fatal(...any)
}) string {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// child writes from several goroutines and prints "key size rev" for every write that was acknowledged.
func child(path, mode string) error {
	if mode == "limit" {
		signal.Ignore(syscall.SIGXFSZ) // so that the write gets EFBIG
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}); err != nil {
			return err
		}
	}
	db, err := Open(path, Options{})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for g := range 4 {
		wg.Go(func() { errs <- childWrites(db, g, mode) })
	}
	wg.Wait()
	return <-errs
}

func childWrites(db *DB, g int, mode string) error {
	for i := 1; ; i++ {
		o := Object[city]{Key: fmt.Sprintf("%d/%d", g, i%50), Val: city{Name: strings.Repeat("x", 2000), Size: i}}
		if mode == "limit" {
			o.Key = fmt.Sprintf("%d/%d", g, i) // grows until it is full
		}
		var both [2]Rev
		err := db.Update(context.Background(), func(tx *WriteTx) error {
			for j, key := range []string{o.Key, o.Key + "/twin"} {
				is, err := cities.Get(tx, key)
				if err != nil && !errors.Is(err, ErrNotFound) {
					return err
				}
				is.Val = o.Val
				if err := cities.Put(tx, &is); err != nil {
					return err
				}
				both[j] = is.Rev
			}
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Printf("%s %d %d\n", o.Key, o.Val.Size, both[0]) // one write(2), so lines of goroutines do not mix
	}
}

type acked struct {
	size int
	rev  Rev
}

// runChild returns what the child acknowledged until it was killed after n lines (0: it ends by itself), and its error.
func runChild(t *testing.T, path, mode string, n int) (map[string]acked, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path, childMode+"="+mode)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	seen, failure := map[string]acked{}, ""
	for s := bufio.NewScanner(out); s.Scan(); {
		var key string
		var a acked
		if _, err := fmt.Sscanf(s.Text(), "%s %d %d", &key, &a.size, &a.rev); err != nil {
			failure = s.Text()
			continue
		}
		seen[key] = a
		if n--; n == 0 {
			cmd.Process.Kill() // and read on: what is in the pipe was acknowledged too
		}
	}
	return seen, failure
}

// checkAcked: every acknowledged write is there, or a later one of the same key; both halves of each transaction agree.
func checkAcked(t *testing.T, path string, seen map[string]acked) {
	t.Helper()
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for key, a := range seen {
		o, err := get(t, db, key)
		if err != nil || o.Val.Size < a.size || o.Rev < a.rev {
			t.Errorf("%s: acknowledged size %d at %d, found %d at %d, %v", key, a.size, a.rev, o.Val.Size, o.Rev, err)
		}
		if twin, err := get(t, db, key+"/twin"); err != nil || twin.Val.Size != o.Val.Size {
			t.Errorf("%s: half a transaction: %d and %d, %v", key, o.Val.Size, twin.Val.Size, err)
		}
	}
	c, _ := db.writer.get(t.Context())
	defer db.writer.put(c)
	var ok string
	if err := c.row("PRAGMA integrity_check", nil, []any{&ok}); err != nil || ok != "ok" {
		t.Errorf("integrity_check: %s, %v", ok, err)
	}
}

func TestKill_AcknowledgedWritesSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lotse.db")
	for _, n := range []int{1, 20, 150, 333} {
		seen, failure := runChild(t, path, "kill", n)
		if failure != "" || len(seen) == 0 {
			t.Fatalf("child: %d keys, %q", len(seen), failure)
		}
		checkAcked(t, path, seen)
	}
}

func TestFileSizeLimit_LosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lotse.db")
	seen, failure := runChild(t, path, "limit", 0)
	if failure == "" || len(seen) < 10 {
		t.Fatalf("child: %d keys, error %q", len(seen), failure)
	}
	t.Logf("%d keys, then: %s", len(seen), failure)
	checkAcked(t, path, seen)
}

func TestFull_IsAnErrorAndLosesNothing(t *testing.T) {
	db := openTest(t, Options{MaxBytes: 256 << 10})
	seen := map[string]acked{}
	var full error
	for i := 1; full == nil; i++ {
		o := Object[city]{Key: fmt.Sprint(i), Val: city{Name: strings.Repeat("x", 3000), Size: i}}
		full = db.Update(t.Context(), func(tx *WriteTx) error {
			twin := o
			twin.Key += "/twin"
			// The errors are dropped: even so nothing may be committed by halves.
			cities.Put(tx, &twin)
			cities.Put(tx, &o)
			cities.Put(tx, &Object[city]{Key: "small"})
			return nil
		})
		if full == nil {
			seen[o.Key] = acked{i, o.Rev}
		} else if o.Rev != 0 {
			t.Errorf("the object keeps revision %d after the failure", o.Rev)
		}
	}
	if !errors.Is(full, ErrFull) {
		t.Fatalf("Update = %v, want ErrFull", full)
	}
	if len(seen) < 5 {
		t.Fatalf("only %d writes before it was full", len(seen))
	}
	// It still reads, deletes and, with the room of the deleted, writes.
	for key := range seen {
		if _, err := get(t, db, key); err != nil {
			t.Error(err)
		}
	}
	err := db.Update(t.Context(), func(tx *WriteTx) error {
		return errors.Join(cities.Delete(tx, "1", 0), cities.Delete(tx, "1/twin", 0))
	})
	if err != nil {
		t.Fatalf("Delete when full: %v", err)
	}
	delete(seen, "1")
	put(t, db, "new", 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	checkAcked(t, db.path, seen)
}
