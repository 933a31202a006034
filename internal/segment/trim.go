package segment

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// File tells of one file of a stream.
type File struct {
	Bytes  int64
	Newest time.Time // no event in it is newer; zero: it has none
	Last   bool      // the newest file, which a writer may have open
}

// Trim removes the oldest files while the stream is larger than maxBytes (0: any size is right) or they have only events
// older than before (zero: none is), never the newest file. It returns how many bytes that freed. It may run while the
// stream is written and read.
func Trim(dir string, maxBytes int64, before time.Time) (freed int64, err error) {
	files, err := list(dir)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, f := range files {
		total += f.size
	}
	for i := 0; i < len(files)-1; i++ {
		f := files[i]
		if maxBytes == 0 || total-freed <= maxBytes {
			if old, err := f.older(before); err != nil || !old {
				return freed, err
			}
		}
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, err
		}
		freed += f.size
	}
	return freed, nil
}

// Files tells of the stream's files, oldest first.
func Files(dir string) ([]File, error) {
	files, err := list(dir)
	if err != nil {
		return nil, err
	}
	out := make([]File, len(files))
	for i, f := range files {
		out[i] = File{Bytes: f.size, Last: i == len(files)-1}
		x, _, ok, err := f.last()
		if err != nil {
			return nil, err
		}
		if ok {
			out[i].Newest = time.UnixMilli(x.newest).UTC()
		}
	}
	return out, nil
}

// Size is how many bytes the stream's files have.
func Size(dir string) (int64, error) {
	files, err := list(dir)
	var n int64
	for _, f := range files {
		n += f.size
	}
	return n, err
}

// Remove removes the stream with its directory, or, when before is not zero, only if it has nothing but events older
// than that. ErrLocked: it has a writer. removed: it is gone, also when it never was.
func Remove(dir string, before time.Time) (removed bool, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	lock, err := takeLock(dir)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if !before.IsZero() {
		files, err := list(dir)
		if err != nil || len(files) == 0 {
			return false, err
		}
		if old, err := files[len(files)-1].older(before); err != nil || !old {
			return false, err
		}
	}
	return true, os.RemoveAll(dir)
}

// Private

// older: all of the file's events are, of which it has some.
func (f file) older(than time.Time) (bool, error) {
	if than.IsZero() {
		return false, nil
	}
	x, _, ok, err := f.last()
	return ok && x.newest < than.UnixMilli(), err
}
