package efs

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"
	"github.com/aws/smithy-go"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

var here = arn.Scope{Account: "123456789012", Region: "eu-central-1"}

// lab is the service behind the Mux, asked by the SDK's client.
type lab struct {
	*efs.Client
	t       *testing.T
	s       *Service
	db      *store.DB
	dir     string
	subnets []string
	vpc     string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir()}
	var err error
	if l.db, err = store.Open(filepath.Join(t.TempDir(), "db"), store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.db.Close() })
	l.update(func(tx *store.WriteTx) error {
		if err := state.EnsureDefaultVPC(tx, here, netip.MustParsePrefix("172.31.0.0/16")); err != nil {
			return err
		}
		for sn, err := range state.Subnets.List(tx, here.Key("")) {
			if err != nil {
				return err
			}
			l.subnets, l.vpc = append(l.subnets, sn.Val.ID), sn.Val.VPC
		}
		return nil
	})
	l.s = New(Options{DB: l.db, Dir: l.dir, Log: slog.New(slog.DiscardHandler)})
	mux := awswire.NewMux(awswire.MuxOptions{Log: slog.New(slog.DiscardHandler), Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
		return awsauth.WithCaller(r.Context(), awsauth.Caller{Account: here.Account, Region: here.Region, Root: true}), nil
	}})
	mux.Add(l.s.API())
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	l.Client = efs.New(efs.Options{Region: here.Region, BaseEndpoint: &server.URL, RetryMaxAttempts: 1, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "x"}, nil
	})})
	return l
}

func (l *lab) update(do func(*store.WriteTx) error) {
	l.t.Helper()
	if err := l.db.Update(l.t.Context(), do); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) fileSystem(token string) string {
	l.t.Helper()
	out, err := l.CreateFileSystem(l.t.Context(), &efs.CreateFileSystemInput{CreationToken: &token, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("n-" + token)}}})
	if err != nil {
		l.t.Fatal(err)
	}
	return *out.FileSystemId
}

func (l *lab) target(fs, subnet string) string {
	l.t.Helper()
	out, err := l.CreateMountTarget(l.t.Context(), &efs.CreateMountTargetInput{FileSystemId: &fs, SubnetId: &subnet})
	if err != nil {
		l.t.Fatal(err)
	}
	return *out.MountTargetId
}

func refused(t *testing.T, err error, code, text string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("%v, want %s: %s", err, code, text)
	}
}

func TestFileSystem_Life(t *testing.T) {
	l := newLab(t)
	id := l.fileSystem("a")
	other := l.fileSystem("b")
	_, err := l.CreateFileSystem(t.Context(), &efs.CreateFileSystemInput{CreationToken: aws.String("a")})
	var exists *types.FileSystemAlreadyExists
	if !errors.As(err, &exists) || aws.ToString(exists.FileSystemId) != id {
		t.Errorf("the token again: %v", err)
	}
	out, err := l.DescribeFileSystems(t.Context(), &efs.DescribeFileSystemsInput{FileSystemId: &id})
	if err != nil || len(out.FileSystems) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if f := out.FileSystems[0]; f.LifeCycleState != types.LifeCycleStateAvailable || *f.Name != "n-a" || f.SizeInBytes.Value != emptySize || f.ThroughputMode != types.ThroughputModeBursting {
		t.Errorf("%+v", f)
	}
	var got []string
	for p := efs.NewDescribeFileSystemsPaginator(l, &efs.DescribeFileSystemsInput{MaxItems: aws.Int32(1)}); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range out.FileSystems {
			got = append(got, *f.FileSystemId)
		}
	}
	if len(got) != 2 || got[0] == got[1] {
		t.Errorf("pages: %v", got)
	}
	if _, err := l.UpdateFileSystem(t.Context(), &efs.UpdateFileSystemInput{FileSystemId: &id, ThroughputMode: types.ThroughputModeElastic}); err != nil {
		t.Error(err)
	}

	// Its files go before its record does, and those of others stay.
	for _, fs := range []string{id, other} {
		if err := os.MkdirAll(filepath.Join(l.dir, fs, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(l.dir, fs, "d", "f"), make([]byte, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l.s.measure(t.Context())
	if out, err := l.DescribeFileSystems(t.Context(), &efs.DescribeFileSystemsInput{CreationToken: aws.String("a")}); err != nil || out.FileSystems[0].SizeInBytes.Value < 1<<20 {
		t.Errorf("its size: %+v, %v", out, err)
	}
	if _, err := l.DeleteFileSystem(t.Context(), &efs.DeleteFileSystemInput{FileSystemId: &id}); err != nil {
		t.Fatal(err)
	}
	if out, err := l.DescribeFileSystems(t.Context(), &efs.DescribeFileSystemsInput{FileSystemId: &id}); err != nil || out.FileSystems[0].LifeCycleState != types.LifeCycleStateDeleting {
		t.Errorf("%+v, %v", out, err)
	}
	if err := l.s.remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = l.DescribeFileSystems(t.Context(), &efs.DescribeFileSystemsInput{FileSystemId: &id})
	refused(t, err, "FileSystemNotFound", "File system '"+id+"' does not exist.")
	if _, err := os.Stat(filepath.Join(l.dir, id)); err == nil {
		t.Error("its files are left")
	}
	if _, err := os.Stat(filepath.Join(l.dir, other, "d", "f")); err != nil {
		t.Errorf("another's files: %v", err)
	}
}

func TestFileSystem_InUse(t *testing.T) {
	l := newLab(t)
	id := l.fileSystem("a")
	target := l.target(id, l.subnets[0])
	_, err := l.DeleteFileSystem(t.Context(), &efs.DeleteFileSystemInput{FileSystemId: &id})
	refused(t, err, "FileSystemInUse", "has mount targets, such as "+target)
	if _, err := l.DeleteMountTarget(t.Context(), &efs.DeleteMountTargetInput{MountTargetId: &target}); err != nil {
		t.Fatal(err)
	}
	l.update(func(tx *store.WriteTx) error {
		var left int
		for range state.NetworkInterfaces.List(tx, "") {
			left++
		}
		if left > 0 {
			t.Errorf("%d interfaces are left", left)
		}
		td := state.TaskDefinition{}
		td.Definition.Volumes = append(td.Definition.Volumes, volumeOf(id))
		arnTD := here.ARN("ecs", "task-definition/f:1")
		if err := state.TaskDefinitions.Put(tx, &store.Object[state.TaskDefinition]{Key: state.TaskDefinitionKey(arnTD), Val: td}); err != nil {
			return err
		}
		task := state.Task{Scope: here, ID: "0123", Cluster: "c", TaskDefinitionARN: arnTD, CreatedAt: time.Now()}
		_, err := state.AddTask(tx, task, 0)
		return err
	})
	_, err = l.DeleteFileSystem(t.Context(), &efs.DeleteFileSystemInput{FileSystemId: &id})
	refused(t, err, "FileSystemInUse", "is mounted by the task 0123")
}

func TestMountTarget(t *testing.T) {
	l := newLab(t)
	id, other := l.fileSystem("a"), l.fileSystem("b")
	first := l.target(id, l.subnets[0])
	l.target(id, l.subnets[1])
	l.target(other, l.subnets[0])
	_, err := l.CreateMountTarget(t.Context(), &efs.CreateMountTargetInput{FileSystemId: &id, SubnetId: &l.subnets[0]})
	refused(t, err, "MountTargetConflict", "mount target already exists in this AZ")
	out, err := l.DescribeMountTargets(t.Context(), &efs.DescribeMountTargetsInput{FileSystemId: &id})
	if err != nil || len(out.MountTargets) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	if m := out.MountTargets[0]; *m.VpcId != l.vpc || m.LifeCycleState != types.LifeCycleStateAvailable || aws.ToString(m.AvailabilityZoneId) == "" || !strings.HasPrefix(*m.IpAddress, "172.31.") {
		t.Errorf("%+v", m)
	}
	groups, err := l.DescribeMountTargetSecurityGroups(t.Context(), &efs.DescribeMountTargetSecurityGroupsInput{MountTargetId: &first})
	if err != nil || len(groups.SecurityGroups) != 1 {
		t.Fatalf("%+v, %v", groups, err)
	}
	_, err = l.ModifyMountTargetSecurityGroups(t.Context(), &efs.ModifyMountTargetSecurityGroupsInput{MountTargetId: &first, SecurityGroups: []string{"sg-0"}})
	refused(t, err, "SecurityGroupNotFound", "sg-0")
	if _, err := l.ModifyMountTargetSecurityGroups(t.Context(), &efs.ModifyMountTargetSecurityGroupsInput{MountTargetId: &first, SecurityGroups: groups.SecurityGroups}); err != nil {
		t.Error(err)
	}
}

func TestAccessPoint(t *testing.T) {
	l := newLab(t)
	id := l.fileSystem("a")
	in := &efs.CreateAccessPointInput{FileSystemId: &id, ClientToken: aws.String("t"), PosixUser: &types.PosixUser{Uid: aws.Int64(1000), Gid: aws.Int64(1001)},
		RootDirectory: &types.RootDirectory{Path: aws.String("/data/web"), CreationInfo: &types.CreationInfo{OwnerUid: aws.Int64(1000), OwnerGid: aws.Int64(1001), Permissions: aws.String("0750")}}}
	made, err := l.CreateAccessPoint(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.CreateAccessPoint(t.Context(), in)
	if err != nil || *again.AccessPointId != *made.AccessPointId {
		t.Errorf("again: %+v, %v", again, err)
	}
	in.PosixUser = nil
	_, err = l.CreateAccessPoint(t.Context(), in)
	var exists *types.AccessPointAlreadyExists
	if !errors.As(err, &exists) || aws.ToString(exists.AccessPointId) != *made.AccessPointId {
		t.Errorf("another one with the token: %v", err)
	}
	out, err := l.DescribeAccessPoints(t.Context(), &efs.DescribeAccessPointsInput{FileSystemId: &id})
	if err != nil || len(out.AccessPoints) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	if p := out.AccessPoints[0]; *p.RootDirectory.Path != "/data/web" || *p.RootDirectory.CreationInfo.Permissions != "750" || *p.PosixUser.Uid != 1000 {
		t.Errorf("%+v", p)
	}
	ap := made.AccessPointArn
	if _, err := l.TagResource(t.Context(), &efs.TagResourceInput{ResourceId: ap, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}, {Key: aws.String("l"), Value: aws.String("w")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.UntagResource(t.Context(), &efs.UntagResourceInput{ResourceId: ap, TagKeys: []string{"k", "x"}}); err != nil {
		t.Fatal(err)
	}
	if tags, err := l.ListTagsForResource(t.Context(), &efs.ListTagsForResourceInput{ResourceId: ap}); err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Key != "l" {
		t.Errorf("%+v, %v", tags, err)
	}
	if _, err := l.DeleteAccessPoint(t.Context(), &efs.DeleteAccessPointInput{AccessPointId: made.AccessPointId}); err != nil {
		t.Fatal(err)
	}
	_, err = l.DescribeAccessPoints(t.Context(), &efs.DescribeAccessPointsInput{AccessPointId: made.AccessPointId})
	refused(t, err, "AccessPointNotFound", "does not exist")
}

// Bad input gets EFS's codes, and nothing is made.
func TestRefusals(t *testing.T) {
	l := newLab(t)
	id := l.fileSystem("a")
	before, err := l.db.Rev(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	fs := func(do func(*efs.CreateFileSystemInput)) func() error {
		return func() error {
			in := &efs.CreateFileSystemInput{CreationToken: aws.String("b")}
			do(in)
			_, err := l.CreateFileSystem(ctx, in)
			return err
		}
	}
	ap := func(do func(*efs.CreateAccessPointInput)) func() error {
		return func() error {
			in := &efs.CreateAccessPointInput{FileSystemId: &id, ClientToken: aws.String("t"), RootDirectory: &types.RootDirectory{}}
			do(in)
			_, err := l.CreateAccessPoint(ctx, in)
			return err
		}
	}
	dir := func(p string) func() error {
		return ap(func(in *efs.CreateAccessPointInput) { in.RootDirectory.Path = &p })
	}
	for name, tc := range map[string]struct {
		do         func() error
		code, text string
	}{
		"encrypted":    {fs(func(in *efs.CreateFileSystemInput) { in.Encrypted = aws.Bool(true) }), "BadRequest", "does not encrypt"},
		"backup":       {fs(func(in *efs.CreateFileSystemInput) { in.Backup = aws.Bool(true) }), "BadRequest", "backup"},
		"one zone":     {fs(func(in *efs.CreateFileSystemInput) { in.AvailabilityZoneName = aws.String("a") }), "BadRequest", "availabilityZoneName"},
		"maxIO":        {fs(func(in *efs.CreateFileSystemInput) { in.PerformanceMode = "maxIO" }), "BadRequest", "generalPurpose"},
		"unknown mode": {fs(func(in *efs.CreateFileSystemInput) { in.PerformanceMode = "fast" }), "ValidationException", "Member must satisfy enum value set"},
		"provisioned":  {fs(func(in *efs.CreateFileSystemInput) { in.ThroughputMode = "provisioned" }), "BadRequest", "provision"},
		"long token":   {fs(func(in *efs.CreateFileSystemInput) { in.CreationToken = aws.String(strings.Repeat("x", 65)) }), "ValidationException", "length"},
		"reserved tag": {fs(func(in *efs.CreateFileSystemInput) {
			in.Tags = []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}}
		}), "BadRequest", "reserved"},
		"no file system": {func() error {
			_, err := l.DeleteFileSystem(ctx, &efs.DeleteFileSystemInput{FileSystemId: aws.String("fs-0")})
			return err
		}, "FileSystemNotFound", "fs-0"},
		"two filters": {func() error {
			_, err := l.DescribeFileSystems(ctx, &efs.DescribeFileSystemsInput{FileSystemId: &id, CreationToken: aws.String("a")})
			return err
		}, "BadRequest", "either"},
		"marker": {func() error {
			_, err := l.DescribeFileSystems(ctx, &efs.DescribeFileSystemsInput{Marker: aws.String("%")})
			return err
		}, "BadRequest", "marker"},
		"no items": {func() error {
			_, err := l.DescribeFileSystems(ctx, &efs.DescribeFileSystemsInput{MaxItems: aws.Int32(0)})
			return err
		}, "ValidationException", "maxItems"},
		"no subnet": {func() error {
			_, err := l.CreateMountTarget(ctx, &efs.CreateMountTargetInput{FileSystemId: &id, SubnetId: aws.String("subnet-0")})
			return err
		}, "SubnetNotFound", "subnet-0"},
		"no group": {func() error {
			_, err := l.CreateMountTarget(ctx, &efs.CreateMountTargetInput{FileSystemId: &id, SubnetId: &l.subnets[0], SecurityGroups: []string{"sg-0"}})
			return err
		}, "SecurityGroupNotFound", "sg-0"},
		"six groups": {func() error {
			_, err := l.CreateMountTarget(ctx, &efs.CreateMountTargetInput{FileSystemId: &id, SubnetId: &l.subnets[0], SecurityGroups: make([]string, 6)})
			return err
		}, "SecurityGroupLimitExceeded", "5"},
		"an address": {func() error {
			_, err := l.CreateMountTarget(ctx, &efs.CreateMountTargetInput{FileSystemId: &id, SubnetId: &l.subnets[0], IpAddress: aws.String("172.31.0.9")})
			return err
		}, "BadRequest", "ipAddress"},
		"which targets": {func() error { _, err := l.DescribeMountTargets(ctx, &efs.DescribeMountTargetsInput{}); return err }, "BadRequest", "one of"},
		"no mount target": {func() error {
			_, err := l.DeleteMountTarget(ctx, &efs.DeleteMountTargetInput{MountTargetId: aws.String("fsmt-0")})
			return err
		}, "MountTargetNotFound", "fsmt-0"},
		"no access point": {func() error {
			_, err := l.DeleteAccessPoint(ctx, &efs.DeleteAccessPointInput{AccessPointId: aws.String("fsap-0")})
			return err
		}, "AccessPointNotFound", "fsap-0"},
		"relative directory": {dir("data"), "ValidationException", "path"},
		"directory upwards":  {dir("/a/../b"), "ValidationException", "path"},
		"hidden directory":   {dir("/a/.b"), "ValidationException", "path"},
		"five directories":   {dir("/a/b/c/d/e"), "ValidationException", "path"},
		"permissions": {ap(func(in *efs.CreateAccessPointInput) {
			in.RootDirectory.CreationInfo = &types.CreationInfo{OwnerUid: aws.Int64(1), OwnerGid: aws.Int64(1), Permissions: aws.String("rwx")}
		}), "ValidationException", "permissions"},
		"user": {ap(func(in *efs.CreateAccessPointInput) {
			in.PosixUser = &types.PosixUser{Uid: aws.Int64(-1), Gid: aws.Int64(1)}
		}), "ValidationException", "between"},
		"no policy": {func() error {
			_, err := l.DescribeFileSystemPolicy(ctx, &efs.DescribeFileSystemPolicyInput{FileSystemId: &id})
			return err
		}, "PolicyNotFound", ""},
		"an unknown one": {func() error {
			_, err := l.PutFileSystemPolicy(ctx, &efs.PutFileSystemPolicyInput{FileSystemId: &id, Policy: aws.String("{}")})
			return err
		}, "NotImplemented", "elasticfilesystem:PutFileSystemPolicy"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, tc.do(), tc.code, tc.text) })
	}
	if after, err := l.db.Rev(t.Context()); err != nil || after != before {
		t.Errorf("refused calls changed the store: revision %d, was %d (%v)", after, before, err)
	}
}
