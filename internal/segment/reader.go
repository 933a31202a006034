package segment

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sort"
	"time"
)

// Reader reads a stream, while it is written or not. It keeps nothing open between calls, which may be concurrent. A
// stream whose directory does not exist yet is an empty one.
type Reader struct{ dir string }

// Span is the extent of a stream.
type Span struct {
	Oldest       time.Time // of the first event
	Newest       time.Time // of all events, those trimmed too
	LastIngested time.Time // of the last event
	End          uint64    // Pos of the last event
	Late         uint32    // how many events came late, those trimmed too
}

// OpenReader returns a reader of the stream in dir.
func OpenReader(dir string) (*Reader, error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("log stream %s is not a directory", dir)
	}
	return &Reader{dir}, nil
}

// Read returns up to limit events after a position (0: from the start), oldest first. None: there are no more yet. Where
// the stream is damaged it returns the events before, then, with no event, a *DamageError.
func (r *Reader) Read(after uint64, limit int) ([]Event, error) {
	var out []Event
	err := r.Scan(after, func(e Event) bool {
		out = append(out, e)
		return len(out) < limit
	})
	var damage *DamageError
	if errors.As(err, &damage) && len(out) > 0 {
		return out, nil
	}
	return out, err
}

// Scan calls fn for each event after a position until it returns false.
func (r *Reader) Scan(after uint64, fn func(Event) bool) error {
	// Listed before reading: a file that has a successor in the list is complete by the time it is read.
	files, err := list(r.dir)
	if err != nil {
		return err
	}
	// The first file that ends behind the position; the newest may have grown since.
	i := sort.Search(len(files), func(i int) bool { return files[i].end() > after || i == len(files)-1 })
	for more := true; more && i < len(files); i++ {
		f := files[i]
		offset := int64(len(magic))
		if after > f.base {
			offset = max(offset, int64(after-f.base))
		}
		h, err := f.open()
		if errors.Is(err, fs.ErrNotExist) {
			continue // trimmed meanwhile
		}
		if err == nil {
			offset, err = scan(h, offset, true, func(x record, end int64) bool {
				more = fn(x.event(f.base + uint64(end)))
				return more
			})
			h.Close()
		}
		if errors.Is(err, errTorn) {
			if i == len(files)-1 {
				return nil // being written, or to be cut off by the next writer
			}
			return &DamageError{f.path, offset, files[i+1].base}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ReadBack returns, oldest first, the last limit events up to and with the one that ends at a position (0: the last one).
func (r *Reader) ReadBack(from uint64, limit int) ([]Event, error) {
	var out []Event
	err := r.ScanBack(from, func(e Event) bool {
		out = append(out, e)
		return len(out) < limit
	})
	slices.Reverse(out)
	return out, err
}

// ScanBack calls fn for the event that ends at a position (0: the last one) and those before it, newest first, until fn
// returns false. ErrPosition: no event ends there, unless it has been trimmed.
func (r *Reader) ScanBack(from uint64, fn func(Event) bool) error {
	files, err := list(r.dir)
	if err != nil {
		return err
	}
	i := len(files) - 1
	for ; from > 0 && i >= 0 && files[i].base >= from; i-- {
	}
	for more := true; more && i >= 0; i-- {
		f := files[i]
		h, err := f.open()
		if errors.Is(err, errTorn) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		more, err = f.scanBack(h, from, fn)
		h.Close()
		if err != nil {
			return err
		}
		from = 0
	}
	return nil
}

// Last is the Pos of the last event, 0 if there is none.
func (r *Reader) Last() (uint64, error) {
	s, err := r.Span()
	return s.End, err
}

// FirstTime is the time of the first event, zero if there is none.
func (r *Reader) FirstTime() (time.Time, error) {
	s, err := r.Span()
	return s.Oldest, err
}

// LastTime is the newest time, zero if there is none.
func (r *Reader) LastTime() (time.Time, error) {
	s, err := r.Span()
	return s.Newest, err
}

// Span looks at both ends of the stream. Without an event it is zero.
func (r *Reader) Span() (Span, error) {
	var s Span
	files, err := list(r.dir)
	if err != nil {
		return s, err
	}
	for _, f := range slices.Backward(files) {
		x, end, ok, err := f.last()
		if err != nil {
			return s, err
		}
		if ok {
			s = Span{Newest: time.UnixMilli(x.newest).UTC(), LastIngested: time.UnixMilli(x.ingested).UTC(), End: f.base + uint64(end), Late: x.late}
			break
		}
	}
	for _, f := range files {
		x, ok, err := f.first()
		if err != nil {
			return s, err
		}
		if ok {
			s.Oldest = time.UnixMilli(x.time).UTC()
			break
		}
	}
	return s, nil
}

// SeekTime returns the last position up to which every event is older than t, 0 if the first one is not. Events after it
// may be older too, where events came late. Late is how many events had come late by then: as many as Span's when the
// events after the position are in order of their time.
func (r *Reader) SeekTime(t time.Time) (pos uint64, late uint32, err error) {
	files, err := list(r.dir)
	if err != nil {
		return 0, 0, err
	}
	ms := t.UnixMilli()
	// The last file that begins before t.
	i := sort.Search(len(files), func(i int) bool {
		x, ok, e := files[i].first()
		if e != nil {
			err = e
		}
		return !ok || x.newest >= ms
	}) - 1
	if err != nil || i < 0 {
		return 0, 0, err
	}
	f := files[i]
	if x, end, ok, err := f.last(); err != nil || ok && x.newest < ms {
		return f.base + uint64(end), x.late, err
	}
	h, err := f.open()
	if err != nil {
		return 0, 0, err
	}
	defer h.Close()
	if x, end, ok := seekBack(h, ms); ok {
		return f.base + uint64(end), x.late, nil
	}
	_, err = scan(h, int64(len(magic)), false, func(x record, end int64) bool {
		if x.newest >= ms {
			return false
		}
		pos, late = f.base+uint64(end), x.late
		return true
	})
	if errors.Is(err, errTorn) {
		err = nil
	}
	return pos, late, err
}

// Private

// seekBack looks for the last record older than ms among the file's last ones: who follows a stream asks for those.
func seekBack(h *os.File, ms int64) (x record, end int64, ok bool) {
	x, end, ok, err := last(h)
	for range 200 {
		if err != nil || !ok {
			return x, end, false
		}
		if x.newest < ms {
			return x, end, true
		}
		end -= x.size()
		x, err = recordBefore(h, end)
	}
	return x, end, false
}

// first reads a file's first record.
func (f file) first() (x record, ok bool, err error) {
	h, err := f.open()
	if errors.Is(err, errTorn) || errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	defer h.Close()
	var buf []byte
	x, err = readRecord(bufio.NewReaderSize(io.NewSectionReader(h, int64(len(magic)), 1<<62), 512), &buf, true)
	if err == io.EOF || errors.Is(err, errTorn) {
		return record{}, false, nil
	}
	return x, err == nil, err
}

// last reads a file's last record.
func (f file) last() (record, int64, bool, error) {
	h, err := f.open()
	if errors.Is(err, errTorn) || errors.Is(err, fs.ErrNotExist) {
		return record{}, 0, false, nil
	}
	if err != nil {
		return record{}, 0, false, err
	}
	defer h.Close()
	return last(h)
}

// scanBack walks back from a position (0: the end) to the file's beginning. It reads windows of readSize bytes, or one
// record where that is larger.
func (f file) scanBack(h *os.File, from uint64, fn func(Event) bool) (more bool, err error) {
	end := int64(from - f.base)
	if from == 0 {
		if _, end, _, err = last(h); err != nil {
			return false, err
		}
	}
	const start = int64(len(magic))
	var window []byte
	low := end // offset of window's first byte
	fill := func(size int64) error {
		low = max(start, end-max(size, readSize))
		window = make([]byte, end-low)
		_, err := h.ReadAt(window, low)
		return err
	}
	for first := true; end > start; first = false {
		damaged := func() error {
			if first && from != 0 {
				return ErrPosition
			}
			return &DamageError{f.path, end, f.base}
		}
		if end-low < recordSize {
			if err := fill(recordSize); err != nil {
				return false, damaged()
			}
		}
		b := window[:end-low]
		if len(b) < recordSize {
			return false, damaged()
		}
		size := recordSize + int64(binary.LittleEndian.Uint32(b[len(b)-4:]))
		if size > recordSize+MaxData || end-size < start {
			return false, damaged()
		}
		if size > int64(len(b)) {
			if err := fill(size); err != nil {
				return false, damaged()
			}
			b = window
		}
		x, err := parseRecord(b[int64(len(b))-size:])
		if err != nil {
			return false, damaged()
		}
		if !fn(x.event(f.base + uint64(end))) {
			return false, nil
		}
		end -= size
	}
	return true, nil
}
