package segment

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	magic    = "lotseg\x00\x01" // begins each file; the last byte is the version
	suffix   = ".seg"
	readSize = 64 << 10 // bytes
)

// file is a segment file as it was listed.
type file struct {
	path string
	base uint64 // position of its first byte
	size int64
}

func filePath(dir string, base uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", base, suffix))
}

// list finds the files of a stream, oldest first. A directory that does not exist has none.
func list(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []file
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		base, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || len(digits) != 20 {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // trimmed meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, file{filepath.Join(dir, e.Name()), base, info.Size()})
	}
	return out, nil
}

func (f file) end() uint64 { return f.base + uint64(f.size) }

// open opens a file for reading and checks how it begins. errTorn: its beginning has not been written yet.
func (f file) open() (*os.File, error) {
	h, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	if err := checkMagic(h); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func checkMagic(h *os.File) error {
	b := make([]byte, len(magic))
	_, err := h.ReadAt(b, 0)
	switch {
	case err == io.EOF:
		return errTorn
	case err != nil:
		return err
	case string(b) == magic:
		return nil
	case strings.HasPrefix(magic, strings.TrimRight(string(b), "\x00")):
		return errTorn // a power failure leaves zeros
	}
	return fmt.Errorf("%s is no segment file of this version of Lotse", h.Name())
}

// scan calls fn for each record from offset on, with where it ends, until fn returns false, the file ends (nil) or
// something is no record (errTorn). end is where the last good record ends.
func scan(h *os.File, offset int64, keep bool, fn func(r record, end int64) bool) (end int64, err error) {
	br := bufio.NewReaderSize(io.NewSectionReader(h, offset, 1<<62), readSize)
	var buf []byte
	for end = offset; ; {
		r, err := readRecord(br, &buf, keep)
		if err == io.EOF {
			return end, nil
		}
		if err != nil {
			return end, err
		}
		end += r.size()
		if !fn(r, end) {
			return end, nil
		}
	}
}

// last finds the last whole record and where it ends. ok: there is one.
func last(h *os.File) (r record, end int64, ok bool, err error) {
	info, err := h.Stat()
	if err != nil {
		return record{}, 0, false, err
	}
	if r, err := recordBefore(h, info.Size()); err == nil {
		return r, info.Size(), true, nil
	}
	// A torn end, or one that is being written.
	end, err = scan(h, int64(len(magic)), true, func(x record, _ int64) bool { r, ok = x, true; return true })
	if errors.Is(err, errTorn) {
		err = nil
	}
	return r, end, ok, err
}

// recordBefore reads the record that ends at end.
func recordBefore(h *os.File, end int64) (record, error) {
	var tail [4]byte
	if end < int64(len(magic))+recordSize {
		return record{}, errTorn
	}
	if _, err := h.ReadAt(tail[:], end-4); err != nil {
		return record{}, err
	}
	size := recordSize + int64(binary.LittleEndian.Uint32(tail[:]))
	if size > recordSize+MaxData || end-size < int64(len(magic)) {
		return record{}, errTorn
	}
	b := make([]byte, size)
	if _, err := h.ReadAt(b, end-size); err != nil {
		return record{}, err
	}
	return parseRecord(b)
}
