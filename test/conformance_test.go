package test

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/lotse-project/lotse/test/server"
)

// conformance switches on everything that the suite has, also what its defaults leave out, but for sparse manifests: ones
// that name content which was never pushed. The specification lets a registry refuse them, the suite doesn't, and ECR
// does (LayersNotFoundException); so does Lotse, which TestSparseManifest tells.
var conformance = []string{
	"OCI_VERSION=dev", "OCI_TLS=disabled", "OCI_REPO1=conformance/repo1", "OCI_REPO2=conformance/repo2",
	"OCI_API_PULL=true", "OCI_API_PUSH=true",
	"OCI_API_BLOBS_ATOMIC=true", "OCI_API_BLOBS_DELETE=true", "OCI_API_BLOBS_DIGEST_HEADER=true",
	"OCI_API_BLOBS_MOUNT_ANONYMOUS=true", "OCI_API_BLOBS_UPLOAD_CANCEL=true",
	"OCI_API_MANIFESTS_ATOMIC=true", "OCI_API_MANIFESTS_DELETE=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_TAG_PARAM=true",
	"OCI_API_TAGS_ATOMIC=true", "OCI_API_TAGS_DELETE=true", "OCI_API_TAGS_LIST=true", "OCI_API_REFERRER=true",
	"OCI_DATA_IMAGE=true", "OCI_DATA_INDEX=true", "OCI_DATA_INDEX_LIST=true", "OCI_DATA_SPARSE=false", "OCI_DATA_ARTIFACT=true",
	"OCI_DATA_SUBJECT=true", "OCI_DATA_SUBJECT_MISSING=true", "OCI_DATA_ARTIFACT_LIST=true", "OCI_DATA_SUBJECT_LIST=true",
	"OCI_DATA_DATA_FIELD=true", "OCI_DATA_NONDISTRIBUTABLE=true", "OCI_DATA_CUSTOM_FIELDS=true", "OCI_DATA_NO_LAYERS=true",
	"OCI_DATA_EMPTY_BLOB=true", "OCI_DATA_SHA512=true",
}

// The official suite of the OCI distribution specification, pinned in tools/go.mod, against a real server.
func TestConformance(t *testing.T) {
	s := start(t)
	for _, name := range []string{"conformance/repo1", "conformance/repo2"} {
		repository(t, s, name)
	}
	dir := t.TempDir()
	suite := tool(t, "github.com/opencontainers/distribution-spec/conformance")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	begin := time.Now()
	cmd := exec.CommandContext(ctx, suite)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), conformance...), "OCI_REGISTRY="+host(s), "OCI_USERNAME=AWS", "OCI_PASSWORD="+password(t, s), "OCI_RESULTS_DIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	n := verdicts(t, filepath.Join(dir, "junit.xml"))
	t.Logf("%d of %d passed in %.1f s", n["passed"], n["all"], time.Since(begin).Seconds())
	if n["passed"] < 750 || n["passed"] != n["all"] {
		t.Errorf("the suite's verdicts: %v", n)
	}
	if keep := os.Getenv("CONFORMANCE_RESULTS"); keep != "" {
		for _, name := range []string{"results.yaml", "junit.xml", "report.html"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(keep, name), b, 0o644)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// verdicts counts the suite's tests by how they ended, and logs those that did not pass.
func verdicts(t *testing.T, junit string) map[string]int {
	t.Helper()
	b, err := os.ReadFile(junit)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Suites []struct {
			Cases []struct {
				Name   string `xml:"name,attr"`
				Status string `xml:"status,attr"`
				Out    string `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, s := range report.Suites {
		for _, c := range s.Cases {
			n["all"]++
			n[c.Status]++
			if c.Status != "passed" {
				t.Logf("%s: %s: %s", c.Status, c.Name, c.Out)
			}
		}
	}
	return n
}

// host is where the registry is, without a scheme.
func host(s *server.Server) string { return strings.TrimPrefix(s.Endpoint, "http://") }

// repository makes a repository through the SDK.
func repository(t *testing.T, s *server.Server, name string) {
	t.Helper()
	if _, err := ecr.NewFromConfig(s.Config()).CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name}); err != nil {
		t.Fatal(err)
	}
}

// password is the one of user AWS, for the registry.
func password(t *testing.T, s *server.Server) string {
	t.Helper()
	user, password, err := loginOf(t.Context(), s)
	if err != nil || user != "AWS" {
		t.Fatal(user, err)
	}
	return password
}

// loginOf is a login to the registry.
func loginOf(ctx context.Context, s *server.Server) (user, password string, err error) {
	out, err := ecr.NewFromConfig(s.Config()).GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return "", "", err
	}
	login, err := base64.StdEncoding.DecodeString(*out.AuthorizationData[0].AuthorizationToken)
	if err != nil {
		return "", "", err
	}
	user, password, ok := strings.Cut(string(login), ":")
	if !ok {
		return "", "", fmt.Errorf("login %q", login)
	}
	return user, password, nil
}
