package logs

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"github.com/lotse-project/lotse/internal/segment"
)

const day = 24 * time.Hour

func (l *lab) sweep(t testing.TB) {
	t.Helper()
	if err := l.s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func size(t testing.TB, dir string) int64 {
	t.Helper()
	return ok(segment.Size(dir))(t)
}

// hours writes an event of 1 kB for each hour from one time to another, relative to testStart.
func hours(t testing.TB, dir string, from, to int64) {
	t.Helper()
	for h := from; h < to; h++ {
		write(t, dir, event(h*time.Hour.Milliseconds(), strings.Repeat("x", 1000)))
	}
}

func TestSweep_Retention(t *testing.T) {
	l := newLab(t)
	old, live := l.make(t, "g", "s"), l.make(t, "g", "live")
	other := l.make(t, "kept", "s")
	hours(t, old, -48, -26)
	hours(t, other, -48, -26)
	hours(t, live, -48, 0)
	w, err := segment.OpenWriter(live, segment.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	before := size(t, other)
	l.sweep(t)
	if size(t, old) < 20_000 || size(t, live) < 40_000 {
		t.Fatal("events expired without a retention")
	}
	ok(l.PutRetentionPolicy(t.Context(), &cwl.PutRetentionPolicyInput{LogGroupName: aws.String("g"), RetentionInDays: aws.Int32(1)}))(t)
	// Not shown any more, from this moment on.
	if out := ok(l.FilterLogEvents(t.Context(), &cwl.FilterLogEventsInput{LogGroupName: aws.String("g")}))(t); len(out.Events) != 24 {
		t.Errorf("%d events shown, want the last 24", len(out.Events))
	}
	if _, texts := l.get(t, cwl.GetLogEventsInput{}); texts != "" {
		t.Error("expired events are shown")
	}
	l.sweep(t)
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("a stream of expired events is still there: %v", err)
	}
	if n := size(t, live); n > 30_000 || n < 24_000 {
		t.Errorf("the live stream has %d bytes, want about 24 events of 1 kB", n)
	}
	if size(t, other) != before {
		t.Error("another group lost events")
	}
	if s := ok(l.DescribeLogStreams(t.Context(), &cwl.DescribeLogStreamsInput{LogGroupName: aws.String("g")}))(t).LogStreams; len(s) != 2 {
		t.Errorf("%d streams left, want both", len(s))
	}
	l.pass(100 * day)
	if _, err := l.put(t, "g", "s", batch("again", 100*day.Milliseconds())); err != nil {
		t.Fatal(err)
	}
	l.sweep(t)
	if _, texts := l.get(t, cwl.GetLogEventsInput{}); texts != "again" {
		t.Errorf("the stream has %q, want what was put after it expired", texts)
	}
	if n := size(t, live); n > 8000 || n == 0 {
		t.Errorf("the live stream has %d bytes, want its newest file", n)
	}
}

func TestSweep_GroupSize(t *testing.T) {
	l := newLab(t)
	l.s.o.GroupBytes = 50_000
	a, b := l.make(t, "g", "a"), l.make(t, "g", "b")
	hours(t, a, -100, -50)
	hours(t, b, -50, 0)
	l.sweep(t)
	if n := size(t, a) + size(t, b); n > 50_000 || n < 40_000 {
		t.Errorf("the group has %d bytes, want about 50000", n)
	}
	if size(t, a) > 10_000 {
		t.Error("the newer events went first")
	}
}

func TestSweep_WhatWasDeleted(t *testing.T) {
	l := newLab(t)
	dead, live := l.make(t, "g", "dead"), l.make(t, "g", "live")
	stays := l.make(t, "g2", "s")
	for _, d := range []string{dead, live, stays} {
		hours(t, d, -20, 0)
	}
	w, err := segment.OpenWriter(live, segment.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ok(l.DeleteLogGroup(t.Context(), &cwl.DeleteLogGroupInput{LogGroupName: aws.String("g")}))(t)
	l.sweep(t)
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("a deleted stream's events are there: %v", err)
	}
	if n := size(t, live); n == 0 || n > 5000 {
		t.Errorf("a deleted stream that is written has %d bytes, want its newest file", n)
	}
	w.Close()
	l.sweep(t)
	if _, err := os.Stat(live); !os.IsNotExist(err) {
		t.Errorf("a deleted stream's events are there after its writer left: %v", err)
	}
	if n := size(t, stays); n < 20_000 {
		t.Error("another group lost events")
	}
	if again := l.make(t, "g", "dead"); again == dead {
		t.Error("a stream made anew has the old directory")
	}
}

func TestCutoff(t *testing.T) {
	f := func(bytes int64, hour int64) segment.File {
		return segment.File{Bytes: bytes, Newest: at(hour)}
	}
	files := []segment.File{f(4, 2), f(4, 1), f(4, 3)}
	for limit, want := range map[int64]time.Time{12: {}, 10: at(2), 8: at(2), 7: at(3), 4: at(3), 1: at(3)} {
		if got := cutoff(files, limit); !got.Equal(want) {
			t.Errorf("cutoff(%d) = %v, want %v", limit, got, want)
		}
	}
}

func TestRun_WakesAndStops(t *testing.T) {
	l := newLab(t)
	dir := l.make(t, "g", "s")
	hours(t, dir, -5, 0)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.s.Run(ctx) }()
	ok(l.DeleteLogStream(t.Context(), &cwl.DeleteLogStreamInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s")}))(t)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the deleted stream's events are still there")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkFilterLogEvents_TailOfAHundredStreams(b *testing.B) {
	l := newLab(b)
	for i := range 100 {
		dir := l.make(b, "g", fmt.Sprint(i))
		w, _ := segment.OpenWriter(dir, segment.WriterOptions{})
		for j := range 1000 {
			w.Append(event(int64(j), strings.Repeat("x", 100)))
		}
		w.Close()
	}
	start := aws.Int64(at(999).UnixMilli())
	for b.Loop() {
		if _, err := l.FilterLogEvents(b.Context(), &cwl.FilterLogEventsInput{LogGroupName: aws.String("g"), StartTime: start}); err != nil {
			b.Fatal(err)
		}
	}
}
