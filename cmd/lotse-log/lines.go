package main

import (
	"bytes"
	"io"
	"time"
	"unicode/utf8"
)

// readSize is what one read takes at most, bytes.
const readSize = 64 << 10

// A sink takes lines that were read at a time, and copies what it keeps.
type sink interface {
	put(at time.Time, lines ...[]byte)
}

// copyLines puts a stream's lines into the sink until the stream ends. The time of a line is when its end was read. A
// line longer than maxLine is split, as Docker does.
//
// Nothing is kept back but the beginning of a line.
func copyLines(q sink, r io.Reader, maxLine int) {
	buf := make([]byte, maxLine+readSize)
	var lines [][]byte
	held := 0 // bytes at the beginning of buf: a line's beginning, at most maxLine
	for {
		n, err := r.Read(buf[held:])
		var rest []byte
		lines, rest = cutLines(lines[:0], buf[:held+n], maxLine)
		if err != nil && len(rest) > 0 {
			lines = append(lines, rest)
		}
		if len(lines) > 0 {
			q.put(time.Now(), lines...)
		}
		if err != nil {
			return
		}
		held = copy(buf, rest)
	}
}

// cutLines appends the lines in b to lines; rest is the beginning of the next, at most maxLine bytes.
func cutLines(lines [][]byte, b []byte, maxLine int) (_ [][]byte, rest []byte) {
	for {
		i := bytes.IndexByte(b, '\n')
		end := i
		if i < 0 {
			end = len(b)
		}
		for end > maxLine {
			n := cutAt(b[:end], maxLine)
			lines = append(lines, b[:n])
			b = b[n:]
			end, i = end-n, i-n // below zero stays below zero
		}
		if i < 0 {
			return lines, b
		}
		lines = append(lines, b[:i])
		b = b[i+1:]
	}
}

// cutAt is where to split a line, longer than size bytes, to get at most that: not inside a character, if it has
// characters there.
func cutAt(line []byte, size int) int {
	for n := size; n > size-utf8.UTFMax; n-- {
		if utf8.RuneStart(line[n]) {
			return n
		}
	}
	return size
}
