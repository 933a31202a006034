package task

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/state"
)

func TestParseEnvFile(t *testing.T) {
	got := parseEnvFile("\ufeffA=1\r\n# B=2\n\nC = a \"b\" # c\nD==x=\n=y\nE=\nexport F=1\nnothing\nA=2")
	want := map[string]string{"A": "2", "C ": " a \"b\" # c", "D": "=x=", "export F": "1"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got): %s", d)
	}
}

func TestEnvironmentFiles(t *testing.T) {
	buckets := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(buckets, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("conf/a/one.env", "ONE=1\nBOTH=one\nOWN=file\nAWS_REGION=file")
	write("conf/two.env", "TWO=2\nBOTH=two")
	write("other/secret.env", "SECRET=1")
	write("conf/large.env", strings.Repeat("x", maxEnvFile+1))
	for link, to := range map[string]string{"conf/link.env": "../other/secret.env", "conf/out.env": "/etc/hostname"} {
		if err := os.Symlink(to, filepath.Join(buckets, link)); err != nil {
			t.Fatal(err)
		}
	}
	files := func(keys ...string) []ecstypes.EnvironmentFile {
		var out []ecstypes.EnvironmentFile
		for _, k := range keys {
			out = append(out, ecstypes.EnvironmentFile{Type: "s3", Value: aws.String("arn:aws:s3:::" + k)})
		}
		return out
	}
	run := func(override []ecstypes.EnvironmentFile, keys ...string) *bench {
		b := newBench(t, func(task *state.Task, d *ecstypes.TaskDefinition) {
			d.ContainerDefinitions[0].EnvironmentFiles = files(keys...)
			d.ContainerDefinitions[0].Environment = []ecstypes.KeyValuePair{{Name: aws.String("OWN"), Value: aws.String("definition")}}
			if override != nil {
				task.Overrides.ContainerOverrides = []ecstypes.ContainerOverride{{Name: aws.String("app"), EnvironmentFiles: override}}
			}
		})
		b.c.o.Buckets = buckets
		return b
	}
	env := func(b *bench) []string {
		b.until("RUNNING")
		spec, _ := b.engine.Spec(strings.Repeat("ab", 16))
		return spec.Containers[0].Env
	}
	got := env(run(nil, "conf/a/one.env", "conf/two.env"))
	for _, want := range []string{"ONE=1", "TWO=2", "BOTH=one", "OWN=definition", "AWS_REGION=file"} {
		if !slices.Contains(got, want) {
			t.Errorf("environment %q, want %s in it", got, want)
		}
	}
	if got := env(run(files("conf/two.env"), "conf/a/one.env")); !slices.Contains(got, "BOTH=two") || slices.Contains(got, "ONE=1") {
		t.Errorf("environment %q, want the override's files alone", got)
	}
	for key, want := range map[string]string{
		"conf/none.env":             "NoSuchKey: The specified key does not exist. Lotse has no S3: the object would be the file buckets/conf/none.env of the data directory.",
		"none/a.env":                "NoSuchKey: *",
		"conf/../other/secret.env":  "*path escapes from parent",
		"conf/link.env":             "*path escapes from parent",
		"conf/out.env":              "*path escapes from parent",
		"conf/large.env":            "buckets/conf/large.env is not a file of at most 1 MiB",
		"conf/a":                    "buckets/conf/a is not a file of at most 1 MiB",
		"conf/a/one.env/other.env":  "*not a directory",
		"../buckets/conf/two.env":   "*path escapes from parent",
		"conf//two.env/../../x.env": "*",
	} {
		st := run(nil, "conf/two.env", key).until("STOPPED")
		reason, ok := strings.CutPrefix(st.Stop.Reason, downloadFailed)
		if prefix, suffix, wild := strings.Cut(want, "*"); !ok || wild && (!strings.HasPrefix(reason, prefix) || !strings.HasSuffix(reason, suffix)) || !wild && reason != want {
			t.Errorf("%s: stopped for %q, want %q", key, st.Stop.Reason, want)
		}
	}
}
