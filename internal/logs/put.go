package logs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/lotse-project/lotse/internal/segment"
)

// The limits of a batch. Source: PutLogEvents.
const (
	maxBatchBytes  = 1 << 20
	maxBatchEvents = 10_000
	eventCost      = 26 // bytes each event counts besides its message
	maxSpan        = 24 * time.Hour
	maxAhead       = 2 * time.Hour
	maxAge         = 14 * 24 * time.Hour
)

// lockPatience is how long another PutLogEvents of the stream is waited for.
const lockPatience = 2 * time.Second

// PutLogEvents writes events to a stream that no running container writes. They are on the disk when it returns.
// Sequence tokens are not asked for, as on AWS since 2023.
func (s *Service) PutLogEvents(ctx context.Context, in *cwl.PutLogEventsInput) (*cwl.PutLogEventsOutput, error) {
	group, stream := aws.ToString(in.LogGroupName), aws.ToString(in.LogStreamName)
	if err := errors.Join(checkGroupName(group), checkStreamName(stream)); err != nil {
		return nil, err
	}
	if err := checkBatch(in.LogEvents); err != nil {
		return nil, err
	}
	g, st, err := s.stream(ctx, scope(ctx), group, stream)
	if err != nil {
		return nil, err
	}
	now := s.o.Now().UTC().Truncate(time.Millisecond)
	accepted, rejected := judge(in.LogEvents, now, g.Since(now))
	out := &cwl.PutLogEventsOutput{RejectedLogEventsInfo: rejected}
	if in.Entity != nil {
		// What AWS says where it does not connect events with entities; the events are taken.
		out.RejectedEntityInfo = &types.RejectedEntityInfo{ErrorType: types.EntityRejectionErrorTypeUnsupportedLogGroupType}
	}
	events := make([]segment.Event, len(accepted))
	for i, e := range accepted {
		events[i] = segment.Event{Time: time.UnixMilli(*e.Timestamp), Ingested: now, Data: []byte(*e.Message)}
	}
	pos, err := s.append(ctx, s.dir(st.ID), events)
	if errors.Is(err, segment.ErrLocked) {
		return nil, errOtherWriter
	}
	out.NextSequenceToken = aws.String(sequenceToken(pos))
	return out, err
}

// Private

// append waits a while for other requests that write the stream.
func (s *Service) append(ctx context.Context, dir string, events []segment.Event) (pos uint64, err error) {
	for deadline := time.Now().Add(lockPatience); ; {
		w, err := segment.OpenWriter(dir, segment.WriterOptions{MaxBytes: s.o.GroupBytes})
		if err == nil {
			err = errors.Join(w.Append(events...), w.Sync(), w.Close())
			return w.Pos(), err
		}
		if !errors.Is(err, segment.ErrLocked) || time.Now().After(deadline) {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func checkBatch(events []types.InputLogEvent) error {
	if n := len(events); n < 1 || n > maxBatchEvents {
		return invalid("1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have length between 1 and %d", maxBatchEvents)
	}
	size, last := 0, int64(0)
	for i, e := range events {
		if e.Timestamp == nil || *e.Timestamp < 0 || aws.ToString(e.Message) == "" {
			return invalid("1 validation error detected: Value at 'logEvents.%d.member' failed to satisfy constraint: Member must have a timestamp of at least 0 and a message of at least 1 character", i+1)
		}
		if *e.Timestamp < last {
			return invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
		last = *e.Timestamp
		if n := len(*e.Message) + eventCost; n > maxBatchBytes {
			return invalid("Log event too large: %d bytes exceeds limit of %d", n, maxBatchBytes)
		}
		size += len(*e.Message) + eventCost
	}
	if size > maxBatchBytes {
		return invalid("Upload too large: %d bytes exceeds limit of %d", size, maxBatchBytes)
	}
	if last-*events[0].Timestamp > maxSpan.Milliseconds() {
		return invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	return nil
}

// judge takes away, in a batch in chronological order, the events that are too old or have expired (the first ones) and
// those that are too new (the last ones). since is zero if events don't expire.
func judge(events []types.InputLogEvent, now, since time.Time) ([]types.InputLogEvent, *types.RejectedLogEventsInfo) {
	before := func(t time.Time) int32 {
		n := int32(0)
		for n < int32(len(events)) && *events[n].Timestamp < t.UnixMilli() {
			n++
		}
		return n
	}
	var info types.RejectedLogEventsInfo
	old, expired, ok := before(now.Add(-maxAge)), int32(0), before(now.Add(maxAhead+time.Millisecond))
	if !since.IsZero() {
		expired = before(since)
	}
	if old > 0 {
		info.TooOldLogEventEndIndex = aws.Int32(old)
	}
	if expired > 0 {
		info.ExpiredLogEventEndIndex = aws.Int32(expired)
	}
	if ok < int32(len(events)) {
		info.TooNewLogEventStartIndex = aws.Int32(ok)
	}
	accepted := events[min(max(old, expired), ok):ok]
	if len(accepted) == len(events) {
		return events, nil
	}
	return accepted, &info
}

// sequenceToken looks like AWS's, for clients that send it back. Nobody reads it.
func sequenceToken(pos uint64) string { return fmt.Sprintf("49%054d", pos) }
