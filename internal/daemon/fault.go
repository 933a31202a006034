package daemon

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// faultVariable names a point at which the server kills itself, "task.create:before" or, at the
// third time it comes there, "task.create:before#3". Tests break the server with it at every
// step of a task's life and of a rollout.
const faultVariable = "LOTSE_FAULT"

// faultFrom makes the function that breaks at the point that s names; nil for "".
func faultFrom(s string) func(point string) {
	if s == "" {
		return nil
	}
	point, n, _ := strings.Cut(s, "#")
	left, err := strconv.Atoi(n)
	if err != nil {
		left = 1
	}
	var mu sync.Mutex
	return func(p string) {
		if p != point {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}
