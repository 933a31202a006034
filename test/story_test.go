package test

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lotse-project/lotse/test/judge"
	"github.com/lotse-project/lotse/test/server"
)

// The whole story of one application: up, unchanged up, deploy under traffic, status, logs, destroy.
func TestStory(t *testing.T) {
	s := start(t)
	if err := s.ImportBases(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := hello(t, "hello")
	url := lotse(t, s, "up", dir)
	if url != "http://hello.localhost"+port(s)+"/" {
		t.Errorf("URL %q", url)
	}
	if page, err := get(s, "hello.localhost"); err != nil || !strings.Contains(page, "version v1") {
		t.Errorf("%q, %v", page, err)
	}
	if out := lotse(t, s, "up", dir); out != url {
		t.Errorf("unchanged: %q", out)
	}
	if n := aws(t, s, "ecs", "list-task-definitions", "--query", "length(taskDefinitionArns)"); n != "1" {
		t.Errorf("unchanged source made revision %s", n)
	}

	end := traffic(t, s, "hello.localhost")
	write(t, dir, "VERSION", "v2\n")
	lotse(t, s, "deploy", dir)
	if sum := end(); sum.Versions["v1"]+sum.Versions["v2"] != sum.Sent || sum.Last != "v2" {
		t.Errorf("answers: %v, the last from %s", sum.Versions, sum.Last)
	}

	write(t, dir, "lotse.yml", "image: {port: 8080}\nhttp: {host: shop.localhost}\n")
	if url := lotse(t, s, "deploy", dir); !strings.HasPrefix(url, "http://shop.localhost") {
		t.Errorf("after another host was set: %q", url)
	}
	if page, err := get(s, "shop.localhost"); err != nil || !strings.Contains(page, "version v2") {
		t.Errorf("under the new host: %q, %v", page, err)
	}

	if out := lotse(t, s, "status", dir); !strings.Contains(out, "2 of 2 tasks running") {
		t.Errorf("status: %s", out)
	}
	if out := lotse(t, s, "logs", dir); !strings.Contains(out, "version v2 listens on port 8080") {
		t.Errorf("logs: %s", out)
	}
	lotse(t, s, "destroy", dir)
	if _, err := get(s, "hello.localhost"); err == nil {
		t.Error("it still answers")
	}
	for what, n := range map[string]string{
		"clusters":       aws(t, s, "ecs", "list-clusters", "--query", "length(clusterArns)"),
		"load balancers": aws(t, s, "elbv2", "describe-load-balancers", "--query", "length(LoadBalancers)"),
		"target groups":  aws(t, s, "elbv2", "describe-target-groups", "--query", "length(TargetGroups)"),
		"repositories":   aws(t, s, "ecr", "describe-repositories", "--query", "length(repositories)"),
		"interfaces":     aws(t, s, "ec2", "describe-network-interfaces", "--query", "length(NetworkInterfaces)"),
		"roles":          aws(t, s, "iam", "list-roles", "--query", "length(Roles)"),
	} {
		if n != "0" {
			t.Errorf("%s %s left", n, what)
		}
	}
}

// The walkthrough with the AWS CLI, skopeo and curl, as its script has it.
func TestWalkthrough(t *testing.T) {
	for _, c := range []string{"aws", "skopeo", "curl"} {
		judge.Path(t, c)
	}
	key := []string{"LOTSE_ROOT_ACCESS_KEY_ID=AKIATESTTESTTESTTEST", "LOTSE_ROOT_SECRET_ACCESS_KEY=" + rand.Text()}
	s, short := startWith(t, key), startWith(t, key, "--token-ttl", "1s")
	cmd := exec.CommandContext(t.Context(), filepath.Join(server.Root(), "examples", "walkthrough", "aws-cli.sh"),
		"docker-archive:"+helloImage(t, "v1"), "docker-archive:"+helloImage(t, "v2"))
	cmd.Env = append(append(os.Environ(), s.Environ()...), "FRONT="+s.Front, "SHORT_TOKEN_ENDPOINT="+short.Endpoint)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

func port(s *server.Server) string {
	_, p, _ := strings.Cut(s.Front, ":")
	if p == "80" {
		return ""
	}
	return ":" + p
}
