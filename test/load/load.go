// Package load sends requests at a steady rate and writes down what became of each. It knows
// nothing of Lotse: a URL, and two headers of the example's answers.
package load

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// Options say what to send.
type Options struct {
	URL  string
	Host string // Host header; "": the URL's
	// Rate is requests per second, begun at their time whether or not earlier ones are answered, so
	// that a stall is seen for what it is.
	Rate int
	// Workers bound how many requests are under way at once. 0: 64.
	Workers int
	// NewConnections makes every request on a connection of its own.
	NewConnections bool
	Log            string // file for one line per request; "": none
}

// An Answer is what became of one request.
type Answer struct {
	At            time.Time
	Took          time.Duration
	Status        int // 0: no whole answer
	Version, Task string
	Err           error
}

// A Summary is what became of all.
type Summary struct {
	Sent, Failed int // failed: anything but a whole answer of 200
	Elapsed      time.Duration
	Versions     map[string]int
	Tasks        map[string]int
	P50, P99     time.Duration
	Max          time.Duration
	Last         string // version of the last answer
	Errors       []string
}

// Rate is requests per second, as sent.
func (s Summary) Rate() float64 { return float64(s.Sent) / s.Elapsed.Seconds() }

// Run sends until ctx ends.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.Workers == 0 {
		o.Workers = 64
	}
	t := &http.Transport{MaxIdleConnsPerHost: o.Workers, DisableKeepAlives: o.NewConnections, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}
	defer t.CloseIdleConnections()
	client := &http.Client{Transport: t, Timeout: 30 * time.Second}

	due := make(chan time.Time, o.Rate*30)
	answers := make(chan Answer, 1024)
	var workers sync.WaitGroup
	for range o.Workers {
		workers.Go(func() {
			for at := range due {
				answers <- ask(client, o, at)
			}
		})
	}
	go func() {
		defer func() {
			close(due)
			workers.Wait()
			close(answers)
		}()
		begin := time.Now()
		for i := 0; ; i++ {
			at := begin.Add(time.Duration(i) * time.Second / time.Duration(o.Rate))
			if d := time.Until(at); d > 0 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(d):
				}
			}
			if ctx.Err() != nil {
				return
			}
			due <- at
		}
	}()
	return summarise(answers, o.Log)
}

// Private

func ask(client *http.Client, o Options, at time.Time) Answer {
	a := Answer{At: at}
	req, err := http.NewRequest(http.MethodGet, o.URL, nil)
	if err != nil {
		a.Err = err
		return a
	}
	req.Host = cmp.Or(o.Host, req.Host)
	resp, err := client.Do(req)
	if err != nil {
		a.Took, a.Err = time.Since(at), err
		return a
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	a.Took, a.Err = time.Since(at), err
	a.Status, a.Version, a.Task = resp.StatusCode, resp.Header.Get("X-Version"), resp.Header.Get("X-Task")
	return a
}

func summarise(answers <-chan Answer, file string) (Summary, error) {
	s := Summary{Versions: map[string]int{}, Tasks: map[string]int{}}
	w := bufio.NewWriter(io.Discard)
	if file != "" {
		f, err := os.Create(file)
		if err != nil {
			return s, err
		}
		defer f.Close()
		w = bufio.NewWriter(f)
		defer w.Flush()
		fmt.Fprintln(w, "time\tms\tstatus\tversion\ttask\terror")
	}
	var took []time.Duration
	var first, last, lastAt time.Time
	for a := range answers {
		s.Sent++
		if first.IsZero() || a.At.Before(first) {
			first = a.At
		}
		if a.At.After(last) {
			last = a.At
		}
		if a.Err != nil || a.Status != http.StatusOK {
			s.Failed++
			if len(s.Errors) < 5 {
				s.Errors = append(s.Errors, fmt.Sprintf("%s status %d: %v", a.At.Format("15:04:05.000"), a.Status, a.Err))
			}
		} else {
			s.Versions[a.Version]++
			s.Tasks[a.Task]++
			if a.At.After(lastAt) {
				lastAt, s.Last = a.At, a.Version
			}
		}
		took = append(took, a.Took)
		msg := ""
		if a.Err != nil {
			msg = a.Err.Error()
		}
		fmt.Fprintf(w, "%s\t%.1f\t%d\t%s\t%s\t%s\n", a.At.Format(time.RFC3339Nano), float64(a.Took.Microseconds())/1000, a.Status, a.Version, a.Task, msg)
	}
	s.Elapsed = max(last.Sub(first), time.Millisecond)
	if len(took) > 0 {
		slices.Sort(took)
		s.P50, s.P99, s.Max = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	}
	return s, nil
}
