package lbconfig

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// LogEntry is one line of a balancer's access log, or of its connection log.
type LogEntry struct {
	Balancer   string    // ARN
	Time       time.Time // to the µs
	Line       string    // without its end; ALB's format
	Connection bool
}

// LogBatch is what was logged.
type LogBatch struct {
	Next    int64 // to ask for what follows
	Lost    int64 // entries that nobody read in time, since the balancer process started
	Entries []LogEntry
}

// The kinds of entries, in their form between processes: µs since 1970, kind, balancer, line, each after a space.
const (
	accessKind     = "a"
	connectionKind = "c"
)

var errNoEntry = errors.New("not an entry of a log")

// AppendLogHead appends what an entry begins with. The line, which must not have an end of its own, and \n follow.
func AppendLogHead(b []byte, balancer string, at time.Time, connection bool) []byte {
	kind := accessKind
	if connection {
		kind = connectionKind
	}
	b = append(strconv.AppendInt(b, at.UnixMicro(), 10), ' ')
	b = append(append(b, kind...), ' ')
	return append(append(b, balancer...), ' ')
}

// ParseLog reads entries, each with its end.
func ParseLog(text string) ([]LogEntry, error) {
	var out []LogEntry
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) != 4 || f[1] != accessKind && f[1] != connectionKind {
			return out, errNoEntry
		}
		at, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return out, errNoEntry
		}
		out = append(out, LogEntry{Balancer: f[2], Time: time.UnixMicro(at), Line: f[3], Connection: f[1] == connectionKind})
	}
	return out, nil
}

// AccessLog waits until there are entries from number from on, at most half a minute. Earlier ones are dropped: who
// asks has them.
func (c *Client) AccessLog(ctx context.Context, from int64) (b LogBatch, err error) {
	text, err := c.get(ctx, fmt.Sprintf("/log?from=%d", from))
	if err != nil {
		return b, err
	}
	head, entries, _ := strings.Cut(string(text), "\n")
	if _, err := fmt.Sscan(head, &b.Next, &b.Lost); err != nil {
		return b, fmt.Errorf("balancer: GET /log: %w", err)
	}
	b.Entries, err = ParseLog(entries)
	return b, err
}

// WriteLogHead is what an answer to AccessLog begins with.
func WriteLogHead(next, lost int64) []byte { return fmt.Appendf(nil, "%d %d\n", next, lost) }
