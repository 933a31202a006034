// Command program is the entry point of the test image; see internal/runtime/contract for its commands.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := os.Args[1:]
	switch args[0] {
	case "exit":
		os.Exit(number(args, 1))
	case "sleep":
		time.Sleep(time.Duration(number(args, 1)) * time.Millisecond)
	case "serve":
		until(syscall.SIGTERM)
		os.Exit(number(args, 1))
	case "deaf":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		for {
			time.Sleep(time.Hour)
		}
	case "fork": // a deaf child, and then deaf too
		cmd := exec.Command("/program", "deaf")
		check(cmd.Start())
		until(syscall.SIGUSR2)
	case "stopsig":
		signal.Ignore(syscall.SIGTERM)
		until(syscall.SIGUSR1)
		os.Exit(7)
	case "hog":
		var keep [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			keep = append(keep, b)
		}
	case "cat": // files to standard output
		for _, f := range args[1:] {
			cat(f)
		}
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "args":
		fmt.Println(strings.Join(os.Args, "|"))
	case "id":
		groups, _ := os.Getgroups()
		fmt.Println(os.Getuid(), os.Getgid(), groups)
	case "cwd":
		dir, _ := os.Getwd()
		fmt.Println(dir)
	case "say": // to standard error
		fmt.Fprintln(os.Stderr, strings.Join(args[1:], " "))
	case "write":
		check(os.WriteFile(args[1], []byte(args[2]), 0o644))
	case "flood": // BYTES-PER-SECOND SECONDS: numbered lines of 100 bytes
		flood(number(args, 1), number(args, 2))
	case "spin": // SECONDS: burn CPU, then print the CPU time used in ms
		spin(number(args, 1))
	default:
		fmt.Fprintln(os.Stderr, "unknown command", args[0])
		os.Exit(64)
	}
}

func number(args []string, i int) int {
	if i >= len(args) {
		return 0
	}
	n, err := strconv.Atoi(args[i])
	check(err)
	return n
}

func until(sig os.Signal) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, sig)
	<-ch
}

func cat(name string) {
	f, err := os.Open(name)
	check(err)
	_, err = io.Copy(os.Stdout, f)
	check(err)
}

func flood(perSecond, seconds int) {
	const line = 100 // bytes
	begun := time.Now()
	n := 0
	for n < perSecond*seconds/line {
		var b strings.Builder
		for range 640 { // one pipe full
			fmt.Fprintf(&b, "%09d %s\n", n, strings.Repeat("x", line-11))
			n++
		}
		_, err := os.Stdout.WriteString(b.String())
		check(err)
		time.Sleep(time.Until(begun.Add(time.Duration(n*line) * time.Second / time.Duration(perSecond))))
	}
	fmt.Println("lines", n, "took", time.Since(begun).Milliseconds())
}

func spin(seconds int) {
	for range 4 {
		go func() {
			for {
			}
		}()
	}
	time.Sleep(time.Duration(seconds) * time.Second)
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	fmt.Println("cpu ms", (u.Utime.Nano()+u.Stime.Nano())/1e6)
	os.Exit(0)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
