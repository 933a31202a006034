package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(ms int64) time.Time { return time.UnixMilli(1_700_000_000_000 + ms).UTC() }

func open(t *testing.T, dir string, o WriterOptions) *Writer {
	t.Helper()
	w, err := OpenWriter(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func readAll(t *testing.T, dir string) []Event {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []Event
	for after := uint64(0); ; {
		es, err := r.Read(after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(es) == 0 {
			return out
		}
		out = append(out, es...)
		after = es[len(es)-1].Pos
	}
}

// The model is a slice of events: whatever the sizes, batches, restarts and times, the stream is the slice.
func TestStream_IsAListOfEvents(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			dir := filepath.Join(t.TempDir(), "s")
			o, batches := WriterOptions{SegmentBytes: int64(1 + rnd.IntN(5000))}, 60
			if seed%4 == 3 { // files of more events than seekBack looks at
				o.SegmentBytes, batches = 200_000, 300
			}
			w := open(t, dir, o)
			var want []Event
			now, newest := int64(0), int64(-1<<62)
			for range batches {
				var batch []Event
				for range rnd.IntN(6) {
					now += int64(rnd.IntN(5)) - int64(rnd.IntN(2)*rnd.IntN(2)*int(seed%3))
					e := Event{Time: at(now), Ingested: at(now + 3), Data: bytes.Repeat([]byte{byte(rnd.IntN(256))}, rnd.IntN(1<<rnd.IntN(10)))}
					batch = append(batch, e)
					e.Late = now < newest
					newest = max(newest, now)
					want = append(want, e)
				}
				if err := w.Append(batch...); err != nil {
					t.Fatal(err)
				}
				if rnd.IntN(10) == 0 {
					w.Close()
					w = open(t, dir, o)
				}
			}
			got := readAll(t, dir)
			checkEvents(t, want, got)
			checkBack(t, rnd, dir, got)
			checkSeek(t, dir, got, now)
		})
	}
}

func checkEvents(t *testing.T, want, got []Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("read %d events, want %d", len(got), len(want))
	}
	pos := uint64(0)
	for i := range got {
		if got[i].Pos <= pos {
			t.Fatalf("event %d: Pos %d after %d", i, got[i].Pos, pos)
		}
		pos = got[i].Pos
		want[i].Pos = pos
		if len(got[i].Data) == 0 && len(want[i].Data) == 0 {
			got[i].Data, want[i].Data = nil, nil
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("events (-want +got):\n%s", d)
	}
}

func checkBack(t *testing.T, rnd *rand.Rand, dir string, all []Event) {
	t.Helper()
	r, _ := OpenReader(dir)
	for range 20 {
		i, n := rnd.IntN(len(all)+1), 1+rnd.IntN(40)
		from := uint64(0)
		want := all
		if i < len(all) {
			from, want = all[i].Pos, all[:i+1]
		}
		want = want[max(0, len(want)-n):]
		got, err := r.ReadBack(from, n)
		if err != nil {
			t.Fatalf("ReadBack(%d, %d): %v", from, n, err)
		}
		for i := range got {
			if len(got[i].Data) == 0 {
				got[i].Data = nil
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("ReadBack(%d, %d) (-want +got):\n%s", from, n, d)
		}
	}
	if _, err := r.ReadBack(all[len(all)/2].Pos+1, 3); !errors.Is(err, ErrPosition) {
		t.Errorf("ReadBack of no position = %v, want ErrPosition", err)
	}
	s, err := r.Span()
	if end := all[len(all)-1]; err != nil || s.End != end.Pos || !s.LastIngested.Equal(end.Ingested) || !s.Oldest.Equal(all[0].Time) {
		t.Errorf("Span = %+v, %v", s, err)
	}
}

func checkSeek(t *testing.T, dir string, all []Event, last int64) {
	t.Helper()
	r, _ := OpenReader(dir)
	span, _ := r.Span()
	for ms := int64(-2); ms < last+3; ms++ {
		pos, late, err := r.SeekTime(at(ms))
		if err != nil {
			t.Fatal(err)
		}
		want, wantLate := uint64(0), uint32(0)
		for _, e := range all {
			if !e.Time.Before(at(ms)) {
				break
			}
			want = e.Pos
			if e.Late {
				wantLate++
			}
		}
		// A position at the end of a file is as good as the one at the beginning of the next.
		if pos != want || late != wantLate {
			t.Fatalf("SeekTime(%d) = %d, %d late, want %d, %d (end %d)", ms, pos, late, want, wantLate, span.End)
		}
	}
}

func TestReader_EmptyAndMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	check := func(how string) {
		t.Helper()
		es, err := r.Read(0, 10)
		back, err2 := r.ReadBack(0, 10)
		s, err3 := r.Span()
		pos, _, err4 := r.SeekTime(at(0))
		if err := errors.Join(err, err2, err3, err4); err != nil || len(es)+len(back) != 0 || s != (Span{}) || pos != 0 {
			t.Errorf("%s: %v %v %v %v %v", how, es, back, s, pos, err)
		}
	}
	check("missing")
	w := open(t, dir, WriterOptions{})
	check("empty")
	if !w.Newest().IsZero() {
		t.Error("Newest of an empty stream is not zero")
	}
	if err := w.Append(Event{Data: make([]byte, MaxData+1)}); err == nil {
		t.Error("an event too large was accepted")
	}
	if err := w.Append(Event{Data: make([]byte, MaxData)}, Event{Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	back, err := r.ReadBack(0, 10)
	if err != nil || len(back) != 2 || len(back[0].Data) != MaxData || string(back[1].Data) != "x" {
		t.Errorf("ReadBack of large events: %d, %v", len(back), err)
	}
	w.Close()
	if err := w.Append(Event{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Append after Close = %v", err)
	}
}

func TestWriter_OneAtATime(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, WriterOptions{})
	if _, err := OpenWriter(dir, WriterOptions{}); !errors.Is(err, ErrLocked) {
		t.Errorf("second OpenWriter = %v, want ErrLocked", err)
	}
	if _, err := Remove(dir, time.Time{}); !errors.Is(err, ErrLocked) {
		t.Errorf("Remove of a stream being written = %v, want ErrLocked", err)
	}
	w.Close()
	open(t, dir, WriterOptions{}).Close()
	if ok, err := Remove(dir, time.Time{}); !ok || err != nil {
		t.Errorf("Remove = %v, %v", ok, err)
	}
	if ok, err := Remove(dir, time.Time{}); !ok || err != nil {
		t.Errorf("Remove again = %v, %v", ok, err)
	}
}

// Whatever a crash leaves of the last file, what was whole is read, and the next writer goes on after it.
func TestWriter_CutsATornEnd(t *testing.T) {
	src := t.TempDir()
	w := open(t, src, WriterOptions{SegmentBytes: 300})
	for i := range 15 {
		if err := w.Append(Event{Time: at(int64(i)), Ingested: at(0), Data: fmt.Appendf(nil, "event %d %s", i, bytes.Repeat([]byte("."), i))}); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	all := readAll(t, src)
	files, _ := list(src)
	newest := files[len(files)-1]
	if newest.size < 100 {
		t.Fatalf("the newest file has %d bytes: nothing to cut", newest.size)
	}
	content, _ := os.ReadFile(newest.path)
	junk := []func([]byte) []byte{
		func(b []byte) []byte { return b },
		func(b []byte) []byte { return append(b, make([]byte, 100)...) },
		func(b []byte) []byte { return append(b, bytes.Repeat([]byte{0xa5}, 100)...) },
	}
	for cut := 0; cut <= len(content); cut++ {
		for j, add := range junk {
			b := add(bytes.Clone(content[:cut]))
			if err := os.WriteFile(newest.path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			whole := 0 // the zeros may be just what was cut
			for whole < min(len(b), len(content)) && b[whole] == content[whole] {
				whole++
			}
			if j == 2 && cut < len(magic) {
				continue // not our file: refused, see below
			}
			var want []Event
			for _, e := range all {
				if e.Pos <= newest.base || e.Pos <= newest.base+uint64(whole) && whole >= len(magic) {
					want = append(want, e)
				}
			}
			checkEvents(t, want, readAll(t, src))
			r, _ := OpenReader(src)
			if back, err := r.ReadBack(0, 100); err != nil || len(back) != len(want) {
				t.Fatalf("cut %d, junk %d: ReadBack gives %d events, %v, want %d", cut, j, len(back), err, len(want))
			}
			w := open(t, src, WriterOptions{SegmentBytes: 1 << 20})
			if got := w.Newest(); !got.Equal(want[len(want)-1].Time) {
				t.Fatalf("cut %d, junk %d: Newest = %v, want %v", cut, j, got, want[len(want)-1].Time)
			}
			if err := w.Append(Event{Time: at(100), Ingested: at(0), Data: []byte("after")}); err != nil {
				t.Fatal(err)
			}
			w.Close()
			checkEvents(t, append(want, Event{Time: at(100), Ingested: at(0), Data: []byte("after")}), readAll(t, src))
		}
	}
	if err := os.WriteFile(newest.path, []byte("something else altogether"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenWriter(src, WriterOptions{}); err == nil {
		t.Error("a file that is not ours was opened")
	}
}

func TestReader_TellsOfDamageAndGoesOn(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, WriterOptions{SegmentBytes: 300})
	for i := range 20 {
		w.Append(Event{Time: at(int64(i)), Data: fmt.Appendf(nil, "event %02d", i)})
	}
	files, _ := list(dir)
	b, _ := os.ReadFile(files[1].path)
	b[len(b)/2] ^= 1
	os.WriteFile(files[1].path, b, 0o600)
	r, _ := OpenReader(dir)
	n, after, damaged := 0, uint64(0), 0
	for {
		es, err := r.Read(after, 100)
		var d *DamageError
		if errors.As(err, &d) {
			damaged++
			after = d.Next
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(es) == 0 {
			break
		}
		n += len(es)
		after = es[len(es)-1].Pos
	}
	if damaged != 1 || n < 14 || n > 19 {
		t.Errorf("read %d of 20 events, told of %d damages, want one", n, damaged)
	}
}

func TestTrim(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, WriterOptions{SegmentBytes: 1000})
	for i := range 100 {
		w.Append(Event{Time: at(int64(i)), Data: make([]byte, 60)}) // 100 bytes each, 10 a file
	}
	all := readAll(t, dir)
	freed, err := Trim(dir, 0, at(35))
	if got := readAll(t, dir); err != nil || freed < 3000 || !got[0].Time.Equal(at(30)) {
		t.Errorf("Trim(before 35) freed %d, %v; first event now at %v, want 30", freed, err, got[0].Time)
	}
	if _, err := Trim(dir, 2500, time.Time{}); err != nil {
		t.Error(err)
	}
	if n, _ := Size(dir); n > 2500 || n < 1000 {
		t.Errorf("Size after Trim to 2500 = %d", n)
	}
	r, _ := OpenReader(dir)
	got, err := r.Read(all[3].Pos, 1) // trimmed: reading goes on where the stream begins now
	if err != nil || len(got) != 1 || got[0].Pos < all[70].Pos {
		t.Errorf("Read after a trimmed position = %v, %v", got, err)
	}
	if got, err := r.ReadBack(all[3].Pos, 5); err != nil || len(got) != 0 {
		t.Errorf("ReadBack from a trimmed position = %v, %v, want nothing", got, err)
	}
	Trim(dir, 1, at(1e6))
	if fs, err := Files(dir); err != nil || len(fs) != 1 || !fs[0].Last {
		t.Errorf("Files = %v, %v, want the newest alone", fs, err)
	}
	if err := w.Append(Event{Time: at(200), Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if e := readAll(t, dir); e[len(e)-1].Pos <= all[99].Pos {
		t.Error("positions went back")
	}
	w.Close()
	if ok, err := Remove(dir, at(150)); ok || err != nil {
		t.Errorf("Remove of what is not all old = %v, %v", ok, err)
	}
	if ok, err := Remove(dir, at(201)); !ok || err != nil {
		t.Errorf("Remove of what is all old = %v, %v", ok, err)
	}
}

func TestWriter_MaxBytes(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, WriterOptions{SegmentBytes: 1000, MaxBytes: 5000})
	for i := range 1000 {
		if err := w.Append(Event{Time: at(int64(i)), Data: make([]byte, 60)}); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := Size(dir); n > 6500 || n < 3000 {
		t.Errorf("Size = %d, want about 5000", n)
	}
}

func FuzzScan(f *testing.F) {
	r := mark{newest: 5}.next(Event{Time: at(1), Ingested: at(2), Data: []byte("hello")})
	f.Add(r.append([]byte(magic)))
	f.Add([]byte(magic + "\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		os.WriteFile(filePath(dir, 0), b, 0o600)
		r, _ := OpenReader(dir)
		got, _ := r.Read(0, 100)
		back, err := r.ReadBack(0, 100)
		if err == nil && len(got) < 100 && len(got) != len(back) {
			t.Errorf("forward %d events, back %d", len(got), len(back))
		}
		if w, err := OpenWriter(dir, WriterOptions{}); err == nil {
			w.Append(Event{Time: at(9), Data: []byte("x")})
			w.Close()
			if n := len(readAll(t, dir)); len(got) < 100 && n != len(got)+1 {
				t.Errorf("%d events after recovery and one more, want %d", n, len(got)+1)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	w, err := OpenWriter(b.TempDir(), WriterOptions{MaxBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	e := make([]Event, 100)
	for i := range e {
		e[i] = Event{Time: at(0), Ingested: at(0), Data: make([]byte, 100)}
	}
	b.SetBytes(100 * 100)
	for b.Loop() {
		if err := w.Append(e...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeekTime(b *testing.B) {
	dir := b.TempDir()
	w, _ := OpenWriter(dir, WriterOptions{})
	for i := range 60_000 {
		w.Append(Event{Time: at(int64(i)), Ingested: at(0), Data: make([]byte, 100)})
	}
	w.Close()
	r, _ := OpenReader(dir)
	for b.Loop() {
		if _, _, err := r.SeekTime(at(50_000)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeekTime_NearTheEnd(b *testing.B) {
	dir := b.TempDir()
	w, _ := OpenWriter(dir, WriterOptions{})
	for i := range 59_000 {
		w.Append(Event{Time: at(int64(i)), Ingested: at(0), Data: make([]byte, 100)})
	}
	w.Close()
	r, _ := OpenReader(dir)
	for b.Loop() {
		if _, _, err := r.SeekTime(at(58_950)); err != nil {
			b.Fatal(err)
		}
	}
}
