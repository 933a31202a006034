package lb

import "errors"

var errChunk = errors.New("malformed chunk")

// What a chunked body's next byte belongs to.
const (
	inSize = iota
	inExtension
	inSizeLF
	inData
	inDataCR
	inDataLF
	inTrailer    // at the start of a line
	inTrailerRow // within one
	inTrailerLF  // of a line
	inEndLF      // of the empty one
	chunksDone
)

// maxChunkLine is how long a chunk's size with its extensions may be, and all trailers together.
const maxChunkLine = 16 << 10

// chunks finds the end of a chunked body in its bytes, and refuses what others may read differently: lines that don't
// end with CR LF, sizes that are no plain hexadecimal number (RFC 9112, 7.1).
type chunks struct {
	state  int
	left   uint64 // bytes of the chunk's data
	digits int    // of the size
	line   int    // bytes of the line, or of all trailers
}

// end is how many of the bytes are the body's. The body ends there if it is done.
func (c *chunks) end(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if c.state == inData {
			n := min(c.left, uint64(len(p)-i))
			i, c.left = i+int(n), c.left-n
			if c.left == 0 {
				c.state = inDataCR
			}
			continue
		}
		if err := c.step(p[i]); err != nil {
			return i, err
		}
		if i++; c.state == chunksDone {
			return i, nil
		}
	}
	return len(p), nil
}

func (c *chunks) done() bool { return c.state == chunksDone }

// Private

func (c *chunks) step(b byte) error {
	if c.line++; c.line > maxChunkLine {
		return errChunk
	}
	switch c.state {
	case inSize:
		return c.size(b)
	case inExtension:
		switch {
		case b == '\r':
			c.state = inSizeLF
		case b < ' ' && b != '\t' || b == 0x7f:
			return errChunk
		}
		return nil
	case inSizeLF:
		next := inData
		if c.left == 0 {
			next = inTrailer
		}
		return c.expect(b, '\n', next)
	case inDataCR:
		return c.expect(b, '\r', inDataLF)
	case inDataLF:
		return c.expect(b, '\n', inSize)
	case inTrailer:
		if b == '\r' {
			c.state = inEndLF
			return nil
		}
		if b == '\n' || b == ' ' || b == '\t' { // an empty line of its own kind, or a folded one
			return errChunk
		}
		c.state = inTrailerRow
		return nil
	case inTrailerRow:
		switch b {
		case '\r':
			c.state = inTrailerLF
		case '\n', 0:
			return errChunk
		}
		return nil
	case inTrailerLF:
		return c.expect(b, '\n', inTrailer)
	}
	return c.expect(b, '\n', chunksDone) // inEndLF
}

func (c *chunks) size(b byte) error {
	switch d := unhex(b); {
	case d >= 0:
		if c.digits++; c.digits > 15 {
			return errChunk
		}
		c.left = c.left<<4 | uint64(d)
	case c.digits == 0:
		return errChunk
	case b == '\r':
		c.state = inSizeLF
	case b == ';':
		c.state = inExtension
	default:
		return errChunk
	}
	return nil
}

// expect goes on after one byte that must be there. A new line is counted anew, but for trailers.
func (c *chunks) expect(b, want byte, next int) error {
	if b != want {
		return errChunk
	}
	if c.state = next; next == inSize || next == inData {
		c.line, c.digits = 0, 0
	}
	return nil
}
