package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// A container gets its secrets from Parameter Store and Secrets Manager; the data directory holds
// none of them in the clear.
func TestSecrets(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	write(t, dir, "main.go", "package main\n\nimport (\"fmt\"; \"os\"; \"time\")\n\nfunc main() { fmt.Println(os.Getenv(\"A\"), os.Getenv(\"B\")); time.Sleep(2 * time.Second) }\n")
	write(t, dir, "go.mod", "module show\n\ngo 1.26\n")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "show", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lotse(t, s, "image", "import", "example.com/show:1", imageOf(t, filepath.Join(dir, "show"), map[string]any{"Entrypoint": []string{"/show"}}))
	aws(t, s, "ssm", "put-parameter", "--name", "/app/a", "--type", "SecureString", "--value", "open-sesame")
	secret := aws(t, s, "secretsmanager", "create-secret", "--name", "b", "--secret-string", `{"user":"x","password":"abracadabra"}`, "--query", "ARN")
	for _, file := range []string{"lotse.db", "lotse.db-wal"} {
		b, err := os.ReadFile(filepath.Join(s.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "open-sesame") || strings.Contains(string(b), "abracadabra") {
			t.Errorf("%s holds a secret in the clear", file)
		}
	}
	task := runContainer(t, s, ecstypes.ContainerDefinition{Image: awssdk.String("example.com/show:1"), Secrets: []ecstypes.Secret{
		{Name: awssdk.String("A"), ValueFrom: awssdk.String("/app/a")}, {Name: awssdk.String("B"), ValueFrom: awssdk.String(secret + ":password::")}}})
	stopped(t, s, task)
	out, err := cloudwatchlogs.NewFromConfig(s.Config()).GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: awssdk.String("/test"),
		LogStreamName: awssdk.String("t/main/" + task[strings.LastIndex(task, "/")+1:]), StartFromHead: awssdk.Bool(true)})
	if err != nil || len(out.Events) != 1 || *out.Events[0].Message != "open-sesame abracadabra" {
		t.Errorf("%v, %v", out, err)
	}
}
