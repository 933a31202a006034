package linklocal

import (
	"encoding/json"
	"os"
	"strings"
)

// WriteStorage replaces the file that tells how many bytes each task has written, by its id. It is apart from the
// snapshot because it changes by itself.
func WriteStorage(path string, used map[string]int64) error { return replace(path, used) }

// Private

// storageOf is what the file says of a task, in MiB rounded up; 0 before anybody has looked.
func storageOf(path, taskARN string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	var used map[string]int64
	if json.Unmarshal(b, &used) != nil {
		return 0
	}
	return (used[taskARN[strings.LastIndexByte(taskARN, '/')+1:]] + 1<<20 - 1) >> 20
}
