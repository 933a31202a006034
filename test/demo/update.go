package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lotse-project/lotse/test/load"
)

// onAWS are the times of the same steps, noted on AWS by hand.
var onAWS = map[string]string{
	"build":    "1 to 3 min, with push",
	"push":     "",
	"task def": "3 min, in the browser",
	"service":  "2 min to start, 5 min to run, 3 to 5 min for checks and draining",
}

func (s *story) up(ctx context.Context) error {
	begin := time.Now()
	out, err := s.lotse(ctx, "up", s.app)
	if err != nil {
		return err
	}
	s.url = out
	s.note("lotse up, everything for the first time", time.Since(begin), "15 to 30 min")
	fmt.Println("  " + s.url)
	return nil
}

// answers asks as curl would until both tasks have answered.
func (s *story) answers(ctx context.Context) error {
	tasks := map[string]bool{}
	for range 20 {
		text, err := s.get(ctx)
		if err != nil {
			return err
		}
		task := strings.TrimSpace(text[strings.LastIndex(text, " ")+1:])
		if !tasks[task] {
			fmt.Printf("  $ curl %s\n  %s\n", s.url, strings.TrimSpace(text))
		}
		tasks[task] = true
	}
	if len(tasks) != 2 {
		return fmt.Errorf("%d tasks answered, 2 run", len(tasks))
	}
	return nil
}

// update changes the example and deploys it while requests go on.
func (s *story) update(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(s.app, "VERSION"), []byte("v2\n"), 0o644); err != nil {
		return err
	}
	fmt.Println("  $ echo v2 > examples/hello/VERSION")
	lctx, stop := context.WithCancel(ctx)
	defer stop()
	type answer struct {
		sum load.Summary
		err error
	}
	done := make(chan answer, 1)
	log := filepath.Join(s.dir, "requests.tsv")
	go func() {
		sum, err := load.Run(lctx, load.Options{URL: "http://" + s.srv.Front + "/", Host: s.host(), Rate: 600, Log: log})
		done <- answer{sum, err}
	}()
	time.Sleep(time.Second)
	out, err := s.lotse(ctx, "deploy", s.app, "--progress", "json")
	time.Sleep(time.Second)
	stop()
	a := <-done
	if err != nil {
		return err
	}
	if a.err != nil {
		return a.err
	}
	s.deployed(out)
	return judge(a.sum, log)
}

// judge tells what the load generator saw, and fails if a request was lost.
func judge(r load.Summary, log string) error {
	fmt.Printf("\n  %d requests in %s, %.0f per second: %d failed; p50 %.1f ms, p99 %.1f ms, longest %.1f ms\n", r.Sent, seconds(r.Elapsed), r.Rate(), r.Failed,
		r.P50.Seconds()*1000, r.P99.Seconds()*1000, r.Max.Seconds()*1000)
	fmt.Printf("  v1 answered %d, v2 answered %d; the last answer came from %s\n", r.Versions["v1"], r.Versions["v2"], r.Last)
	switch {
	case r.Failed > 0:
		return fmt.Errorf("%d requests failed: %s", r.Failed, strings.Join(r.Errors, "; "))
	case r.Rate() < 500:
		return fmt.Errorf("the load generator sent only %.0f requests per second", r.Rate())
	case r.Versions["v1"] == 0 || r.Versions["v2"] == 0 || r.Versions["v1"]+r.Versions["v2"] != r.Sent || r.Last != "v2":
		return fmt.Errorf("answers by version: %v", r.Versions)
	}
	// Only the new version at the end: no old answer after the first second in which no old one came.
	return onlyNewAtTheEnd(log)
}

// onlyNewAtTheEnd reads the log of requests: all of the last half second are v2's.
func onlyNewAtTheEnd(log string) error {
	f, err := os.Open(log)
	if err != nil {
		return err
	}
	defer f.Close()
	versions := map[time.Time]string{}
	var last time.Time
	for sc := bufio.NewScanner(f); sc.Scan(); {
		c := strings.Split(sc.Text(), "\t")
		at, err := time.Parse(time.RFC3339Nano, c[0])
		if err != nil {
			continue // the heading
		}
		versions[at] = c[3]
		if at.After(last) {
			last = at
		}
	}
	for at, v := range versions {
		if last.Sub(at) < 500*time.Millisecond && v != "v2" {
			return fmt.Errorf("version %s still answered at the end", v)
		}
	}
	return nil
}

// deployed takes the timings out of the deployment's JSON lines.
func (s *story) deployed(out string) {
	for line := range strings.Lines(out) {
		var r struct {
			Type, Revision string
			Timings        map[string]int64
		}
		if json.Unmarshal([]byte(line), &r) != nil || r.Type != "result" {
			continue
		}
		fmt.Printf("  %s is deployed\n", r.Revision[strings.LastIndex(r.Revision, "/")+1:])
		for _, p := range []string{"build", "push", "task def", "service"} {
			s.note("lotse deploy: "+p, time.Duration(r.Timings[p])*time.Millisecond, onAWS[p])
		}
	}
}

// get asks for the page through the front, as curl does under the URL's name.
func (s *story) get(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.srv.Front+"/", nil)
	if err != nil {
		return "", err
	}
	req.Host = s.host()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

func (s *story) host() string {
	u, err := url.Parse(s.url)
	if err != nil {
		return s.url
	}
	return u.Host
}
