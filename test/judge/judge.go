// Package judge finds the programs of others by which tests judge Lotse, such as the AWS CLI.
package judge

import (
	"os"
	"os/exec"
	"testing"
)

// Path is where the program is. A test without its judge fails, unless LOTSE_WITHOUT_JUDGES is set: then it is skipped.
func Path(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("LOTSE_WITHOUT_JUDGES") != "":
		t.Skipf("there is no %s", name)
	default:
		t.Fatalf("there is no %s: install it, or set LOTSE_WITHOUT_JUDGES=1 to go without", name)
	}
	return path
}
