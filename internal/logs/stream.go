package logs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/segment"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// CreateLogStream makes a stream.
func (s *Service) CreateLogStream(ctx context.Context, in *cwl.CreateLogStreamInput) (*cwl.CreateLogStreamOutput, error) {
	group, stream := aws.ToString(in.LogGroupName), aws.ToString(in.LogStreamName)
	if err := errors.Join(checkGroupName(group), checkStreamName(stream)); err != nil {
		return nil, err
	}
	return &cwl.CreateLogStreamOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		_, err := state.LogStreams.Get(tx, state.LogStreamKey(scope(ctx), group, stream))
		if err == nil {
			return errStreamExists
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		_, err = state.EnsureStream(tx, scope(ctx), group, stream, false)
		return or(err, errNoGroup)
	})
}

// DeleteLogStream deletes a stream with its events. What a running container goes on to write is lost.
func (s *Service) DeleteLogStream(ctx context.Context, in *cwl.DeleteLogStreamInput) (*cwl.DeleteLogStreamOutput, error) {
	group, stream := aws.ToString(in.LogGroupName), aws.ToString(in.LogStreamName)
	if err := errors.Join(checkGroupName(group), checkStreamName(stream)); err != nil {
		return nil, err
	}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		g, err := state.LogGroups.Get(tx, scope(ctx).Key(group))
		if err != nil {
			return or(err, errNoGroup)
		}
		if g.Val.DeletionProtection {
			return errProtected
		}
		return or(state.LogStreams.Delete(tx, state.LogStreamKey(scope(ctx), group, stream), 0), errNoStream)
	})
	s.sweepSoon()
	return &cwl.DeleteLogStreamOutput{}, err
}

// DescribeLogStreams lists a group's streams.
func (s *Service) DescribeLogStreams(ctx context.Context, in *cwl.DescribeLogStreamsInput) (*cwl.DescribeLogStreamsOutput, error) {
	group, err := groupOf(scope(ctx), in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(in.Limit, 50)
	if err != nil {
		return nil, err
	}
	prefix, byTime := aws.ToString(in.LogStreamNamePrefix), in.OrderBy == types.OrderByLastEventTime
	switch {
	case in.OrderBy != "" && in.OrderBy != types.OrderByLogStreamName && !byTime:
		return nil, constraint(in.OrderBy, "orderBy", "Member must satisfy enum value set: [LogStreamName, LastEventTime]")
	case byTime && prefix != "":
		return nil, invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	_, streams, err := s.streams(ctx, scope(ctx), group, prefix)
	if err != nil {
		return nil, err
	}
	return s.describe(streams, byTime, aws.ToBool(in.Descending), size, in.NextToken)
}

// Private

// seen is a stream and what there is of its events.
type seen struct {
	state.LogStream
	span segment.Span
	sort string // what it is sorted by
}

func (s *Service) describe(streams []state.LogStream, byTime, descending bool, size int, token *string) (*cwl.DescribeLogStreamsOutput, error) {
	all := make([]seen, len(streams))
	for i, st := range streams {
		all[i] = seen{LogStream: st, sort: st.Name}
		if byTime {
			if err := s.look(&all[i]); err != nil {
				return nil, err
			}
			// Streams without events are the oldest.
			all[i].sort = fmt.Sprintf("%020d/%s", max(0, all[i].span.Newest.UnixMilli()), st.Name)
		}
	}
	before := func(a, b string) bool { return a < b != descending && a != b }
	slices.SortFunc(all, func(a, b seen) int {
		if descending {
			a, b = b, a
		}
		return strings.Compare(a.sort, b.sort)
	})
	all, next, err := page(all, token, size, func(x seen) string { return x.sort }, before)
	if err != nil {
		return nil, err
	}
	out := &cwl.DescribeLogStreamsOutput{NextToken: next, LogStreams: []types.LogStream{}}
	for i := range all {
		if !byTime {
			if err := s.look(&all[i]); err != nil {
				return nil, err
			}
		}
		out.LogStreams = append(out.LogStreams, streamView(all[i]))
	}
	return out, nil
}

func (s *Service) look(x *seen) error {
	r, err := segment.OpenReader(s.dir(x.ID))
	if err == nil {
		x.span, err = r.Span()
	}
	return err
}

// streams reads a group and its streams whose names begin with prefix, in order of their names.
func (s *Service) streams(ctx context.Context, sc arn.Scope, group, prefix string) (g state.LogGroup, out []state.LogStream, err error) {
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := state.LogGroups.Get(tx, sc.Key(group))
		if err != nil {
			return or(err, errNoGroup)
		}
		g = o.Val
		for st, err := range state.LogStreams.List(tx, state.LogStreamKey(sc, group, prefix)) {
			if err != nil {
				return err
			}
			out = append(out, st.Val)
		}
		return nil
	})
	return g, out, err
}

// stream reads a group and one of its streams.
func (s *Service) stream(ctx context.Context, sc arn.Scope, group, name string) (g state.LogGroup, st state.LogStream, err error) {
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := state.LogGroups.Get(tx, sc.Key(group))
		if err != nil {
			return or(err, errNoGroup)
		}
		x, err := state.LogStreams.Get(tx, state.LogStreamKey(sc, group, name))
		g, st = o.Val, x.Val
		return or(err, errNoStream)
	})
	return g, st, err
}

func streamView(x seen) types.LogStream {
	v := types.LogStream{
		LogStreamName: aws.String(x.Name), Arn: aws.String(x.ARN()), CreationTime: aws.Int64(x.CreatedAt.UnixMilli()),
		StoredBytes: aws.Int64(0), // for streams, since 2019. Source: LogStream
	}
	if x.span.End > 0 {
		v.FirstEventTimestamp = aws.Int64(x.span.Oldest.UnixMilli())
		v.LastEventTimestamp = aws.Int64(x.span.Newest.UnixMilli())
		v.LastIngestionTime = aws.Int64(x.span.LastIngested.UnixMilli())
		v.UploadSequenceToken = aws.String(sequenceToken(x.span.End))
	}
	return v
}
