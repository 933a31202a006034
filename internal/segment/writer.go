package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSegmentBytes is the size at which a file is full, bytes.
const DefaultSegmentBytes = 8 << 20

// WriterOptions of a Writer. The zero value is the default.
type WriterOptions struct {
	// SegmentBytes is the size at which the next file is begun, bytes. 0: DefaultSegmentBytes.
	SegmentBytes int64

	// MaxBytes limits the stream: the oldest files go when a new one is begun. 0: no limit.
	MaxBytes int64
}

// Writer appends to a stream. Its methods may be called concurrently.
type Writer struct {
	dir  string
	o    WriterOptions
	lock *os.File

	mu   sync.Mutex
	f    *os.File
	base uint64
	size int64 // of f, up to the last whole record
	mark mark
	buf  []byte
	err  error // of the last attempt to begin a file
}

// OpenWriter opens the stream in dir, which is made when missing, for writing. ErrLocked: somebody else does.
func OpenWriter(dir string, o WriterOptions) (*Writer, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, o: o, lock: lock}
	if err := w.recover(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open log stream %s: %w", dir, err)
	}
	return w, nil
}

// Append writes events in this order; a zero Ingested is now, a zero Time as Ingested. After an error nothing of the
// last file's worth of them is in the stream, and Append may be tried again.
func (w *Writer) Append(events ...Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return os.ErrClosed
	}
	for i := range events {
		if n := len(events[i].Data); n > MaxData {
			return fmt.Errorf("event of %d bytes: at most %d fit", n, MaxData)
		}
	}
	w.buf = w.buf[:0]
	m := w.mark
	for _, e := range events {
		if e.Ingested.IsZero() {
			e.Ingested = time.Now()
		}
		if e.Time.IsZero() {
			e.Time = e.Ingested
		}
		r := m.next(e)
		w.buf, m = r.append(w.buf), r.mark
		if w.size+int64(len(w.buf)) >= w.o.SegmentBytes {
			if err := w.flushLocked(m); err != nil {
				return err
			}
			w.err = w.rotateLocked() // tried again by the next Append
		}
	}
	return w.flushLocked(m)
}

// Pos is the position after the last event.
func (w *Writer) Pos() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.base + uint64(w.size)
}

// Newest is the newest time in the stream, zero if it never had an event.
func (w *Writer) Newest() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mark.newest == noTime {
		return time.Time{}
	}
	return time.UnixMilli(w.mark.newest).UTC()
}

// Sync waits until all events are on the disk.
func (w *Writer) Sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return os.ErrClosed
	}
	return errors.Join(w.err, w.f.Sync())
}

// Close gives the stream free. It does not Sync.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.f == nil {
		return nil
	}
	err := errors.Join(w.f.Close(), w.lock.Close())
	w.f = nil
	return err
}

// Private

// noTime is before any event's time, ms.
const noTime = -1 << 63

// takeLock takes the writer's lock. Closing the file gives it back. A lock that was removed with its directory between
// opening and locking is no lock.
func takeLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err == nil {
		var here, there os.FileInfo
		if here, err = f.Stat(); err == nil {
			there, err = os.Stat(path)
		}
		if err == nil && !os.SameFile(here, there) {
			err = ErrLocked
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// recover opens the newest file and cuts off what is no record.
func (w *Writer) recover() error {
	files, err := list(w.dir)
	if err != nil {
		return err
	}
	w.mark = mark{newest: noTime}
	if len(files) == 0 {
		return w.create(0)
	}
	if len(files) > 1 {
		if err := w.markFrom(files[len(files)-2]); err != nil {
			return err
		}
	}
	newest := files[len(files)-1]
	f, err := os.OpenFile(newest.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	w.f, w.base = f, newest.base
	if w.size, err = w.restore(); err != nil {
		f.Close()
		w.f = nil
	}
	return err
}

// markFrom continues the mark of a file that is complete.
func (w *Writer) markFrom(f file) error {
	h, err := f.open()
	if errors.Is(err, errTorn) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	r, _, ok, err := last(h)
	if ok {
		w.mark = r.mark
	}
	return err
}

// restore returns the size of w.f after cutting off its torn end.
func (w *Writer) restore() (int64, error) {
	err := checkMagic(w.f)
	if errors.Is(err, errTorn) {
		if err := w.f.Truncate(0); err != nil {
			return 0, err
		}
		_, err := w.f.WriteAt([]byte(magic), 0)
		return int64(len(magic)), err
	}
	if err != nil {
		return 0, err
	}
	end, err := scan(w.f, int64(len(magic)), false, func(r record, _ int64) bool { w.mark = r.mark; return true })
	if errors.Is(err, errTorn) {
		err = w.f.Truncate(end)
	}
	return end, err
}

// create begins a file at base.
func (w *Writer) create(base uint64) error {
	f, err := os.OpenFile(filePath(w.dir, base), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(magic), 0); err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	w.f, w.base, w.size = f, base, int64(len(magic))
	return nil
}

// flushLocked writes w.buf, after which the stream's mark is m.
func (w *Writer) flushLocked(m mark) error {
	if len(w.buf) == 0 {
		return nil
	}
	if _, err := w.f.WriteAt(w.buf, w.size); err != nil {
		// Whole records of it must not be read, only to be overwritten later.
		return errors.Join(err, w.f.Truncate(w.size))
	}
	w.size += int64(len(w.buf))
	w.mark = m
	w.buf = w.buf[:0]
	if cap(w.buf) > 1<<20 {
		w.buf = nil
	}
	return nil
}

// rotateLocked begins the next file. The full one is on the disk before, so that only the newest can be torn.
func (w *Writer) rotateLocked() error {
	old := w.f
	if err := old.Sync(); err != nil {
		return err
	}
	if err := w.create(w.base + uint64(w.size)); err != nil {
		return err
	}
	old.Close()
	if w.o.MaxBytes > 0 {
		_, err := Trim(w.dir, w.o.MaxBytes, time.Time{})
		return err
	}
	return nil
}
