// Command lotse-log is started by a container's shim with the read ends of the container's standard output and error,
// and writes what comes out of them, one event per line or per several, to a segment directory. It lives as long as the shim keeps the
// container, whoever else is alive, so a container never blocks on its output because a server is away.
//
//	lotse-log -dir DIR [-max-line BYTES] [-max-bytes BYTES] [-multiline REGEXP] [-mode MODE] [-max-buffer BYTES]
//
// Descriptors 3 and 4 are the container's standard output and error; one byte is written to 5, and 5 closed, when all is
// ready. Source: containerd, core/runtime/v2/logging. That package would do, but for its dependencies: one of these
// processes runs per container, so what it links counts.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/segment"
)

const (
	// pipeSize is asked for, bytes: at 10 MB/s it holds a tenth of a second. The default, 64 KiB, would hold 6 ms.
	pipeSize = 1 << 20

	// lockPatience is how long another writer of the stream is waited for.
	lockPatience = 5 * time.Second
)

func main() {
	dir := flag.String("dir", "", "segment directory of the stream")
	maxLine := flag.Int("max-line", 16<<10, "longer lines are split, `bytes`")
	maxBytes := flag.Int64("max-bytes", 1<<30, "the oldest lines go when the stream is larger, `bytes`")
	multiline := flag.String("multiline", "", "an event begins with a line that matches the `regexp`; empty: each line is one")
	mode := flag.String("mode", "", "when the buffer is full: blocking, non-blocking, or empty, which is a compromise")
	maxBuffer := flag.Int("max-buffer", maxQueued, "what waits for the disk, `bytes`")
	flag.Parse()
	// The shim sends SIGTERM after it has closed its ends of the pipes. What is in them is still to be written: the
	// end of the pipes is the end of the work.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	debug.SetGCPercent(50) // little lives long here
	o := options{*dir, *maxLine, *multiline, *mode, *maxBuffer}
	if err := run(o, segment.WriterOptions{MaxBytes: *maxBytes}); err != nil {
		fmt.Fprintln(os.Stderr, "lotse-log:", err)
		os.Exit(1)
	}
}

type options struct {
	dir       string
	maxLine   int // bytes
	multiline string
	mode      string
	maxBuffer int // bytes
}

// patienceOf is by mode.
var patienceOf = map[string]time.Duration{"": patience, "blocking": forever, "non-blocking": 0}

func run(o options, wo segment.WriterOptions) error {
	if o.dir == "" || o.maxLine < 4 || o.maxBuffer <= 0 {
		return errors.New("-dir is missing, -max-line less than 4, or -max-buffer not positive")
	}
	wait, known := patienceOf[o.mode]
	if !known {
		return fmt.Errorf("-mode is blocking or non-blocking, not %q", o.mode)
	}
	first, err := regexp.Compile(o.multiline)
	if err != nil {
		return fmt.Errorf("-multiline: %w", err)
	}
	w, err := openWriter(o.dir, wo)
	if err != nil {
		return err
	}
	defer w.Close()
	streams := []*os.File{os.NewFile(3, "stdout"), os.NewFile(4, "stderr")}
	for _, f := range streams {
		// As large as the administrator lets pipes be; else it stays as it is.
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, pipeSize)
	}
	ready := os.NewFile(5, "ready")
	if _, err := ready.Write([]byte{0}); err != nil {
		return fmt.Errorf("tell the shim: %w", err)
	}
	ready.Close()

	q := newQueue(w.Newest(), o.maxBuffer, wait)
	var readers, writer sync.WaitGroup
	writer.Go(func() { q.writeTo(w) })
	for _, f := range streams {
		readers.Go(func() {
			if o.multiline == "" {
				copyLines(single{q}, f, o.maxLine)
				return
			}
			events := newSeveral(q, first)
			copyLines(events, f, maxEvent) // a line's parts would begin with nothing to match
			events.flush()
		})
	}
	readers.Wait()
	q.close()
	writer.Wait()
	return w.Sync()
}

// openWriter waits a while for another writer to end: one that puts a few events, or is just being killed.
func openWriter(dir string, o segment.WriterOptions) (*segment.Writer, error) {
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(50 * time.Millisecond) {
		w, err := segment.OpenWriter(dir, o)
		if err == nil || !errors.Is(err, segment.ErrLocked) || time.Now().After(deadline) {
			return w, err
		}
	}
}
