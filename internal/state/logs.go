package state

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// CloudWatch Logs' records: intent, written by the API and by tasks that make their streams. The events are not here but
// in segment directories, one for each stream, named by its ID.
//
// A group's name has no colon, and neither has a stream's, so GROUP: is the prefix of a group's streams.
var (
	LogGroups  = store.NewTable[LogGroup]("logs.group")   // scope/group
	LogStreams = store.NewTable[LogStream]("logs.stream") // scope/group:stream
)

// A LogGroup is a set of log streams with one retention.
type LogGroup struct {
	Scope              arn.Scope
	Name               string
	RetentionDays      int // 0: events are kept for ever
	DeletionProtection bool
	CreatedAt          time.Time
	Tags               map[string]string
}

// Key is the group's key.
func (g LogGroup) Key() string { return g.Scope.Key(g.Name) }

// ARN names the group as logGroupArn does; AWS writes the one in arn with ":*" at its end.
func (g LogGroup) ARN() string { return g.Scope.ARN("logs", "log-group:"+g.Name) }

// Since is the time before which events have expired at now, zero if they never do.
func (g LogGroup) Since(now time.Time) time.Time {
	if g.RetentionDays == 0 {
		return time.Time{}
	}
	return now.Add(-time.Duration(g.RetentionDays) * 24 * time.Hour)
}

// A LogStream is one source of events.
type LogStream struct {
	Scope     arn.Scope
	Group     string
	Name      string
	ID        string // 32 hex digits, never used again: names the segment directory
	CreatedAt time.Time
}

// Key is the stream's key.
func (s LogStream) Key() string { return LogStreamKey(s.Scope, s.Group, s.Name) }

// ARN names the stream.
func (s LogStream) ARN() string {
	return s.Scope.ARN("logs", "log-group:"+s.Group+":log-stream:"+s.Name)
}

// LogStreamKey is a stream's key; with an empty stream it is the prefix of the group's streams.
func LogStreamKey(sc arn.Scope, group, stream string) string { return sc.Key(group) + ":" + stream }

// EnsureStream makes a log stream unless it exists, with create its group too, and returns its ID. Names are not checked.
// store.ErrNotFound: no such group.
func EnsureStream(tx *store.WriteTx, sc arn.Scope, group, stream string, create bool) (id string, err error) {
	g, err := LogGroups.Get(tx, sc.Key(group))
	if errors.Is(err, store.ErrNotFound) && create {
		g.Val = LogGroup{Scope: sc, Name: group, CreatedAt: tx.Now()}
		err = LogGroups.Put(tx, &g)
	}
	if err != nil {
		return "", fmt.Errorf("log group %s: %w", group, err)
	}
	s, err := LogStreams.Get(tx, LogStreamKey(sc, group, stream))
	if errors.Is(err, store.ErrNotFound) {
		var b [16]byte
		rand.Read(b[:])
		s.Val = LogStream{Scope: sc, Group: group, Name: stream, ID: hex.EncodeToString(b[:]), CreatedAt: tx.Now()}
		err = LogStreams.Put(tx, &s)
	}
	return s.Val.ID, err
}

// DeleteLogGroup deletes a group with its streams; whoever keeps the events deletes those. store.ErrNotFound: there is none.
func DeleteLogGroup(tx *store.WriteTx, sc arn.Scope, group string) error {
	if err := LogGroups.Delete(tx, sc.Key(group), 0); err != nil {
		return err
	}
	for s, err := range LogStreams.List(tx, LogStreamKey(sc, group, "")) {
		if err == nil {
			err = LogStreams.Delete(tx, s.Key, s.Rev)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
