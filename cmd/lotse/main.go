// Command lotse is Amazon's ECR, ECS and Application Load Balancer on one Linux machine.
package main

import (
	"os"

	"github.com/lotse-project/lotse/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
