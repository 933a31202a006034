package main

import (
	"strings"
	"testing"
)

// What a server of another version asks for is refused with a word of why, in the last line of the log.
func TestRun_otherVersion(t *testing.T) {
	for _, args := range [][]string{{"lb", "--run", "d", "--key-of-tomorrow", "k"}, {"service-of-tomorrow"}} {
		err := run(t.Context(), args)
		if err == nil || !strings.Contains(err.Error(), "of-tomorrow") || !strings.HasSuffix(err.Error(), "build both anew, with make build") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
