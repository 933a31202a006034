// Package contract is the suite that every runtime.Engine passes.
package contract

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/runtime/fake"
)

// The suite's image has one program as its entry point; its arguments tell it what to do. A real one behaves as
// Program describes it for the fake.
//
//	exit N          exit with N at once
//	sleep MS        sleep so many milliseconds, exit with 0
//	serve [N]       run until SIGTERM, then exit with N (default 0)
//	deaf            ignore SIGTERM and SIGINT
//	stopsig         run until SIGUSR1, then exit with 7
//	hog             allocate memory until the kernel kills it
//	say WORDS…      write them to standard error
//
// The same program, called /program, is what the suite's commands run in a container.
//
// Program is the fake's view of it.
func Program(_ runtime.TaskSpec, c runtime.ContainerSpec) (fake.Program, error) {
	args := c.Command
	if len(args) == 0 {
		args = []string{"serve"}
	}
	number := func() int {
		if len(args) < 2 {
			return 0
		}
		n, _ := strconv.Atoi(args[1])
		return n
	}
	switch args[0] {
	case "exit":
		return fake.Program{Exits: true, ExitCode: number()}, nil
	case "sleep":
		return fake.Program{Exits: true, After: time.Duration(number()) * time.Millisecond}, nil
	case "serve":
		return fake.Program{OnSignal: map[string]int{"SIGTERM": number()}}, nil
	case "deaf":
		return fake.Program{}, nil
	case "stopsig":
		return fake.Program{OnSignal: map[string]int{"SIGUSR1": 7}}, nil
	case "hog":
		return fake.Program{Exits: true, OOM: true}, nil
	}
	return fake.Program{}, fmt.Errorf("program %q: %w", args[0], runtime.ErrUnrunnable)
}

// Command is the fake's view of a command that runs in a container.
func Command(ctx context.Context, _, _ string, args []string) (runtime.Result, error) {
	if len(args) < 2 || args[0] != "/program" {
		return runtime.Result{}, fmt.Errorf("command %q: %w", args, runtime.ErrUnrunnable)
	}
	if args[1] == "say" {
		return runtime.Result{Output: []byte(strings.Join(args[2:], " ") + "\n")}, nil
	}
	p, err := Program(runtime.TaskSpec{}, runtime.ContainerSpec{Command: args[1:]})
	if err != nil || p.Exits && p.After == 0 {
		return runtime.Result{ExitCode: p.ExitCode}, err
	}
	if !p.Exits {
		p.After = time.Hour
	}
	return runtime.Result{}, fake.Sleep(ctx, p.After)
}
