package main

import (
	"bytes"
	"errors"
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
		q := newQueue(time.Time{})
		var writer sync.WaitGroup
		writer.Go(func() { q.writeTo(d) })
		for range 100 {
			q.put(megabyte())
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
		q := newQueue(time.Time{})
		var writer sync.WaitGroup
		writer.Go(func() { q.writeTo(d) })
		q.put(lines("first")) // hangs in the disk
		synctest.Wait()
		began := time.Now()
		for range 40 { // ten megabytes wait, the rest is lost
			q.put(megabyte())
		}
		if took := time.Since(began); took != patience {
			t.Errorf("the container waited %v, want %v", took, patience)
		}
		d.set(0, nil)
		time.Sleep(2 * time.Hour)
		q.put(lines("last"))
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
		q := newQueue(time.Time{})
		var writer sync.WaitGroup
		writer.Go(func() { q.writeTo(d) })
		put := func(s ...string) { q.put(lines(s...)); time.Sleep(time.Second) }
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
