package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// load sends requests from several clients until it is stopped, half of them on a new connection each.
type load struct {
	t      testing.TB
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	sent    int
	refused int
	lost    int // connections that were there and broke
	wrong   []string
}

func startLoad(t testing.TB, addr string, clients int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{t: t, cancel: cancel}
	for i := range clients {
		tr := &http.Transport{DisableKeepAlives: i%2 == 0, MaxIdleConnsPerHost: 4}
		c := &http.Client{Transport: tr, Timeout: patience}
		l.wg.Go(func() {
			defer tr.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				l.note(once(c, addr, n%3 == 2))
				time.Sleep(time.Millisecond) // leave some of the machine to what is tested
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	return l
}

// once sends a request; a POST is one that no client repeats by itself.
func once(c *http.Client, addr string, post bool) (string, error) {
	var resp *http.Response
	var err error
	if post {
		resp, err = c.Post("http://"+addr+"/", "text/plain", nil)
	} else {
		resp, err = c.Get("http://" + addr + "/")
	}
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != 200 {
		return fmt.Sprint(resp.StatusCode), nil
	}
	return "", nil
}

func (l *load) note(wrong string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, &op) && op.Op == "dial":
		l.refused++
	case err != nil:
		l.lost++
		if len(l.wrong) < 5 {
			l.wrong = append(l.wrong, err.Error())
		}
	case wrong != "":
		l.wrong = append(l.wrong, wrong)
	}
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

// none fails the test unless all requests were answered by a target.
func (l *load) none(atLeast int) {
	l.t.Helper()
	l.stop()
	if l.sent < atLeast || l.refused+l.lost+len(l.wrong) > 0 {
		l.t.Errorf("of %d requests (want at least %d), %d refused, %d lost, wrong: %v", l.sent, atLeast, l.refused, l.lost, l.wrong)
	}
}

// progress waits until n more requests have been answered.
func (l *load) progress(n int) {
	l.t.Helper()
	count := func() int { l.mu.Lock(); defer l.mu.Unlock(); return l.sent }
	from := count()
	for end := time.Now().Add(patience); count() < from+n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("%d requests in %s, want %d", count()-from, patience, n)
		}
	}
}
