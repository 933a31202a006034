// Package cli is lotse's command line.
package cli

import (
	"fmt"
	"io"
)

// Main runs the command line and returns the process's exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	fmt.Fprintln(stderr, "lotse: no command stands yet")
	return 64
}
