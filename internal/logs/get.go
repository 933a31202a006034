package logs

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/lotse-project/lotse/internal/segment"
	"github.com/lotse-project/lotse/internal/state"
)

// maxPageEvents is a page's limit, and the default. Source: GetLogEvents, FilterLogEvents.
const maxPageEvents = 10_000

// GetLogEvents reads a stream by pages: from its head, or the newest page first. A token goes on forward or backward
// from the page it came with, and the same token comes back when there is nothing more in its direction.
func (s *Service) GetLogEvents(ctx context.Context, in *cwl.GetLogEventsInput) (*cwl.GetLogEventsOutput, error) {
	if err := onlyMembers(in, "LogStreamName", "EndTime", "Limit", "LogGroupIdentifier", "LogGroupName", "NextToken", "StartFromHead", "StartTime"); err != nil {
		return nil, err
	}
	name := aws.ToString(in.LogStreamName)
	group, err := groupOf(scope(ctx), in.LogGroupName, in.LogGroupIdentifier)
	if err = errors.Join(err, checkStreamName(name)); err != nil {
		return nil, err
	}
	size, err := pageSize(in.Limit, maxPageEvents)
	if err != nil {
		return nil, err
	}
	g, st, err := s.stream(ctx, scope(ctx), group, name)
	if err != nil {
		return nil, err
	}
	q, err := s.query(g, in)
	if err != nil {
		return nil, err
	}
	src, err := s.source(st.ID)
	if err != nil {
		return nil, err
	}
	events, err := q.read(src, budget{size, maxPageBytes})
	if err != nil {
		return nil, err
	}
	back, forward := q.tokens(events)
	out := &cwl.GetLogEventsOutput{Events: make([]types.OutputLogEvent, len(events)), NextBackwardToken: aws.String(back.token("b")), NextForwardToken: aws.String(forward.token("f"))}
	for i, e := range events {
		out.Events[i] = types.OutputLogEvent{IngestionTime: aws.Int64(e.Ingested.UnixMilli()), Message: message(e), Timestamp: aws.Int64(e.Time.UnixMilli())}
	}
	return out, nil
}

// Private

// query is what a GetLogEvents asks for: the events after from and before to, the first or the last of them.
type query struct {
	from, to place
	backward bool
	token    *place
}

// query reads the times and the token. What has expired is not shown, though it may still be there.
func (s *Service) query(g state.LogGroup, in *cwl.GetLogEventsInput) (query, error) {
	var q query
	start, end, err := s.timeRange(g, in.StartTime, in.EndTime)
	if err != nil {
		return q, err
	}
	q.from, q.to, q.backward = place{start, 0}, place{end, 0}, !aws.ToBool(in.StartFromHead)
	if in.NextToken == nil {
		return q, nil
	}
	direction, p, err := parseToken(*in.NextToken)
	if err != nil {
		return q, err
	}
	q.token, q.backward = &p, direction == "b"
	if q.backward && p.before(q.to) {
		q.to = p
	}
	if !q.backward && q.from.before(p) {
		q.from = p
	}
	return q, nil
}

func (q query) read(src source, b budget) ([]segment.Event, error) {
	if q.backward {
		return src.back(q.from, q.to, b)
	}
	c, err := src.cursor(q.from, q.to, everything, b)
	if err != nil {
		return nil, err
	}
	var out []segment.Event
	for size := 0; len(out) < b.events; {
		e, ok, err := c.next()
		size += len(e.Data) + eventCost
		if err != nil || !ok || len(out) > 0 && size > b.bytes {
			return out, err
		}
		out = append(out, e)
	}
	return out, nil
}

// tokens are where the pages before and after a page begin. At the end, the token that was used comes back.
func (q query) tokens(events []segment.Event) (back, forward place) {
	switch n := len(events); {
	case n > 0:
		return placeOf(events[0]), placeOf(events[n-1])
	case q.token == nil:
		return q.from, q.from
	case q.backward:
		return *q.token, place{q.token.time, max(q.token.pos, 1) - 1}
	}
	return place{q.token.time, q.token.pos + 1}, *q.token
}

// timeRange checks the times of a request, ms, start inclusive, end exclusive.
func (s *Service) timeRange(g state.LogGroup, startTime, endTime *int64) (start, end int64, err error) {
	start, end = aws.ToInt64(startTime), math.MaxInt64
	if endTime != nil {
		end = *endTime
	}
	if start < 0 {
		return 0, 0, constraint(start, "startTime", "Member must have value greater than or equal to 0")
	}
	if end < 0 {
		return 0, 0, constraint(end, "endTime", "Member must have value greater than or equal to 0")
	}
	if since := g.Since(s.o.Now()); !since.IsZero() {
		start = max(start, since.UnixMilli())
	}
	return min(start, maxTime), min(end, maxTime), nil
}

// maxTime keeps times within what time.Time can do with ms, year 9999.
var maxTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

func everything([]byte) bool { return true }

// message is an event's text. What is no UTF-8 cannot be sent.
func message(e segment.Event) *string {
	return aws.String(strings.ToValidUTF8(string(e.Data), "\uFFFD"))
}
