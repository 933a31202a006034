// Command hello is a web application that says which version of it answers, and which task.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

//go:embed VERSION
var version string

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == "probe" {
		err = probe(os.Args[2])
	} else {
		err = run()
	}
	if err != nil {
		log.Fatal(err)
	}
}

// probe asks a URL once: the image has no curl.
func probe(url string) error {
	resp, err := (&http.Client{Timeout: 3 * time.Second}).Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	log.Print(resp.Status)
	return nil
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	srv := &http.Server{
		Addr:              ":" + port,
		Handler:           routes(strings.TrimSpace(version), taskID(ctx)),
		ReadHeaderTimeout: 10 * time.Second,
		// Longer than the load balancer keeps an idle connection (60 s): the balancer closes first, so that it never
		// sends a request into a connection that is just being closed.
		IdleTimeout: 75 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.ListenAndServe() }()
	log.Printf("version %s listens on port %s", strings.TrimSpace(version), port)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// ECS sends SIGTERM after the balancer has been told, and SIGKILL 30 s later. What is being answered is answered,
	// each with "Connection: close"; idle connections are closed.
	log.Print("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	return errors.Join(srv.Shutdown(ctx), ignore(<-ended, http.ErrServerClosed))
}

func routes(version, task string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Version", version)
		w.Header().Set("X-Task", task)
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			fmt.Fprintf(w, "Hello from version %s, task %s\n", version, task)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, page, html.EscapeString(version), html.EscapeString(task))
	})
	return mux
}

const page = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>hello %[1]s</title>
<style>body{font:1.2rem system-ui;text-align:center;margin-top:30vh}strong{font-size:4rem}</style>
<p>Hello from version<br><strong>%[1]s</strong><p>task <code>%[2]s</code>
`

// taskID is the last part of the task's ARN, which ECS tells a container that asks. Elsewhere it is the host's name.
func taskID(ctx context.Context) string {
	host, _ := os.Hostname()
	uri := os.Getenv("ECS_CONTAINER_METADATA_URI_V4")
	if uri == "" {
		return host
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", uri+"/task", nil)
	if err != nil {
		return host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Printf("task metadata: %v", err)
		return host
	}
	defer resp.Body.Close()
	var task struct{ TaskARN string }
	if err := json.NewDecoder(resp.Body).Decode(&task); err != nil || task.TaskARN == "" {
		log.Printf("task metadata: %s, %v", resp.Status, err)
		return host
	}
	return task.TaskARN[strings.LastIndex(task.TaskARN, "/")+1:]
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
