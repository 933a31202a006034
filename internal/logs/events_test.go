package logs

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	diff "github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/segment"
)

func batch(text string, ms ...int64) (out []types.InputLogEvent) {
	for _, m := range ms {
		out = append(out, types.InputLogEvent{Timestamp: aws.Int64(at(m).UnixMilli()), Message: aws.String(text)})
	}
	return out
}

func (l *lab) put(t testing.TB, group, stream string, events []types.InputLogEvent) (*cwl.PutLogEventsOutput, error) {
	t.Helper()
	return l.PutLogEvents(t.Context(), &cwl.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: events, SequenceToken: aws.String("any")})
}

func (l *lab) get(t testing.TB, in cwl.GetLogEventsInput) (*cwl.GetLogEventsOutput, string) {
	t.Helper()
	in.LogGroupName, in.LogStreamName = aws.String("g"), aws.String("s")
	out := ok(l.GetLogEvents(t.Context(), &in))(t)
	var texts []string
	for _, e := range out.Events {
		texts = append(texts, *e.Message)
	}
	return out, strings.Join(texts, " ")
}

func TestPutLogEvents_Limits(t *testing.T) {
	l := newLab(t)
	l.make(t, "g", "s")
	big := strings.Repeat("x", 1<<20-26)
	day := 24 * time.Hour.Milliseconds()
	for _, tt := range []struct {
		name   string
		events []types.InputLogEvent
		text   string // of the InvalidParameterException, "" = accepted
	}{
		{"one", batch("a", 0), ""},
		{"the largest", batch(big, 0), ""},
		{"too large", batch(big+"x", 0), "too large"},
		{"too much together", batch(big[:1<<19], 0, 1), "Upload too large: 1048628 bytes exceeds limit of 1048576"},
		{"none", []types.InputLogEvent{}, "logEvents"},
		{"empty message", batch("", 0), "message"},
		{"not in order", batch("a", 1, 0), "Log events in a single PutLogEvents request must be in chronological order."},
		{"24 hours", batch("a", -day, 0), ""},
		{"more than 24 hours", batch("a", -day, 1), "cannot span more than 24 hours"},
		{"10001", batch("a", make([]int64, 10_001)...), "10000"},
	} {
		out, err := l.put(t, "g", "s", tt.events)
		if tt.text != "" {
			wantError(t, tt.name, err, "InvalidParameterException", tt.text)
		} else if err != nil || out.RejectedLogEventsInfo != nil || len(aws.ToString(out.NextSequenceToken)) != 56 {
			t.Errorf("%s = %v, rejected %v", tt.name, err, out.RejectedLogEventsInfo)
		}
	}
	_, err := l.put(t, "g", "none", batch("a", 0))
	wantError(t, "no stream", err, "ResourceNotFoundException", "The specified log stream does not exist.")
	_, err = l.put(t, "none", "s", batch("a", 0))
	wantError(t, "no group", err, "ResourceNotFoundException", "The specified log group does not exist.")
}

func TestPutLogEvents_RejectsOldExpiredAndNew(t *testing.T) {
	const hour = int64(3600_000)
	now := testStart
	for _, tt := range []struct {
		name             string
		ms               []int64
		retention        time.Duration
		old, expired, nw int32 // -1: not told
		accepted         int
	}{
		{"all well", []int64{-hour, 0, 2 * hour}, 0, -1, -1, -1, 3},
		{"too new", []int64{0, 2 * hour, 2*hour + 1, 3 * hour}, 0, -1, -1, 2, 2},
		{"all too new", []int64{3 * hour}, 0, -1, -1, 0, 0},
		{"too old", []int64{-14*24*hour - 1, -14 * 24 * hour, 0}, 0, 1, -1, -1, 2},
		{"expired", []int64{-25 * hour, -23 * hour}, 24 * time.Hour, -1, 1, -1, 1},
		{"old and expired", []int64{-15 * 24 * hour, -25 * hour, 0}, 24 * time.Hour, 1, 2, -1, 1},
		{"nothing left", []int64{-15 * 24 * hour, 5 * hour}, 0, 1, -1, 1, 0},
	} {
		since := time.Time{}
		if tt.retention > 0 {
			since = now.Add(-tt.retention)
		}
		got, info := judge(batch("a", tt.ms...), now, since)
		if info == nil {
			info = &types.RejectedLogEventsInfo{}
		}
		tell := func(p *int32) int32 {
			if p == nil {
				return -1
			}
			return *p
		}
		if len(got) != tt.accepted || tell(info.TooOldLogEventEndIndex) != tt.old || tell(info.ExpiredLogEventEndIndex) != tt.expired || tell(info.TooNewLogEventStartIndex) != tt.nw {
			t.Errorf("%s: %d accepted, old %d, expired %d, new %d", tt.name, len(got), tell(info.TooOldLogEventEndIndex), tell(info.ExpiredLogEventEndIndex), tell(info.TooNewLogEventStartIndex))
		}
	}
}

func TestPutLogEvents_ConcurrentlyAndBesideAContainer(t *testing.T) {
	l := newLab(t)
	dir := l.make(t, "g", "s")
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 5 {
				if _, err := l.put(t, "g", "s", batch("a", 0, 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if out, _ := l.get(t, cwl.GetLogEventsInput{}); len(out.Events) != 80 {
		t.Errorf("%d events, want 80", len(out.Events))
	}
	w, err := segment.OpenWriter(dir, segment.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_, err = l.put(t, "g", "s", batch("a", 0))
	wantError(t, "PutLogEvents beside a container", err, "OperationAbortedException", "container")
}

func TestGetLogEvents_TokensStayEqualAtTheEnds(t *testing.T) {
	l := newLab(t)
	dir := l.make(t, "g", "s")
	two := aws.Int32(2)

	out, texts := l.get(t, cwl.GetLogEventsInput{StartFromHead: aws.Bool(true)})
	if texts != "" || len(*out.NextForwardToken) != 58 || len(*out.NextBackwardToken) != 58 {
		t.Fatalf("an empty stream: %q, tokens %s %s", texts, *out.NextForwardToken, *out.NextBackwardToken)
	}
	first := out.NextForwardToken // from an empty stream, it finds what comes
	write(t, dir, event(1, "a"), event(1, "b"), event(2, "c"), event(3, "d"), event(4, "e"))

	forward := func(token *string, want string, same bool) *cwl.GetLogEventsOutput {
		t.Helper()
		out, texts := l.get(t, cwl.GetLogEventsInput{NextToken: token, Limit: two, StartFromHead: aws.Bool(true)})
		if texts != want || *out.NextForwardToken == *token != same {
			t.Errorf("forward page %q, same token %v, want %q, %v", texts, *out.NextForwardToken == *token, want, same)
		}
		return out
	}
	p := forward(first, "a b", false)
	p = forward(p.NextForwardToken, "c d", false)
	p = forward(p.NextForwardToken, "e", false)
	end := forward(p.NextForwardToken, "", true)
	write(t, dir, event(9, "f"))
	forward(end.NextForwardToken, "f", false)

	newest, texts := l.get(t, cwl.GetLogEventsInput{Limit: two})
	if texts != "e f" {
		t.Errorf("the newest page: %q", texts)
	}
	forward(newest.NextForwardToken, "", true)
	backward := func(token *string, want string, same bool) *cwl.GetLogEventsOutput {
		t.Helper()
		out, texts := l.get(t, cwl.GetLogEventsInput{NextToken: token, Limit: two})
		if texts != want || *out.NextBackwardToken == *token != same {
			t.Errorf("backward page %q, same token %v, want %q, %v", texts, *out.NextBackwardToken == *token, want, same)
		}
		return out
	}
	b := backward(newest.NextBackwardToken, "c d", false)
	b = backward(b.NextBackwardToken, "a b", false)
	b = backward(b.NextBackwardToken, "", true)
	forward(b.NextForwardToken, "a b", false) // and back again
	backward(end.NextBackwardToken, "d e", false)

	for in, want := range map[[2]int64]string{{1, 3}: "a b c", {2, 100}: "c d e f", {5, 9}: "", {3, 3}: ""} {
		for _, head := range []bool{true, false} {
			_, texts := l.get(t, cwl.GetLogEventsInput{StartTime: aws.Int64(at(in[0]).UnixMilli()), EndTime: aws.Int64(at(in[1]).UnixMilli()), StartFromHead: &head})
			if texts != want {
				t.Errorf("times %v from head %v: %q, want %q", in, head, texts, want)
			}
		}
	}
	for _, bad := range []string{"x", "f/1", "q/" + strings.Repeat("0", 56), "f/" + strings.Repeat("9", 56)} {
		_, err := l.GetLogEvents(t.Context(), &cwl.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s"), NextToken: &bad})
		wantError(t, "token "+bad, err, "InvalidParameterException", "The specified nextToken is invalid.")
	}
	_, err := l.GetLogEvents(t.Context(), &cwl.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s"), Unmask: true})
	wantError(t, "unmask", err, "InvalidParameterException", "unmask")
}

func TestGetLogEvents_PageOfAMegabyteAndBadText(t *testing.T) {
	l := newLab(t)
	dir := l.make(t, "g", "s")
	var es []segment.Event
	for i := range 30 {
		es = append(es, event(int64(i), strings.Repeat("x", 100_000)))
	}
	es = append(es, event(40, "bad \xff text"))
	write(t, dir, es...)
	n := 0
	p := cwl.NewGetLogEventsPaginator(l, &cwl.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s"), StartFromHead: aws.Bool(true)},
		func(o *cwl.GetLogEventsPaginatorOptions) { o.StopOnDuplicateToken = true })
	for p.HasMorePages() {
		out := ok(p.NextPage(t.Context()))(t)
		if n += len(out.Events); len(out.Events) > 11 {
			t.Errorf("a page of %d events of 100 kB", len(out.Events))
		}
	}
	if n != 31 {
		t.Errorf("%d events, want 31", n)
	}
	out, texts := l.get(t, cwl.GetLogEventsInput{})
	if len(out.Events) > 11 || !strings.HasSuffix(texts, "bad \uFFFD text") {
		t.Errorf("the newest page has %d events and ends with %.30q", len(out.Events), texts[len(texts)-20:])
	}
}

// said is an event as a test knows it.
type said struct {
	ms     int64
	stream string
	n      int // in the order of its stream
	text   string
}

// Whatever the streams, times, filters and page sizes: the pages together are the events, in order, each once.
func TestFilterAndGet_AreTheSortedEvents(t *testing.T) {
	words := []string{"error", "warn", "info", "GET /", "x-ray"}
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			l := newLab(t)
			var all []said
			for i := range 1 + rnd.IntN(5) {
				stream := fmt.Sprintf("s%d", i)
				dir := l.make(t, "g", stream)
				late, now, n := rnd.IntN(3) == 0, int64(rnd.IntN(50)), 0
				for range rnd.IntN(6) {
					var es []segment.Event
					for range rnd.IntN(60) {
						now += int64(rnd.IntN(4))
						text := fmt.Sprintf("%s %s %d", words[rnd.IntN(5)], words[rnd.IntN(5)], n)
						es = append(es, event(now, text))
						all = append(all, said{now, stream, n, text})
						n++
					}
					if late {
						now -= int64(rnd.IntN(30))
					}
					write(t, dir, es...)
				}
			}
			slices.SortFunc(all, func(a, b said) int {
				return cmp.Or(cmp.Compare(a.ms, b.ms), cmp.Compare(a.stream, b.stream), cmp.Compare(a.n, b.n))
			})
			for range 12 {
				from, to := int64(rnd.IntN(100)), int64(100+rnd.IntN(100))
				word, size := words[rnd.IntN(5)], 1+rnd.IntN(40)
				checkFilter(t, l, all, from, to, word, size)
				checkGet(t, l, all, from, to, size, rnd.IntN(2) == 0)
			}
		})
	}
}

func checkFilter(t *testing.T, l *lab, all []said, from, to int64, word string, size int) {
	t.Helper()
	var want, got []string
	for _, e := range all {
		if e.ms >= from && e.ms <= to && strings.Contains(e.text, word) {
			want = append(want, fmt.Sprint(e.ms, " ", e.stream, " ", e.text))
		}
	}
	ids := map[string]bool{}
	p := cwl.NewFilterLogEventsPaginator(l, &cwl.FilterLogEventsInput{LogGroupName: aws.String("g"), StartTime: aws.Int64(at(from).UnixMilli()), EndTime: aws.Int64(at(to).UnixMilli()),
		FilterPattern: aws.String(`"` + word + `"`), Limit: aws.Int32(int32(size))})
	for p.HasMorePages() {
		out := ok(p.NextPage(t.Context()))(t)
		if len(out.Events) > size {
			t.Fatalf("a page of %d, limit %d", len(out.Events), size)
		}
		for _, e := range out.Events {
			got = append(got, fmt.Sprint(*e.Timestamp-testStart.UnixMilli(), " ", *e.LogStreamName, " ", *e.Message))
			if len(*e.EventId) != 56 {
				t.Errorf("eventId %s", *e.EventId)
			}
			ids[*e.EventId] = true
		}
	}
	if d := diff.Diff(want, got); d != "" {
		t.Fatalf("FilterLogEvents %d to %d of %s by %d (-want +got):\n%s", from, to, word, size, d)
	}
	if len(ids) != len(got) {
		t.Errorf("%d events have %d ids", len(got), len(ids))
	}
}

func checkGet(t *testing.T, l *lab, all []said, from, to int64, size int, head bool) {
	t.Helper()
	var want, got []string
	for _, e := range all {
		if e.stream == "s0" && e.ms >= from && e.ms < to {
			want = append(want, e.text)
		}
	}
	in := cwl.GetLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s0"), StartTime: aws.Int64(at(from).UnixMilli()), EndTime: aws.Int64(at(to).UnixMilli()),
		Limit: aws.Int32(int32(size)), StartFromHead: &head}
	for {
		out := ok(l.GetLogEvents(t.Context(), &in))(t)
		var texts []string
		for _, e := range out.Events {
			texts = append(texts, *e.Message)
		}
		token := out.NextForwardToken
		if head {
			got = append(got, texts...)
		} else {
			got, token = append(texts, got...), out.NextBackwardToken
		}
		if aws.ToString(in.NextToken) == *token {
			break
		}
		in.NextToken = token
	}
	if d := diff.Diff(want, got); d != "" {
		t.Fatalf("GetLogEvents %d to %d by %d, head %v (-want +got):\n%s", from, to, size, head, d)
	}
}

func TestFilterLogEvents_Streams(t *testing.T) {
	l, ctx := newLab(t), t.Context()
	for _, s := range []string{"a/1", "a/2", "b/1"} {
		write(t, l.make(t, "g", s), event(1, s))
	}
	filter := func(in cwl.FilterLogEventsInput) (string, error) {
		in.LogGroupName = aws.String("g")
		out, err := l.FilterLogEvents(ctx, &in)
		if err != nil {
			return "", err
		}
		var texts []string
		for _, e := range out.Events {
			texts = append(texts, *e.Message)
		}
		return strings.Join(texts, " "), nil
	}
	for _, tt := range []struct {
		in   cwl.FilterLogEventsInput
		want string
	}{
		{cwl.FilterLogEventsInput{}, "a/1 a/2 b/1"},
		{cwl.FilterLogEventsInput{Interleaved: aws.Bool(true), StartFromHead: aws.Bool(true)}, "a/1 a/2 b/1"},
		{cwl.FilterLogEventsInput{LogStreamNamePrefix: aws.String("a/")}, "a/1 a/2"},
		{cwl.FilterLogEventsInput{LogStreamNames: []string{"b/1", "a/1"}}, "a/1 b/1"},
	} {
		if got, err := filter(tt.in); got != tt.want || err != nil {
			t.Errorf("%+v = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
	_, err := filter(cwl.FilterLogEventsInput{LogStreamNames: []string{"none"}})
	wantError(t, "an unknown stream", err, "ResourceNotFoundException", "The specified log stream does not exist.")
	_, err = filter(cwl.FilterLogEventsInput{LogStreamNames: []string{"a/1"}, LogStreamNamePrefix: aws.String("a")})
	wantError(t, "names and prefix", err, "InvalidParameterException", "")
	_, err = filter(cwl.FilterLogEventsInput{StartFromHead: aws.Bool(false)})
	wantError(t, "newest first", err, "InvalidParameterException", "startFromHead")
	_, err = filter(cwl.FilterLogEventsInput{FilterPattern: aws.String("{ $.a == 1 }")})
	wantError(t, "a bad pattern", err, "InvalidParameterException", "invalid filter pattern")
	_, err = filter(cwl.FilterLogEventsInput{FilterPattern: aws.String(strings.Repeat("a", 1025))})
	wantError(t, "a long pattern", err, "InvalidParameterException", "less than or equal to 1024")
	_, err = filter(cwl.FilterLogEventsInput{NextToken: aws.String("zzz")})
	wantError(t, "a bad token", err, "InvalidParameterException", "nextToken")
}

// A page that looks at much and finds nothing ends, and the next goes on.
func TestMerge_EndsWhenItHasLookedEnough(t *testing.T) {
	l := newLab(t)
	dir := l.make(t, "g", "s")
	for i := range 100 {
		write(t, dir, event(int64(i), fmt.Sprint("line ", i)))
	}
	_, streams, err := l.s.streams(t.Context(), testScope, "g", "")
	if err != nil {
		t.Fatal(err)
	}
	pages, found := 0, 0
	var from groupPlace
	for {
		m := merge{match: func(b []byte) bool { return string(b) == "line 77" }, budget: budget{10, maxPageBytes}, scan: 500, from: from}
		src, err := l.s.source(streams[0].ID)
		if err = errors.Join(err, m.add("s", src, place{}, place{maxTime, 0})); err != nil {
			t.Fatal(err)
		}
		out := ok(m.page())(t)
		pages++
		found += len(out.Events)
		if out.NextToken == nil {
			break
		}
		from, _ = parseGroupToken(*out.NextToken)
	}
	if found != 1 || pages < 5 {
		t.Errorf("found %d in %d pages, want 1 in more than 5", found, pages)
	}
}
