package logs

import (
	"container/heap"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/lotse-project/lotse/internal/logpattern"
	"github.com/lotse-project/lotse/internal/segment"
	"github.com/lotse-project/lotse/internal/state"
)

// maxScanned is how much a page looks at, bytes. One that found little or nothing by then ends with a token, as AWS's do.
const maxScanned = 64 << 20

// FilterLogEvents reads a group's streams, or some of them, in order of their events' times.
func (s *Service) FilterLogEvents(ctx context.Context, in *cwl.FilterLogEventsInput) (*cwl.FilterLogEventsOutput, error) {
	if err := onlyMembers(in, "EndTime", "FilterPattern", "Interleaved", "Limit", "LogGroupIdentifier", "LogGroupName", "LogStreamNamePrefix",
		"LogStreamNames", "NextToken", "StartFromHead", "StartTime"); err != nil {
		return nil, err
	}
	if in.StartFromHead != nil && !*in.StartFromHead {
		return nil, invalid("Lotse returns the earliest log events first; it does not act on startFromHead=false yet.")
	}
	p, err := filterPattern(in.FilterPattern)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(in.Limit, maxPageEvents)
	if err != nil {
		return nil, err
	}
	g, streams, err := s.chosen(ctx, in)
	if err != nil {
		return nil, err
	}
	end := in.EndTime
	if end != nil && *end >= 0 && *end < maxTime {
		end = aws.Int64(*end + 1) // here it is inclusive
	}
	from, to, err := s.timeRange(g, in.StartTime, end)
	if err != nil {
		return nil, err
	}
	m := merge{match: p.Match, budget: budget{size, maxPageBytes}, scan: maxScanned}
	if in.NextToken != nil {
		if m.from, err = parseGroupToken(*in.NextToken); err != nil {
			return nil, err
		}
	}
	for _, st := range streams {
		src, err := s.source(st.ID)
		if err == nil {
			err = m.add(st.Name, src, place{from, 0}, place{to, 0})
		}
		if err != nil {
			return nil, err
		}
	}
	return m.page()
}

// Private

func filterPattern(s *string) (logpattern.Pattern, error) {
	if n := len(aws.ToString(s)); n > logpattern.MaxLength {
		return logpattern.Pattern{}, constraint(*s, "filterPattern", "Member must have length less than or equal to 1024")
	}
	p, err := logpattern.Parse(aws.ToString(s))
	if err != nil {
		return p, invalid("%v", err)
	}
	return p, nil
}

// chosen reads the group and the streams that a FilterLogEvents asks for.
func (s *Service) chosen(ctx context.Context, in *cwl.FilterLogEventsInput) (state.LogGroup, []state.LogStream, error) {
	var g state.LogGroup
	group, err := groupOf(scope(ctx), in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return g, nil, err
	}
	prefix := aws.ToString(in.LogStreamNamePrefix)
	if in.LogStreamNames == nil {
		return s.streams(ctx, scope(ctx), group, prefix)
	}
	if prefix != "" {
		return g, nil, invalid("LogStreamNames and LogStreamNamePrefix are mutually exclusive parameters.")
	}
	names := slices.Compact(slices.Sorted(slices.Values(in.LogStreamNames)))
	if len(names) < 1 || len(in.LogStreamNames) > 100 {
		return g, nil, constraint(len(in.LogStreamNames), "logStreamNames", "Member must have length between 1 and 100")
	}
	var out []state.LogStream
	for _, name := range names {
		var st state.LogStream
		if g, st, err = s.stream(ctx, scope(ctx), group, name); err != nil {
			return g, nil, err
		}
		out = append(out, st)
	}
	return g, out, nil
}

// merge is a heap of streams by their next events.
type merge struct {
	from   groupPlace
	match  func([]byte) bool
	budget budget
	scan   int // bytes it may look at
	heads  []*head
}

type head struct {
	name   string
	cursor *cursor
	event  segment.Event
}

func (h *head) place() groupPlace {
	return groupPlace{h.event.Time.UnixMilli(), h.name, h.event.Pos}
}

// add takes a stream in, if it has an event.
func (m *merge) add(name string, src source, from, to place) error {
	if p := m.from.after(name); from.before(p) {
		from = p
	}
	c, err := src.cursor(from, to, m.match, m.budget)
	if err != nil {
		return err
	}
	h := &head{name: name, cursor: c}
	ok := false
	if h.event, ok, err = c.next(); ok {
		heap.Push(m, h)
	}
	return err
}

// page takes events until it is full, or has looked at enough. Its token tells the last event it looked at.
func (m *merge) page() (*cwl.FilterLogEventsOutput, error) {
	out := &cwl.FilterLogEventsOutput{Events: []types.FilteredLogEvent{}, SearchedLogStreams: []types.SearchedLogStream{}}
	size, scanned, more := 0, 0, false
	for len(m.heads) > 0 {
		h := m.heads[0]
		e := h.event
		cost := len(e.Data) + eventCost
		matches := m.match(e.Data)
		if matches && len(out.Events) > 0 && size+cost > m.budget.bytes {
			more = true
			break
		}
		if matches {
			out.Events = append(out.Events, view(h.name, e))
			size += cost
		}
		scanned += cost
		m.from = h.place()
		ended, err := m.advance(h)
		if err != nil {
			return nil, err
		}
		full := len(out.Events) == m.budget.events || scanned > m.scan
		if ended && h.cursor.cut || full && len(m.heads) > 0 {
			more = true
			break
		}
	}
	if more {
		out.NextToken = aws.String(m.from.token())
	}
	return out, nil
}

// advance puts the first stream where its next event belongs, or takes it out when it has ended.
func (m *merge) advance(h *head) (ended bool, err error) {
	e, ok, err := h.cursor.next()
	if !ok {
		heap.Pop(m)
		return true, err
	}
	h.event = e
	heap.Fix(m, 0)
	return false, err
}

// The heap.

func (m *merge) Len() int           { return len(m.heads) }
func (m *merge) Less(i, j int) bool { return m.heads[i].place().compare(m.heads[j].place()) < 0 }
func (m *merge) Swap(i, j int)      { m.heads[i], m.heads[j] = m.heads[j], m.heads[i] }
func (m *merge) Push(x any)         { m.heads = append(m.heads, x.(*head)) }
func (m *merge) Pop() any {
	n := len(m.heads) - 1
	x := m.heads[n]
	m.heads = m.heads[:n]
	return x
}

// view shows an event. Its id has 56 digits, as on AWS, and never changes.
func view(stream string, e segment.Event) types.FilteredLogEvent {
	h := fnv.New64a()
	h.Write([]byte(stream))
	ms := e.Time.UnixMilli()
	return types.FilteredLogEvent{
		EventId:       aws.String(fmt.Sprintf("%016d%020d%020d", ms, e.Pos, h.Sum64())),
		IngestionTime: aws.Int64(e.Ingested.UnixMilli()), LogStreamName: aws.String(strings.Clone(stream)),
		Message: message(e), Timestamp: aws.Int64(ms),
	}
}
