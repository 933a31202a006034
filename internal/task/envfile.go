package task

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
)

// maxEnvFile is how large an environment file may be, bytes: more than the kernel hands to a process (2 MiB, with the
// arguments) isn't meant to be one.
const maxEnvFile = 1 << 20

// downloadFailed is how ECS begins the reason. Source: DG stopped-task-error-codes.
const downloadFailed = "ResourceInitializationError: failed to download env files: file download command: non empty error stream: "

// environmentFiles are the variables of a container's environment files, or of those that its overrides have instead. Of
// several files the first wins. Source: ECS agent, MergeEnvironmentVariablesFromEnvfiles.
func (c *Controller) environmentFiles(l life, d ecstypes.ContainerDefinition) (map[string]string, error) {
	files := d.EnvironmentFiles
	for _, o := range l.task.Overrides.ContainerOverrides {
		if o.EnvironmentFiles != nil && aws.ToString(o.Name) == *d.Name {
			files = o.EnvironmentFiles
		}
	}
	env := map[string]string{}
	for _, f := range slices.Backward(files) {
		object, err := arn.Parse(aws.ToString(f.Value))
		if err != nil {
			return nil, &startError{*d.Name, downloadFailed + err.Error()}
		}
		text, err := readObject(c.o.Buckets, object.Type(), object.Name())
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &startError{*d.Name, fmt.Sprintf("%sNoSuchKey: The specified key does not exist. Lotse has no S3: "+
				"the object would be the file buckets/%s of the data directory.", downloadFailed, object.Resource)}
		}
		if err != nil {
			return nil, &startError{*d.Name, downloadFailed + err.Error()}
		}
		maps.Copy(env, parseEnvFile(text))
	}
	return env, nil
}

// Private

// readObject reads a file of a bucket. Nothing leads out of a bucket, neither a key nor a link in it.
func readObject(buckets, bucket, key string) (string, error) {
	root, err := os.OpenRoot(buckets)
	if err != nil {
		return "", err
	}
	defer root.Close()
	dir, err := root.OpenRoot(bucket)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	f, err := dir.Open(key)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxEnvFile {
		return "", fmt.Errorf("buckets/%s/%s is not a file of at most 1 MiB", bucket, key)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxEnvFile))
	return string(b), err
}

// parseEnvFile reads lines of NAME=VALUE. Quotes and spaces are part of a value; a line that begins with # or has nothing
// on either side of the = counts for nothing; the last of a name wins. Source: ECS agent, readEnvVarsFromFile.
func parseEnvFile(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimRight(line, "\r\n")
		name, value, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(line, "#") && name != "" && value != "" {
			out[name] = value
		}
	}
	return out
}
