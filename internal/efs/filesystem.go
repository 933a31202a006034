package efs

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// CreateFileSystem makes an empty file system. It is there at once.
func (s *Service) CreateFileSystem(ctx context.Context, in *efs.CreateFileSystemInput) (*efs.CreateFileSystemOutput, error) {
	if aws.ToBool(in.Encrypted) || in.KmsKeyId != nil {
		return nil, badRequest("Lotse does not encrypt file systems, so it does not accept encrypted or kmsKeyId: encrypt the disk that has the data directory.")
	}
	if err := onlyMembers(in, "CreationToken", "PerformanceMode", "ThroughputMode", "Tags"); err != nil {
		return nil, err
	}
	token := aws.ToString(in.CreationToken)
	if n := utf8.RuneCountInString(token); n == 0 || n > 64 {
		return nil, constraint(token, "creationToken", "Member must have length between 1 and 64, inclusive")
	}
	if in.PerformanceMode == types.PerformanceModeMaxIo {
		return nil, badRequest("Lotse has the performance mode generalPurpose only.")
	}
	throughput, err := throughputMode(in.ThroughputMode, types.ThroughputModeBursting)
	if err != nil {
		return nil, err
	}
	tags, err := tagMap(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	sc := scope(ctx)
	var view types.FileSystemDescription
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		for o, err := range state.FileSystems.List(tx, sc.Key("")) {
			if err != nil {
				return err
			}
			if o.Val.Token == token && !o.Val.Deleting {
				return &awswire.Error{Code: "FileSystemAlreadyExists", Status: http.StatusConflict, Members: map[string]string{"FileSystemId": o.Val.ID},
					Message: "File system '" + o.Val.ID + "' already exists with creation token '" + token + "'"}
			}
		}
		fs := state.FileSystem{Scope: sc, ID: state.NewEC2ID("fs"), Token: token, ThroughputMode: string(throughput), Tags: tags, CreatedAt: tx.Now()}
		view = s.view(fs, nil)
		return state.FileSystems.Put(tx, &store.Object[state.FileSystem]{Key: sc.Key(fs.ID), Val: fs})
	})
	out := efs.CreateFileSystemOutput(output(view))
	return &out, err
}

// DescribeFileSystems lists file systems with their measured sizes.
func (s *Service) DescribeFileSystems(ctx context.Context, in *efs.DescribeFileSystemsInput) (*efs.DescribeFileSystemsOutput, error) {
	id, token := idOf(in.FileSystemId), aws.ToString(in.CreationToken)
	if id != "" && token != "" {
		return nil, badRequest("Specify either a file system ID or a creation token, not both.")
	}
	sc := scope(ctx)
	var found []types.FileSystemDescription
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.FileSystems.List(tx, sc.Key("")) {
			if err != nil {
				return err
			}
			if id != "" && o.Val.ID != id || token != "" && o.Val.Token != token {
				continue
			}
			targets, err := state.MountTargetsOf(tx, sc, o.Val.ID)
			if err != nil {
				return err
			}
			found = append(found, s.view(o.Val, targets))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if id != "" && len(found) == 0 {
		return nil, noFileSystem(id)
	}
	out := &efs.DescribeFileSystemsOutput{Marker: in.Marker}
	out.FileSystems, out.NextMarker, err = page(found, in.Marker, in.MaxItems, func(f types.FileSystemDescription) string { return *f.FileSystemId })
	return out, err
}

// UpdateFileSystem changes the throughput mode.
func (s *Service) UpdateFileSystem(ctx context.Context, in *efs.UpdateFileSystemInput) (*efs.UpdateFileSystemOutput, error) {
	if err := onlyMembers(in, "FileSystemId", "ThroughputMode"); err != nil {
		return nil, err
	}
	var view types.FileSystemDescription
	err := s.change(ctx, idOf(in.FileSystemId), func(tx *store.WriteTx, fs *state.FileSystem) error {
		mode, err := throughputMode(in.ThroughputMode, types.ThroughputMode(fs.ThroughputMode))
		if err != nil {
			return err
		}
		fs.ThroughputMode = string(mode)
		targets, err := state.MountTargetsOf(tx, fs.Scope, fs.ID)
		view = s.view(*fs, targets)
		return err
	})
	out := efs.UpdateFileSystemOutput(output(view))
	return &out, err
}

// DeleteFileSystem removes a file system and its files for good. It must have no mount targets, and no task.
func (s *Service) DeleteFileSystem(ctx context.Context, in *efs.DeleteFileSystemInput) (*efs.DeleteFileSystemOutput, error) {
	err := s.change(ctx, idOf(in.FileSystemId), func(tx *store.WriteTx, fs *state.FileSystem) error {
		inUse := func(text string) error {
			return &awswire.Error{Code: "FileSystemInUse", Status: http.StatusConflict, Message: text}
		}
		targets, err := state.MountTargetsOf(tx, fs.Scope, fs.ID)
		if err != nil {
			return err
		}
		if len(targets) > 0 {
			return inUse("The file system '" + fs.ID + "' has mount targets, such as " + targets[0].ID + ". Delete them first.")
		}
		task, err := taskWith(tx, fs.Scope, fs.ID)
		if err != nil {
			return err
		}
		if task != "" {
			return inUse("The file system '" + fs.ID + "' is mounted by the task " + task + ". Stop it first.")
		}
		for o, err := range state.AccessPoints.List(tx, fs.Scope.Key("")) {
			if err != nil {
				return err
			}
			if o.Val.FileSystem != fs.ID {
				continue
			}
			if err := state.AccessPoints.Delete(tx, o.Key, 0); err != nil {
				return err
			}
		}
		fs.Deleting = true
		return nil
	})
	if err == nil {
		select {
		case s.wake <- struct{}{}:
		default: // it is awake
		}
	}
	return &efs.DeleteFileSystemOutput{}, err
}

// DescribeLifecycleConfiguration says that files stay in the standard class.
func (s *Service) DescribeLifecycleConfiguration(ctx context.Context, in *efs.DescribeLifecycleConfigurationInput) (*efs.DescribeLifecycleConfigurationOutput, error) {
	return &efs.DescribeLifecycleConfigurationOutput{}, s.known(ctx, in.FileSystemId)
}

// DescribeBackupPolicy says that there are no backups.
func (s *Service) DescribeBackupPolicy(ctx context.Context, in *efs.DescribeBackupPolicyInput) (*efs.DescribeBackupPolicyOutput, error) {
	return &efs.DescribeBackupPolicyOutput{BackupPolicy: &types.BackupPolicy{Status: types.StatusDisabled}}, s.known(ctx, in.FileSystemId)
}

// DescribeFileSystemPolicy says that there is none.
func (s *Service) DescribeFileSystemPolicy(ctx context.Context, in *efs.DescribeFileSystemPolicyInput) (*efs.DescribeFileSystemPolicyOutput, error) {
	if err := s.known(ctx, in.FileSystemId); err != nil {
		return nil, err
	}
	return nil, &awswire.Error{Code: "PolicyNotFound", Status: http.StatusNotFound, Message: "No policy is attached to the file system."}
}

// Private

// known returns an error unless there is such a file system.
func (s *Service) known(ctx context.Context, id *string) error {
	return s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		_, err := fileSystem(tx, scope(ctx), idOf(id))
		return err
	})
}

func fileSystem(tx store.Reader, sc arn.Scope, id string) (store.Object[state.FileSystem], error) {
	o, err := state.FileSystems.Get(tx, sc.Key(id))
	if err == nil && o.Val.Deleting {
		return o, noFileSystem(id)
	}
	return o, or(err, noFileSystem(id))
}

// change writes the record of a file system that isn't being deleted.
func (s *Service) change(ctx context.Context, id string, do func(*store.WriteTx, *state.FileSystem) error) error {
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := fileSystem(tx, scope(ctx), id)
		if err != nil {
			return err
		}
		if err := do(tx, &o.Val); err != nil {
			return err
		}
		return state.FileSystems.Put(tx, &o)
	})
}

func throughputMode(given, other types.ThroughputMode) (types.ThroughputMode, error) {
	switch given {
	case "":
		return other, nil
	case types.ThroughputModeProvisioned:
		return "", badRequest("Lotse does not provision throughput: files are as fast as the disk. Use bursting or elastic.")
	}
	return given, nil
}

// taskWith returns a task that isn't STOPPED and mounts the file system, or "".
func taskWith(tx store.Reader, sc arn.Scope, id string) (string, error) {
	for t, err := range state.LiveTasks(tx, sc.Key("")) {
		if err != nil {
			return "", err
		}
		td, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(t.Val.TaskDefinitionARN))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
		for _, v := range td.Val.Definition.Volumes {
			if c := v.EfsVolumeConfiguration; c != nil && aws.ToString(c.FileSystemId) == id {
				return t.Val.ID, nil
			}
		}
	}
	return "", nil
}

// idOf takes an ARN for the id in it.
func idOf(id *string) string {
	s := aws.ToString(id)
	if arn.IsARN(s) {
		s = s[strings.LastIndexByte(s, '/')+1:]
	}
	return s
}

func (s *Service) view(fs state.FileSystem, targets []state.MountTarget) types.FileSystemDescription {
	phase := types.LifeCycleStateAvailable
	if fs.Deleting {
		phase = types.LifeCycleStateDeleting
	}
	bytes, at := s.sizeOf(fs)
	return types.FileSystemDescription{
		CreationTime: &fs.CreatedAt, CreationToken: &fs.Token, FileSystemId: &fs.ID, FileSystemArn: aws.String(fs.ARN()), OwnerId: &fs.Scope.Account,
		LifeCycleState: phase, NumberOfMountTargets: int32(len(targets)), PerformanceMode: types.PerformanceModeGeneralPurpose, Encrypted: aws.Bool(false),
		ThroughputMode: types.ThroughputMode(fs.ThroughputMode), Tags: tagList(fs.Tags), Name: nameOf(fs.Tags),
		SizeInBytes:          &types.FileSystemSize{Value: bytes, Timestamp: at, ValueInStandard: aws.Int64(bytes), ValueInIA: aws.Int64(0), ValueInArchive: aws.Int64(0)},
		FileSystemProtection: &types.FileSystemProtectionDescription{ReplicationOverwriteProtection: types.ReplicationOverwriteProtectionEnabled},
	}
}

// output is a description as an output has it.
func output(v types.FileSystemDescription) efs.CreateFileSystemOutput {
	return efs.CreateFileSystemOutput{CreationTime: v.CreationTime, CreationToken: v.CreationToken, FileSystemId: v.FileSystemId, FileSystemArn: v.FileSystemArn,
		OwnerId: v.OwnerId, LifeCycleState: v.LifeCycleState, NumberOfMountTargets: v.NumberOfMountTargets, PerformanceMode: v.PerformanceMode, Encrypted: v.Encrypted,
		ThroughputMode: v.ThroughputMode, Tags: v.Tags, Name: v.Name, SizeInBytes: v.SizeInBytes, FileSystemProtection: v.FileSystemProtection}
}
