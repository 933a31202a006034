package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/test/server"
)

// A container with a task role calls the API with the SDK's defaults: it is its role's session, may
// do what the role's policy says and nothing else, and goes on after the server was killed.
func TestTaskRole(t *testing.T) {
	s := start(t)
	bin := filepath.Join(t.TempDir(), "caller")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./test/caller")
	build.Dir, build.Env = server.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lotse(t, s, "image", "import", "example.com/caller:1", imageOf(t, bin, map[string]any{"Entrypoint": []string{"/caller"}}))
	const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	aws(t, s, "iam", "create-role", "--role-name", "caller", "--assume-role-policy-document", trust)
	aws(t, s, "iam", "put-role-policy", "--role-name", "caller", "--policy-name", "p", "--policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecs:Describe*","Resource":"*"}]}`)
	task := runContainerAs(t, s, "caller", ecstypes.ContainerDefinition{Image: awssdk.String("example.com/caller:1")})
	id := task[strings.LastIndex(task, "/")+1:]
	said := func() []string {
		out, err := cloudwatchlogs.NewFromConfig(s.Config()).GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{
			LogGroupName: awssdk.String("/test"), LogStreamName: awssdk.String("t/main/" + id), StartFromHead: awssdk.Bool(true)})
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, e := range out.Events {
			lines = append(lines, *e.Message)
		}
		return lines
	}
	for begin := time.Now(); len(said()) < 5 && time.Since(begin) < 30*time.Second; {
		time.Sleep(50 * time.Millisecond)
	}
	s.Kill()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopped(t, s, task)
	once := []string{
		"identity: arn:aws:sts::000000000000:assumed-role/caller/" + id,
		"describe: ok",
		"delete: AccessDeniedException User: arn:aws:sts::000000000000:assumed-role/caller/" + id + " is not authorized to perform: ecs:DeleteCluster on resource: " +
			"arn:aws:ecs:us-east-1:000000000000:cluster/test because no identity-based policy allows the ecs:DeleteCluster action",
		"stats: <nil> true 2147483648 true 1",
		"task: <nil> FARGATE 20480",
	}
	if want, got := strings.Join(append(once, once...), "\n"), strings.Join(said(), "\n"); got != want {
		t.Errorf("the container said\n%s\nwant\n%s", got, want)
	}
}
