package oci

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Private

type format int

const (
	formatPlain format = iota
	formatGzip
	formatZstd
)

// plainReader reads what may have been compressed.
type plainReader struct {
	io.Reader
	format format
	close  func()
}

func (p *plainReader) Close() { p.close() }

// decompress looks at the first bytes. It never allocates more than 128 MiB for a zstd window.
func decompress(r io.Reader) (*plainReader, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	magic, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, err
		}
		return &plainReader{z, formatGzip, func() { _ = z.Close() }}, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return &plainReader{z, formatZstd, z.Close}, nil
	}
	return &plainReader{br, formatPlain, func() {}}, nil
}
