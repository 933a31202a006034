// Package efs is the API of Elastic File System: file systems that tasks share, mount targets, access points.
//
// A file system is a directory of the data directory. There is no NFS: a task's volume is that directory, mounted when the
// records say that AWS would mount it (see state.MountEFS). What is nothing here (encryption, backups, replication,
// lifecycle classes, file system policies, provisioned throughput) is refused.
package efs

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the service needs to know of its surroundings.
type Options struct {
	DB  *store.DB
	Dir string // has a directory for each file system, by its id
	Log *slog.Logger
}

// Service answers EFS's operations and removes the files of file systems that were deleted.
type Service struct {
	o     Options
	wake  chan struct{} // something is to be removed
	mu    sync.Mutex
	sizes map[string]size // file system → what was measured last
}

// New makes the service. Run works.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{o: o, wake: make(chan struct{}, 1), sizes: map[string]size{}}
}

// API lists the operations.
func (s *Service) API() *awswire.API {
	a := &awswire.API{SigningName: "elasticfilesystem", Protocol: awswire.RestJSON,
		// Source: EFS API reference, "If the action is successful, the service sends back an HTTP … response".
		Status: map[string]int{"CreateFileSystem": http.StatusCreated, "UpdateFileSystem": http.StatusAccepted, "DeleteFileSystem": http.StatusNoContent,
			"DeleteMountTarget": http.StatusNoContent, "ModifyMountTargetSecurityGroups": http.StatusNoContent, "DeleteAccessPoint": http.StatusNoContent}}
	awswire.Handle(a, s.CreateFileSystem)
	awswire.Handle(a, s.DescribeFileSystems)
	awswire.Handle(a, s.UpdateFileSystem)
	awswire.Handle(a, s.DeleteFileSystem)
	awswire.Handle(a, s.CreateMountTarget)
	awswire.Handle(a, s.DescribeMountTargets)
	awswire.Handle(a, s.DeleteMountTarget)
	awswire.Handle(a, s.DescribeMountTargetSecurityGroups)
	awswire.Handle(a, s.ModifyMountTargetSecurityGroups)
	awswire.Handle(a, s.CreateAccessPoint)
	awswire.Handle(a, s.DescribeAccessPoints)
	awswire.Handle(a, s.DeleteAccessPoint)
	awswire.Handle(a, s.TagResource)
	awswire.Handle(a, s.UntagResource)
	awswire.Handle(a, s.ListTagsForResource)
	awswire.Handle(a, s.DescribeLifecycleConfiguration)
	awswire.Handle(a, s.DescribeBackupPolicy)
	awswire.Handle(a, s.DescribeFileSystemPolicy)
	return a
}

// Run removes the files of deleted file systems, and measures the others, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	for {
		if err := s.remove(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Warn("the files of a deleted file system are not removed yet", "err", err)
		}
		s.measure(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-time.After(sizeEvery):
		}
	}
}

// Private

// scope is the caller's account and region.
func scope(ctx context.Context) arn.Scope { return awsauth.ScopeFrom(ctx) }
