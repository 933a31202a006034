// Package logs is the API of CloudWatch Logs: groups, streams, events and their retention. The events of a stream are in
// a segment directory of its own, where the container's logger writes them, or PutLogEvents does.
package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// ErrNoGroup: the log group does not exist. It is a store.ErrNotFound too.
var ErrNoGroup = fmt.Errorf("no such log group: %w", store.ErrNotFound)

// Options is what the service needs to know of its surroundings.
type Options struct {
	DB *store.DB

	// Dir has the segment directories. Nothing else is in it: what belongs to no stream is removed.
	Dir string

	// GroupBytes limits what a group keeps: its oldest files go first. 0: 1 GiB.
	GroupBytes int64

	// DiskShare limits what all groups keep together, as a share of the disk Dir is on. 0: a tenth.
	DiskShare float64

	Log *slog.Logger
	Now func() time.Time
}

// Service answers CloudWatch Logs' operations.
type Service struct {
	o    Options
	wake chan struct{} // something was deleted
}

// New makes the service. It starts nothing.
func New(o Options) *Service {
	if o.GroupBytes <= 0 {
		o.GroupBytes = 1 << 30
	}
	if o.DiskShare <= 0 {
		o.DiskShare = 0.1
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{o: o, wake: make(chan struct{}, 1)}
}

// API lists the operations.
func (s *Service) API() *awswire.API {
	// Source: CloudWatch Logs service model: awsJson1.1, target prefix Logs_20140328.
	a := &awswire.API{SigningName: "logs", Protocol: awswire.JSON11, Target: "Logs_20140328"}
	awswire.Handle(a, s.CreateLogGroup)
	awswire.Handle(a, s.DeleteLogGroup)
	awswire.Handle(a, s.DescribeLogGroups)
	awswire.Handle(a, s.PutLogGroupDeletionProtection)
	awswire.Handle(a, s.PutRetentionPolicy)
	awswire.Handle(a, s.DeleteRetentionPolicy)
	awswire.Handle(a, s.CreateLogStream)
	awswire.Handle(a, s.DeleteLogStream)
	awswire.Handle(a, s.DescribeLogStreams)
	awswire.Handle(a, s.PutLogEvents)
	awswire.Handle(a, s.GetLogEvents)
	awswire.Handle(a, s.FilterLogEvents)
	awswire.Handle(a, s.TagResource)
	awswire.Handle(a, s.UntagResource)
	awswire.Handle(a, s.ListTagsForResource)
	awswire.Handle(a, s.TagLogGroup)
	awswire.Handle(a, s.UntagLogGroup)
	awswire.Handle(a, s.ListTagsLogGroup)
	return a
}

// Stream makes sure that a log stream exists, with create its group too, and tells its segment directory, which the
// writer makes. ErrNoGroup: there is no such group.
func (s *Service) Stream(ctx context.Context, sc arn.Scope, group, stream string, create bool) (dir string, err error) {
	if err := errors.Join(checkGroupName(group), checkStreamName(stream)); err != nil {
		return "", err
	}
	var id string
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) (err error) {
		id, err = state.EnsureStream(tx, sc, group, stream, create)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("log group %s: %w", group, ErrNoGroup)
	}
	return s.dir(id), err
}

// Private

func (s *Service) dir(id string) string { return filepath.Join(s.o.Dir, id) }

// scope is the caller's account and region.
func scope(ctx context.Context) arn.Scope { return awsauth.ScopeFrom(ctx) }
