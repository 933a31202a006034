package segment

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a writer of the stream it names.
const childEnv = "LOTSE_TEST_SEGMENT_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		childWrites(dir)
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// childWrites appends numbered events as fast as it can, and prints the number of each batch that was accepted. When
// its files may not grow any more it says so and exits.
func childWrites(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	limit := os.Getenv(childEnv+"_LIMIT") != ""
	if limit {
		unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 20_000, Max: unix.RLIM_INFINITY})
	}
	w, err := OpenWriter(dir, WriterOptions{SegmentBytes: 64 << 10})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	r, _ := OpenReader(dir)
	events := 0
	if end, _ := r.Last(); end > 0 {
		es, _ := r.ReadBack(0, 1)
		events = int(binary.LittleEndian.Uint64(es[0].Data)) + 1
	}
	for {
		var batch []Event
		for range 1 + events%9 {
			batch = append(batch, Event{Data: numbered(uint64(events))})
			events++
		}
		if err := w.Append(batch...); err != nil {
			events -= len(batch)
			fmt.Println("full", events)
			if !limit {
				os.Exit(1)
			}
			unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
			limit = false
			continue
		}
		fmt.Println(events)
		if limit == false && os.Getenv(childEnv+"_LIMIT") != "" && events > 2000 {
			os.Exit(0)
		}
	}
}

// numbered is data whose wholeness can be checked: a number, a filling, a sum.
func numbered(n uint64) []byte {
	b := binary.LittleEndian.AppendUint64(nil, n)
	for range n % 300 {
		b = append(b, byte(n))
	}
	h := fnv.New32a()
	h.Write(b)
	return h.Sum(b)
}

// checkNumbered reads all of a stream, which must be numbers from 0 on without a gap.
func checkNumbered(t *testing.T, r *Reader, after uint64, next int) (uint64, int) {
	t.Helper()
	for {
		es, err := r.Read(after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(es) == 0 {
			return after, next
		}
		for _, e := range es {
			if string(e.Data) != string(numbered(uint64(next))) {
				t.Fatalf("event at %d is not number %d", e.Pos, next)
			}
			next++
			after = e.Pos
		}
	}
}

func child(t *testing.T, dir string, env ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), append(env, childEnv+"="+dir)...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c, bufio.NewScanner(out)
}

// Another process writes and is killed at some point, again and again, while we read: we see each event whole and once,
// and every event whose Append had returned.
func TestKill_AcceptedEventsSurvive(t *testing.T) {
	dir := t.TempDir()
	r, _ := OpenReader(dir)
	after, next := uint64(0), 0
	for i := range 8 {
		c, lines := child(t, dir)
		accepted := 0
		stop := time.Now().Add(time.Duration(20+10*i) * time.Millisecond)
		for lines.Scan() {
			fmt.Sscan(lines.Text(), &accepted)
			if accepted%50 == 0 {
				after, next = checkNumbered(t, r, after, next)
			}
			if time.Now().After(stop) {
				break
			}
		}
		c.Process.Kill()
		for lines.Scan() {
			fmt.Sscan(lines.Text(), &accepted)
		}
		c.Wait()
		after, next = checkNumbered(t, r, after, next)
		if next < accepted {
			t.Fatalf("round %d: %d events accepted, %d there", i, accepted, next)
		}
		if accepted == 0 {
			t.Fatalf("round %d: nothing written", i)
		}
	}
	t.Logf("%d events", next)
}

// A write that fails half way leaves nothing behind, and writing goes on when there is room again.
func TestFull_LosesNothing(t *testing.T) {
	dir := t.TempDir()
	c, lines := child(t, dir, childEnv+"_LIMIT=1")
	accepted, full := 0, false
	for lines.Scan() {
		if n, _ := fmt.Sscanf(lines.Text(), "full %d", &accepted); n == 1 {
			full = true
			continue
		}
		fmt.Sscan(lines.Text(), &accepted)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	r, _ := OpenReader(dir)
	if _, next := checkNumbered(t, r, 0, 0); !full || next != accepted {
		t.Errorf("full %v, %d events, want %d", full, next, accepted)
	}
}
