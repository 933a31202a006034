package test

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lotse-project/lotse/test/server"
)

// Resets at once, resets that nobody waits for, each while tasks run: the server is empty after each and
// works as before.
func TestReset(t *testing.T) {
	s := start(t, "--ephemeral")
	dir := hello(t, "hello")
	up := func() { lotse(t, s, "up", dir, "--image", importHello(t, s, "v1")) }
	empty := func() {
		t.Helper()
		if got := strings.Fields(aws(t, s, "ecs", "list-clusters", "--query", "clusterArns")); len(got) > 1 || len(got) == 1 && got[0] != "None" {
			t.Errorf("clusters = %v, want none", got)
		}
	}
	up()
	for wait := 20 * time.Millisecond; wait < 200*time.Millisecond; wait += 30 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		cmd := exec.CommandContext(ctx, server.Lotse(), "server", "reset") // killed: the connection is cut
		cmd.Env = append(cmd.Environ(), s.Environ()...)
		_ = cmd.Run()
		cancel()
		lotse(t, s, "server", "reset")
		empty()
		up()
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, e, err := s.Run(t.Context(), "server", "reset"); err != nil {
				t.Errorf("reset: %v: %s", err, e)
			}
		})
	}
	wg.Wait()
	empty()
	up()
}
