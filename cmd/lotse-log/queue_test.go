package main

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/segment"
)

// disk is a segment.Writer that fails or takes its time.
type disk struct {
	mu    sync.Mutex
	delay time.Duration
	err   error
	lines []string
}

func (d *disk) Append(events ...segment.Event) error {
	d.mu.Lock()
	delay, err := d.delay, d.err
	d.mu.Unlock()
	time.Sleep(delay)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range events {
		d.lines = append(d.lines, string(e.Data))
	}
	return nil
}

func (d *disk) set(delay time.Duration, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delay, d.err = delay, err
}

func lines(s ...string) (out [][]byte) {
	for _, l := range s {
		out = append(out, []byte(l))
	}
	return out
}

// megabyte is 16 lines.
func megabyte() [][]byte { return slices.Repeat([][]byte{bytes.Repeat([]byte("x"), 64<<10)}, 16) }

func TestQueue_SlowDiskSlowsTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{delay: 900 * time.Millisecond}
		q := newQueue(time.Time{}, maxQueued, patience)
		var writer sync.WaitGroup
		writer.Go(func() { q.writeTo(d) })
		for range 100 {
			q.put(time.Now(), megabyte()...)
		}
		q.close()
		writer.Wait()
		if len(d.lines) != 1600 {
			t.Errorf("%d lines, want all 1600", len(d.lines))
		}
	})
}

func TestQueue_DeadDiskCostsLinesNotTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{delay: time.Hour}
		q := newQueue(time.Time{}, maxQueued, patience)
		var writer sync.WaitGroup
		writer.Go(func() { q.writeTo(d) })
		q.put(time.Now(), lines("first")...) // hangs in the disk
		synctest.Wait()
		began := time.Now()
		for range 40 { // ten megabytes wait, the rest is lost
			q.put(time.Now(), megabyte()...)
		}
		if took := time.Since(began); took != patience {
			t.Errorf("the container waited %v, want %v", took, patience)
		}
		d.set(0, nil)
		time.Sleep(2 * time.Hour)
		q.put(time.Now(), lines("last")...)
		q.close()
		writer.Wait()
		var notices []string
		for _, l := range d.lines {
			if strings.HasPrefix(l, "lotse-log:") {
				notices = append(notices, l)
			}
		}
		if d := cmp.Diff([]string{string(lostLine(30 * 16))}, notices); d != "" {
			t.Errorf("notices (-want +got):\n%s", d)
		}
		if n := len(d.lines); n != 1+10*16+1+1 || d.lines[n-1] != "last" {
			t.Errorf("%d lines, the last %.20q", n, d.lines[n-1])
		}
	})
}

func TestQueue_FullDiskCostsLinesAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		q := newQueue(time.Time{}, maxQueued, patience)
		var writer sync.WaitGroup
		writer.Go(func() { q.writeTo(d) })
		put := func(s ...string) { q.put(time.Now(), lines(s...)...); time.Sleep(time.Second) }
		put("a")
		d.set(0, errors.New("no space left on device"))
		put("b", "c")
		put("d")
		d.set(0, nil)
		put("e")
		put("f")
		q.close()
		writer.Wait()
		if diff := cmp.Diff([]string{"a", string(lostLine(3)), "e", "f"}, d.lines); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}

func TestQueue_NonBlockingNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{delay: time.Hour}
		q := newQueue(time.Time{}, 4<<20, patienceOf["non-blocking"])
		var writer sync.WaitGroup
		writer.Go(func() { q.writeTo(d) })
		q.put(time.Now(), lines("first")...)
		synctest.Wait()
		began := time.Now()
		for range 40 {
			q.put(time.Now(), megabyte()...)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the container waited %v", took)
		}
		q.close()
		writer.Wait()
		if n := len(d.lines); n != 1+1+4*16 {
			t.Errorf("%d lines, want the first, a notice, and four megabytes", n)
		}
	})
}

func TestQueue_BlockingLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{err: errors.New("no space left on device")}
		q := newQueue(time.Time{}, maxQueued, patienceOf["blocking"])
		var writer sync.WaitGroup
		writer.Go(func() { q.writeTo(d) })
		time.AfterFunc(time.Hour, func() { d.set(0, nil) })
		began := time.Now()
		for range 40 {
			q.put(time.Now(), megabyte()...)
		}
		if took := time.Since(began); took < time.Hour {
			t.Errorf("the container waited %v, want an hour", took)
		}
		q.close()
		writer.Wait()
		if n := len(d.lines); n != 40*16 {
			t.Errorf("%d lines, want all %d", n, 40*16)
		}
	})
}

func TestSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		q := newQueue(time.Time{}, maxQueued, patience)
		var writer sync.WaitGroup
		writer.Go(func() { q.writeTo(d) })
		s := newSeveral(q, regexp.MustCompile(`^\d`))
		s.put(time.Now(), lines("before", "1 error", "  at a", "", "  at b", "2 next")...)
		time.Sleep(quiet / 2)
		s.put(time.Now(), lines("  soon")...)
		time.Sleep(2 * quiet)
		s.put(time.Now(), lines("  late")...)
		large := strings.Repeat("x", maxEvent)
		s.put(time.Now(), lines("3", large, "4 end")...)
		s.flush()
		q.close()
		writer.Wait()
		want := []string{"before", "1 error\n  at a\n\n  at b", "2 next\n  soon", "  late", "3", large, "4 end"}
		if d := cmp.Diff(want, d.lines); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
	})
}
