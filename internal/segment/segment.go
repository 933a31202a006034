// Package segment keeps the events of one log stream in a directory of append-only files. One process at a time writes,
// held apart by flock; any number of others read meanwhile, and trim.
//
//	DIR/lock                       flocked by the writer
//	DIR/00000000000000000000.seg   a file is named after the position at which it begins
//	DIR/00000000000008389112.seg
//
// A position counts the stream's bytes, so that the record at a position is found without an index. An event's Pos is
// where its record ends: reading "after Pos" continues there, and 0 is before all. Positions only grow; trimmed ones
// don't come back.
//
// A writer that is killed leaves at most a torn record at the end, which readers take for the end and the next writer
// cuts off. Each record has a checksum, its length at both ends (to be read backwards), and the newest time of the
// stream so far, which makes time searchable even where events came out of order.
//
// What it trades away: an event is not on the disk before Sync, only safe from the death of the process. This is
// no place for what must not be lost.
package segment

import (
	"errors"
	"fmt"
	"time"
)

// MaxData limits an event's data, bytes. CloudWatch Logs takes events of up to 1 MiB.
const MaxData = 2 << 20

var (
	// ErrLocked: another process, or another Writer of this one, writes the stream.
	ErrLocked = errors.New("the log stream has another writer")

	// ErrPosition: no record ends at this position.
	ErrPosition = errors.New("no record of the log stream ends at this position")
)

// Event is one entry of a stream.
type Event struct {
	Pos      uint64    // set by reading
	Time     time.Time // whole milliseconds; what is finer is cut off
	Ingested time.Time // likewise
	Data     []byte

	// Late: an event with a newer time came before this one. Set by reading.
	Late bool
}

// A DamageError tells of a record in the middle of a stream that cannot be read. What comes after it in the same file
// is lost; reading after Next skips it.
type DamageError struct {
	File   string
	Offset int64 // bytes into File
	Next   uint64
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d", e.File, e.Offset)
}
