package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	efstypes "github.com/aws/aws-sdk-go-v2/service/efs/types"
)

// What one task writes to a file system another reads, also when the server was killed in between. An access point makes its
// directory and is the user. Without a mount target there is no volume, as on AWS.
func TestEFS(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	write(t, dir, "main.go", `package main

import "os"

func main() {
	if os.Args[1] == "write" {
		if err := os.WriteFile(os.Args[2], []byte(os.Args[3]), 0o640); err != nil {
			panic(err)
		}
		return
	}
	if b, err := os.ReadFile(os.Args[2]); err != nil || string(b) != os.Args[3] {
		panic(err)
	}
}
`)
	write(t, dir, "go.mod", "module file\n\ngo 1.26\n")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "file", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lotse(t, s, "image", "import", "example.com/file:1", imageOf(t, filepath.Join(dir, "file"), map[string]any{"Entrypoint": []string{"/file"}}))
	fs := aws(t, s, "efs", "create-file-system", "--creation-token", "x", "--tags", "Key=Name,Value=shared", "--query", "FileSystemId")
	point := strings.Fields(aws(t, s, "efs", "create-access-point", "--file-system-id", fs, "--posix-user", "Uid=1000,Gid=1001",
		"--root-directory", "Path=/web,CreationInfo={OwnerUid=1000,OwnerGid=1001,Permissions=0750}", "--query", "[AccessPointId,AccessPointArn]"))
	subnet := strings.Fields(aws(t, s, "ec2", "describe-subnets", "--query", "Subnets[].SubnetId"))[0]
	aws(t, s, "ecs", "create-cluster", "--cluster-name", "test")

	c := ecs.NewFromConfig(s.Config())
	run := func(user string, cfg ecstypes.EFSVolumeConfiguration, command ...string) ecstypes.Task {
		t.Helper()
		cfg.FileSystemId = &fs
		_, err := c.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: awssdk.String("file"), NetworkMode: ecstypes.NetworkModeAwsvpc,
			RequiresCompatibilities: []ecstypes.Compatibility{ecstypes.CompatibilityFargate}, Cpu: awssdk.String("256"), Memory: awssdk.String("512"),
			Volumes: []ecstypes.Volume{{Name: awssdk.String("shared"), EfsVolumeConfiguration: &cfg}},
			ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: awssdk.String("main"), Image: awssdk.String("example.com/file:1"), Command: command, User: &user,
				MountPoints: []ecstypes.MountPoint{{SourceVolume: awssdk.String("shared"), ContainerPath: awssdk.String("/data")}}}}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.RunTask(t.Context(), &ecs.RunTaskInput{Cluster: awssdk.String("test"), TaskDefinition: awssdk.String("file"), LaunchType: ecstypes.LaunchTypeFargate,
			NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{subnet}}}})
		if err != nil {
			t.Fatal(err)
		}
		return stopped(t, s, *out.Tasks[0].TaskArn)
	}
	succeeds := func(task ecstypes.Task) {
		t.Helper()
		if code := task.Containers[0].ExitCode; awssdk.ToInt32(code) != 0 || code == nil {
			t.Errorf("the task ended with %v: %s", code, awssdk.ToString(task.StoppedReason))
		}
	}
	throughPoint := ecstypes.EFSVolumeConfiguration{TransitEncryption: ecstypes.EFSTransitEncryptionEnabled,
		AuthorizationConfig: &ecstypes.EFSAuthorizationConfig{AccessPointId: &point[0]}}
	if task := run("0", throughPoint, "write", "/data/f", "x"); !strings.Contains(awssdk.ToString(task.StoppedReason), `Failed to resolve "`+fs+`.efs.us-east-1.amazonaws.com"`) {
		t.Errorf("without a mount target: %s", awssdk.ToString(task.StoppedReason))
	}
	target := aws(t, s, "efs", "create-mount-target", "--file-system-id", fs, "--subnet-id", subnet, "--query", "MountTargetId")
	succeeds(run("500:600", throughPoint, "write", "/data/f", "hello"))
	info, err := os.Stat(filepath.Join(s.Dir, "efs", fs, "web", "f"))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 1000 || st.Gid != 1001 {
		t.Errorf("the file is %d:%d's, want the access point's 1000:1001", st.Uid, st.Gid)
	}
	s.Kill()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	succeeds(run("1000", ecstypes.EFSVolumeConfiguration{RootDirectory: awssdk.String("/web")}, "read", "/data/f", "hello"))
	if task := run("500", ecstypes.EFSVolumeConfiguration{RootDirectory: awssdk.String("/web")}, "read", "/data/f", "hello"); awssdk.ToInt32(task.Containers[0].ExitCode) == 0 {
		t.Error("another user reads the file")
	}

	aws(t, s, "efs", "tag-resource", "--resource-id", point[1], "--tags", "Key=team,Value=web")
	if got := aws(t, s, "efs", "list-tags-for-resource", "--resource-id", point[1], "--query", "Tags[].[Key,Value]"); got != "team\tweb" {
		t.Errorf("tags: %q", got)
	}
	api := efs.NewFromConfig(s.Config())
	var inUse *efstypes.FileSystemInUse
	if _, err := api.DeleteFileSystem(t.Context(), &efs.DeleteFileSystemInput{FileSystemId: &fs}); !errors.As(err, &inUse) {
		t.Errorf("a file system with a mount target: %v", err)
	}
	aws(t, s, "efs", "delete-mount-target", "--mount-target-id", target)
	aws(t, s, "efs", "delete-file-system", "--file-system-id", fs)
	eventually(t, 10*time.Second, func() error {
		if _, err := os.Stat(filepath.Join(s.Dir, "efs", fs)); err == nil {
			return fmt.Errorf("the files of %s are there", fs)
		}
		if left := aws(t, s, "efs", "describe-file-systems", "--query", "FileSystems[].FileSystemId"); left != "" {
			return fmt.Errorf("there is %s", left)
		}
		return nil
	})
}
