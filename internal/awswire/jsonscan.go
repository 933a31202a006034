package awswire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// The steps of a jsonReader below values. They trust that the body is valid JSON.

func (d *jsonReader) space() {
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

func (d *jsonReader) null() bool {
	d.space()
	return d.b[d.i] == 'n'
}

// token reads a number, true, false or null.
func (d *jsonReader) token() []byte {
	start := d.i
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return d.b[start:d.i]
		}
		d.i++
	}
	return d.b[start:d.i]
}

func (d *jsonReader) text() (string, error) {
	raw, err := d.rawText()
	return string(raw), err
}

// rawText reads a string. The bytes are the body's own unless it holds escapes.
func (d *jsonReader) rawText() ([]byte, error) {
	start := d.i
	d.string()
	raw := d.b[start:d.i]
	inner := raw[1 : len(raw)-1]
	if !utf8.Valid(inner) {
		return nil, serialization("The request body is not valid UTF-8.")
	}
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, serialization("The request body holds a bad string.")
	}
	return []byte(text), nil
}

// string moves behind a string.
func (d *jsonReader) string() {
	d.i++
	for d.b[d.i] != '"' {
		if d.b[d.i] == '\\' {
			d.i++
		}
		d.i++
	}
	d.i++
}

// skip moves behind a value of any kind.
func (d *jsonReader) skip() {
	d.space()
	for depth := 0; ; {
		switch d.b[d.i] {
		case '"':
			d.string()
		case '{', '[':
			depth++
			d.i++
		case '}', ']':
			depth--
			d.i++
		case ',', ':', ' ', '\t', '\n', '\r':
			d.i++
			continue
		default:
			d.token()
		}
		if depth == 0 {
			return
		}
	}
}

// wholeNumber reads an integer, also one written as 1e3 or 1.0.
func wholeNumber(text string, bits int) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, bits)
	if err == nil {
		return n, true
	}
	if errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	n = int64(f)
	return n, bits == 64 || n == n<<(64-bits)>>(64-bits)
}

// epoch reads seconds since 1970, kept to the millisecond; years 1 to 9999.
func epoch(text string) (time.Time, bool) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < -62135596800 || f > 253402300799 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(math.Round(f * 1e3))).UTC(), true
}
