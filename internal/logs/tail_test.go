package logs

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/google/go-cmp/cmp"
)

// follower asks as `aws logs tail --follow` does: on to the last page, then again from the time of the last event, and it
// shows no eventId twice. Source: aws-cli v2, awscli/customizations/logs/tail.py.
type follower struct {
	in   cwl.FilterLogEventsInput
	seen map[string]bool
}

func (f *follower) poll(t *testing.T, l *lab) (shown []string) {
	t.Helper()
	for {
		out := ok(l.FilterLogEvents(t.Context(), &f.in))(t)
		for _, e := range out.Events {
			if !f.seen[*e.EventId] {
				f.seen[*e.EventId] = true
				shown = append(shown, *e.LogStreamName+" "+*e.Message)
			}
			f.in.StartTime = e.Timestamp
		}
		if f.in.NextToken = out.NextToken; f.in.NextToken == nil {
			return shown
		}
	}
}

// Whoever follows a group sees every line of all its streams once, also those of one millisecond of which only some had been
// written at the last look, and those of streams that came later.
func TestTailFollow(t *testing.T) {
	l := newLab(t)
	one := l.make(t, "g", "one")
	f := follower{in: cwl.FilterLogEventsInput{LogGroupName: aws.String("g"), Interleaved: aws.Bool(true), StartTime: aws.Int64(at(0).UnixMilli()), Limit: aws.Int32(2)}, seen: map[string]bool{}}
	look := func(want ...string) {
		t.Helper()
		if d := cmp.Diff(want, f.poll(t, l)); d != "" {
			t.Errorf("shown (-want +got):\n%s", d)
		}
	}
	write(t, one, event(-1, "before"))
	look()
	for i := range 5 {
		write(t, one, event(int64(i), fmt.Sprint("line ", i)))
	}
	look("one line 0", "one line 1", "one line 2", "one line 3", "one line 4")
	look()
	write(t, one, event(4, "the same millisecond"), event(4, "line 4"))
	two := l.make(t, "g", "two")
	write(t, two, event(4, "another stream"), event(9, "later"))
	look("one the same millisecond", "one line 4", "two another stream", "two later")
	write(t, two, event(9, "and on"))
	look("two and on")
	look()
}
