package accesslog

import (
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// openDir, in the directory, has the files whose window is not over, and what is being written.
const openDir = ".open"

// endTime is the form of the end of a window in file names.
const endTime = "20060102T1504Z"

func appendTo(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

// finish puts the files in their place whose window is over, and drops the oldest when all have more bytes than limit.
func finish(dir string, now time.Time, limit int64) error {
	open := filepath.Join(dir, openDir)
	done := false
	err := filepath.WalkDir(open, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".log") {
			return skipMissing(err)
		}
		if end, ok := windowEnd(path); !ok || now.Before(end) {
			return nil
		}
		rel, err := filepath.Rel(open, path)
		if err != nil {
			return err
		}
		done = true
		return compress(path, filepath.Join(dir, rel+".gz"))
	})
	if err != nil || !done {
		return err
	}
	return trim(dir, limit)
}

// windowEnd reads the end of its window from a file's name.
func windowEnd(path string) (time.Time, bool) {
	for part := range strings.SplitSeq(filepath.Base(path), "_") {
		if t, err := time.Parse(endTime, part); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// compress makes the file at to out of that at from, which it removes. If it was made before, by a server that died
// before it removed the other, it is made again.
func compress(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.Create(from + ".gz")
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(from+".gz", to); err != nil {
		return err
	}
	return os.Remove(from)
}

// trim removes the oldest finished files until all together have at most so many bytes.
func trim(dir string, limit int64) error {
	type file struct {
		path string
		end  time.Time
		size int64
	}
	var files []file
	var sum int64
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return skipMissing(err)
		}
		if e.IsDir() && e.Name() == openDir {
			return filepath.SkipDir
		}
		end, ok := windowEnd(path)
		info, err := e.Info()
		if err != nil || !ok || e.IsDir() {
			return skipMissing(err)
		}
		files, sum = append(files, file{path, end, info.Size()}), sum+info.Size()
		return nil
	})
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(a.end.Compare(b.end), cmp.Compare(a.path, b.path)) })
	for _, f := range files {
		if sum <= limit {
			break
		}
		err = errors.Join(err, os.Remove(f.path))
		sum -= f.size
	}
	return err
}

func skipMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
