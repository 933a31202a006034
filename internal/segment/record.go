package segment

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"time"
)

// A record, all numbers little endian:
//
//	 0  crc32c of what follows, but for the length at the end
//	 4  length of the data, bytes
//	 8  time, ms since 1970
//	16  time of ingestion, ms since 1970
//	24  newest time in the stream up to here, ms since 1970
//	32  how many events of the stream came late up to here
//	36  data
//	36+n  length of the data again
const (
	headSize   = 36
	recordSize = headSize + 4 // without data
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn: here is no record, or not all of one.
var errTorn = errors.New("torn record")

// mark is what a record says of the stream up to it.
type mark struct {
	newest int64 // ms
	late   uint32
}

type record struct {
	time, ingested int64 // ms
	mark
	data []byte
}

// next is the record of e after m.
func (m mark) next(e Event) record {
	r := record{time: e.Time.UnixMilli(), ingested: e.Ingested.UnixMilli(), mark: m, data: e.Data}
	if r.time < m.newest {
		r.late++
	} else {
		r.newest = r.time
	}
	return r
}

func (r record) size() int64 { return recordSize + int64(len(r.data)) }

func (r record) event(pos uint64) Event {
	return Event{Pos: pos, Time: time.UnixMilli(r.time).UTC(), Ingested: time.UnixMilli(r.ingested).UTC(), Data: r.data, Late: r.time < r.newest}
}

func (r record) append(b []byte) []byte {
	le, start := binary.LittleEndian, len(b)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(len(r.data)))
	b = le.AppendUint64(b, uint64(r.time))
	b = le.AppendUint64(b, uint64(r.ingested))
	b = le.AppendUint64(b, uint64(r.newest))
	b = le.AppendUint32(b, r.late)
	b = append(b, r.data...)
	le.PutUint32(b[start:], crc32.Checksum(b[start+4:], castagnoli))
	return le.AppendUint32(b, uint32(len(r.data)))
}

// parseRecord reads the record that is b, whole. Its data is b's.
func parseRecord(b []byte) (record, error) {
	le, n := binary.LittleEndian, len(b)-recordSize
	if n < 0 || le.Uint32(b[4:]) != uint32(n) || le.Uint32(b[headSize+n:]) != uint32(n) ||
		le.Uint32(b) != crc32.Checksum(b[4:headSize+n], castagnoli) {
		return record{}, errTorn
	}
	return record{
		time:     int64(le.Uint64(b[8:])),
		ingested: int64(le.Uint64(b[16:])),
		mark:     mark{int64(le.Uint64(b[24:])), le.Uint32(b[32:])},
		data:     b[headSize : headSize+n],
	}, nil
}

// readRecord reads the next record. Its data is the record's own when keep, else valid until the next call with the
// same buf. io.EOF: nothing is left; errTorn: what is left is no record.
func readRecord(r *bufio.Reader, buf *[]byte, keep bool) (record, error) {
	head, err := r.Peek(8)
	if len(head) == 0 && err == io.EOF {
		return record{}, io.EOF
	}
	if err == io.EOF {
		return record{}, errTorn
	}
	if err != nil {
		return record{}, err
	}
	n := int(binary.LittleEndian.Uint32(head[4:]))
	if n > MaxData {
		return record{}, errTorn
	}
	if keep || cap(*buf) < recordSize+n {
		*buf = make([]byte, recordSize+n)
	}
	b := (*buf)[:recordSize+n]
	if _, err := io.ReadFull(r, b); err == io.ErrUnexpectedEOF || err == io.EOF {
		return record{}, errTorn
	} else if err != nil {
		return record{}, err
	}
	return parseRecord(b)
}
