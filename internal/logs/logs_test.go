package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/segment"
	"github.com/lotse-project/lotse/internal/store"
)

var testScope = arn.Scope{Account: "123456789012", Region: "eu-central-1"}

// testStart is when a lab's clock begins.
var testStart = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// lab is the service behind the Mux, asked by the SDK's client.
type lab struct {
	*cwl.Client
	s *Service

	mu  sync.Mutex
	now time.Time
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{now: testStart}
	clock := func() time.Time { l.mu.Lock(); defer l.mu.Unlock(); return l.now }
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := store.Open(filepath.Join(t.TempDir(), "db"), store.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	l.s = New(Options{DB: db, Dir: filepath.Join(t.TempDir(), "logs"), Now: clock, Log: quiet})
	mux := awswire.NewMux(awswire.MuxOptions{Log: quiet, Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
		return awsauth.WithCaller(r.Context(), awsauth.Caller{Account: testScope.Account, Region: testScope.Region, Root: true}), nil
	}})
	mux.Add(l.s.API())
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { srv.Close(); db.Close() })
	l.Client = cwl.New(cwl.Options{
		Region: testScope.Region, BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}, nil
		}),
	})
	return l
}

func (l *lab) pass(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

// make makes a group and a stream and returns the stream's directory.
func (l *lab) make(t testing.TB, group, stream string) string {
	t.Helper()
	dir, err := l.s.Stream(t.Context(), testScope, group, stream, true)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// write writes events as a container's logger does, then leaves the stream.
func write(t testing.TB, dir string, events ...segment.Event) {
	t.Helper()
	w, err := segment.OpenWriter(dir, segment.WriterOptions{SegmentBytes: 4000})
	if err == nil {
		err = errors.Join(w.Append(events...), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// at is a time some ms after testStart.
func at(ms int64) time.Time { return testStart.Add(time.Duration(ms) * time.Millisecond) }

func event(ms int64, text string) segment.Event {
	return segment.Event{Time: at(ms), Ingested: at(ms), Data: []byte(text)}
}

// wantError checks an error's code and, if not empty, a part of its text.
func wantError(t testing.TB, what string, err error, code, text string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("%s = %v, want %s: %s", what, err, code, text)
	}
}

func ok[T any](out T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func TestGroups_LifeAndErrors(t *testing.T) {
	l, ctx := newLab(t), t.Context()
	name := aws.String("/ecs/hello")
	ok(l.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: name, Tags: map[string]string{"a": "1"}}))(t)
	_, err := l.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: name})
	wantError(t, "CreateLogGroup again", err, "ResourceAlreadyExistsException", "The specified log group already exists")
	_, err = l.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: aws.String("a b")})
	wantError(t, "CreateLogGroup of a bad name", err, "InvalidParameterException", "logGroupName")
	_, err = l.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: aws.String("k"), KmsKeyId: aws.String("x")})
	wantError(t, "CreateLogGroup with a key", err, "InvalidParameterException", "kmsKeyId")
	_, err = l.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: aws.String("k"), LogGroupClass: types.LogGroupClassInfrequentAccess})
	wantError(t, "CreateLogGroup of another class", err, "InvalidParameterException", "STANDARD")

	ok(l.PutRetentionPolicy(ctx, &cwl.PutRetentionPolicyInput{LogGroupName: name, RetentionInDays: aws.Int32(7)}))(t)
	_, err = l.PutRetentionPolicy(ctx, &cwl.PutRetentionPolicyInput{LogGroupName: name, RetentionInDays: aws.Int32(8)})
	wantError(t, "PutRetentionPolicy of 8 days", err, "InvalidParameterException", "retentionInDays")
	g := ok(l.DescribeLogGroups(ctx, &cwl.DescribeLogGroupsInput{}))(t).LogGroups
	want := []types.LogGroup{{
		LogGroupName: name, Arn: aws.String("arn:aws:logs:eu-central-1:123456789012:log-group:/ecs/hello:*"),
		LogGroupArn:  aws.String("arn:aws:logs:eu-central-1:123456789012:log-group:/ecs/hello"),
		CreationTime: aws.Int64(testStart.UnixMilli()), MetricFilterCount: aws.Int32(0), StoredBytes: aws.Int64(0),
		RetentionInDays: aws.Int32(7), LogGroupClass: types.LogGroupClassStandard, DeletionProtectionEnabled: aws.Bool(false),
	}}
	if d := cmp.Diff(fmt.Sprintf("%+v", deref(want[0])), fmt.Sprintf("%+v", deref(g[0]))); len(g) != 1 || d != "" {
		t.Errorf("DescribeLogGroups (-want +got):\n%s", d)
	}
	ok(l.DeleteRetentionPolicy(ctx, &cwl.DeleteRetentionPolicyInput{LogGroupName: name}))(t)
	if g := ok(l.DescribeLogGroups(ctx, &cwl.DescribeLogGroupsInput{}))(t).LogGroups; g[0].RetentionInDays != nil {
		t.Error("there is a retention after DeleteRetentionPolicy")
	}

	ok(l.PutLogGroupDeletionProtection(ctx, &cwl.PutLogGroupDeletionProtectionInput{LogGroupIdentifier: g[0].LogGroupArn, DeletionProtectionEnabled: aws.Bool(true)}))(t)
	_, err = l.DeleteLogGroup(ctx, &cwl.DeleteLogGroupInput{LogGroupName: name})
	wantError(t, "DeleteLogGroup under protection", err, "ValidationException", "protection")
	ok(l.PutLogGroupDeletionProtection(ctx, &cwl.PutLogGroupDeletionProtectionInput{LogGroupIdentifier: name, DeletionProtectionEnabled: aws.Bool(false)}))(t)
	ok(l.DeleteLogGroup(ctx, &cwl.DeleteLogGroupInput{LogGroupName: name}))(t)
	_, err = l.DeleteLogGroup(ctx, &cwl.DeleteLogGroupInput{LogGroupName: name})
	wantError(t, "DeleteLogGroup again", err, "ResourceNotFoundException", "The specified log group does not exist.")
	_, err = l.PutRetentionPolicy(ctx, &cwl.PutRetentionPolicyInput{LogGroupName: name, RetentionInDays: aws.Int32(7)})
	wantError(t, "PutRetentionPolicy of no group", err, "ResourceNotFoundException", "The specified log group does not exist.")
}

// deref shows what a struct's pointers point to.
func deref(g types.LogGroup) map[string]any {
	return map[string]any{"name": aws.ToString(g.LogGroupName), "arn": aws.ToString(g.Arn), "groupArn": aws.ToString(g.LogGroupArn),
		"created": aws.ToInt64(g.CreationTime), "filters": *g.MetricFilterCount, "bytes": *g.StoredBytes, "days": aws.ToInt32(g.RetentionInDays),
		"class": g.LogGroupClass, "protected": *g.DeletionProtectionEnabled}
}

func TestDescribeLogGroups_PrefixPatternAndPages(t *testing.T) {
	l, ctx := newLab(t), t.Context()
	for i := range 7 {
		ok(l.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: aws.String(fmt.Sprintf("/ecs/App-%d", i))}))(t)
	}
	ok(l.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: aws.String("other")}))(t)
	list := func(in cwl.DescribeLogGroupsInput) (names []string) {
		t.Helper()
		p := cwl.NewDescribeLogGroupsPaginator(l, &in)
		for p.HasMorePages() {
			out := ok(p.NextPage(ctx))(t)
			if in.Limit != nil && len(out.LogGroups) > int(*in.Limit) {
				t.Errorf("a page of %d", len(out.LogGroups))
			}
			for _, g := range out.LogGroups {
				names = append(names, *g.LogGroupName)
			}
		}
		return names
	}
	if got := list(cwl.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/ecs/"), Limit: aws.Int32(3)}); len(got) != 7 || got[6] != "/ecs/App-6" {
		t.Errorf("by prefix: %v", got)
	}
	if got := list(cwl.DescribeLogGroupsInput{LogGroupNamePattern: aws.String("app-3")}); len(got) != 1 || got[0] != "/ecs/App-3" {
		t.Errorf("by pattern: %v", got)
	}
	if got := list(cwl.DescribeLogGroupsInput{LogGroupIdentifiers: []string{"other", "/ecs/App-1", "none"}}); len(got) != 2 {
		t.Errorf("by identifiers: %v", got)
	}
	_, err := l.DescribeLogGroups(ctx, &cwl.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("a"), LogGroupNamePattern: aws.String("b")})
	wantError(t, "prefix and pattern", err, "InvalidParameterException", "mutually exclusive")
	_, err = l.DescribeLogGroups(ctx, &cwl.DescribeLogGroupsInput{Limit: aws.Int32(51)})
	wantError(t, "limit 51", err, "InvalidParameterException", "limit")
	_, err = l.DescribeLogGroups(ctx, &cwl.DescribeLogGroupsInput{NextToken: aws.String("%%")})
	wantError(t, "a bad token", err, "InvalidParameterException", "nextToken")
}

func TestStreams(t *testing.T) {
	l, ctx := newLab(t), t.Context()
	group := aws.String("g")
	_, err := l.CreateLogStream(ctx, &cwl.CreateLogStreamInput{LogGroupName: group, LogStreamName: aws.String("s")})
	wantError(t, "CreateLogStream without group", err, "ResourceNotFoundException", "The specified log group does not exist.")
	if _, err := l.s.Stream(ctx, testScope, "g", "s", false); !errors.Is(err, ErrNoGroup) || !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Stream without group = %v, want ErrNoGroup", err)
	}
	for i, ms := range []int64{300, 100, 200, -1} {
		dir := l.make(t, "g", fmt.Sprintf("web/%d", i))
		if ms >= 0 {
			write(t, dir, event(50, "first"), event(ms, "last"))
		}
	}
	_, err = l.CreateLogStream(ctx, &cwl.CreateLogStreamInput{LogGroupName: group, LogStreamName: aws.String("web/0")})
	wantError(t, "CreateLogStream again", err, "ResourceAlreadyExistsException", "The specified log stream already exists")
	_, err = l.CreateLogStream(ctx, &cwl.CreateLogStreamInput{LogGroupName: group, LogStreamName: aws.String("a:b")})
	wantError(t, "CreateLogStream of a bad name", err, "InvalidParameterException", "logStreamName")

	list := func(in cwl.DescribeLogStreamsInput) (names []string) {
		t.Helper()
		in.LogGroupName, in.Limit = group, aws.Int32(2)
		p := cwl.NewDescribeLogStreamsPaginator(l, &in)
		for p.HasMorePages() {
			for _, s := range ok(p.NextPage(ctx))(t).LogStreams {
				names = append(names, strings.TrimPrefix(*s.LogStreamName, "web/"))
			}
		}
		return names
	}
	for _, tt := range []struct {
		in   cwl.DescribeLogStreamsInput
		want string
	}{
		{cwl.DescribeLogStreamsInput{}, "0 1 2 3"},
		{cwl.DescribeLogStreamsInput{Descending: aws.Bool(true)}, "3 2 1 0"},
		{cwl.DescribeLogStreamsInput{LogStreamNamePrefix: aws.String("web/1")}, "1"},
		{cwl.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime, Descending: aws.Bool(true)}, "0 2 1 3"},
		{cwl.DescribeLogStreamsInput{OrderBy: types.OrderByLastEventTime}, "3 1 2 0"},
	} {
		if got := strings.Join(list(tt.in), " "); got != tt.want {
			t.Errorf("DescribeLogStreams(%+v) = %s, want %s", tt.in, got, tt.want)
		}
	}
	_, err = l.DescribeLogStreams(ctx, &cwl.DescribeLogStreamsInput{LogGroupName: group, OrderBy: types.OrderByLastEventTime, LogStreamNamePrefix: aws.String("w")})
	wantError(t, "by time with a prefix", err, "InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")

	s := ok(l.DescribeLogStreams(ctx, &cwl.DescribeLogStreamsInput{LogGroupIdentifier: aws.String("arn:aws:logs:eu-central-1:123456789012:log-group:g")}))(t).LogStreams
	if x := s[0]; *x.FirstEventTimestamp != at(50).UnixMilli() || *x.LastEventTimestamp != at(300).UnixMilli() || *x.LastIngestionTime != at(300).UnixMilli() ||
		*x.Arn != "arn:aws:logs:eu-central-1:123456789012:log-group:g:log-stream:web/0" {
		t.Errorf("stream %+v", deStream(x))
	}
	if s[3].FirstEventTimestamp != nil || s[3].LastEventTimestamp != nil {
		t.Errorf("a stream without events has times: %+v", deStream(s[3]))
	}
	if g := ok(l.DescribeLogGroups(ctx, &cwl.DescribeLogGroupsInput{}))(t).LogGroups; *g[0].StoredBytes < 100 {
		t.Errorf("storedBytes = %d", *g[0].StoredBytes)
	}

	ok(l.DeleteLogStream(ctx, &cwl.DeleteLogStreamInput{LogGroupName: group, LogStreamName: aws.String("web/0")}))(t)
	_, err = l.DeleteLogStream(ctx, &cwl.DeleteLogStreamInput{LogGroupName: group, LogStreamName: aws.String("web/0")})
	wantError(t, "DeleteLogStream again", err, "ResourceNotFoundException", "The specified log stream does not exist.")
	_, err = l.GetLogEvents(ctx, &cwl.GetLogEventsInput{LogGroupName: group, LogStreamName: aws.String("web/0")})
	wantError(t, "GetLogEvents of no stream", err, "ResourceNotFoundException", "The specified log stream does not exist.")
	_, err = l.FilterLogEvents(ctx, &cwl.FilterLogEventsInput{LogGroupName: aws.String("none")})
	wantError(t, "FilterLogEvents of no group", err, "ResourceNotFoundException", "The specified log group does not exist.")
}

func deStream(s types.LogStream) map[string]any {
	return map[string]any{"first": s.FirstEventTimestamp, "last": s.LastEventTimestamp, "arn": aws.ToString(s.Arn)}
}

func TestTags(t *testing.T) {
	l, ctx := newLab(t), t.Context()
	arn := aws.String("arn:aws:logs:eu-central-1:123456789012:log-group:g")
	ok(l.CreateLogGroup(ctx, &cwl.CreateLogGroupInput{LogGroupName: aws.String("g"), Tags: map[string]string{"a": "1", "b": "2"}}))(t)
	ok(l.TagResource(ctx, &cwl.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"b": "3", "c": "4"}}))(t)
	ok(l.UntagResource(ctx, &cwl.UntagResourceInput{ResourceArn: aws.String(*arn + ":*"), TagKeys: []string{"a", "x"}}))(t)
	got := ok(l.ListTagsForResource(ctx, &cwl.ListTagsForResourceInput{ResourceArn: arn}))(t).Tags
	if d := cmp.Diff(map[string]string{"b": "3", "c": "4"}, got); d != "" {
		t.Error(d)
	}
	_, err := l.TagResource(ctx, &cwl.TagResourceInput{ResourceArn: arn, Tags: map[string]string{"aws:x": "1"}})
	wantError(t, "an aws: tag", err, "InvalidParameterException", "aws:")
	_, err = l.ListTagsForResource(ctx, &cwl.ListTagsForResourceInput{ResourceArn: aws.String(*arn + "h")})
	wantError(t, "tags of no group", err, "ResourceNotFoundException", "")
	many := map[string]string{}
	for i := range 49 {
		many[fmt.Sprint(i)] = ""
	}
	_, err = l.TagResource(ctx, &cwl.TagResourceInput{ResourceArn: arn, Tags: many})
	wantError(t, "51 tags", err, "TooManyTagsException", "")
	if got := ok(l.ListTagsLogGroup(ctx, &cwl.ListTagsLogGroupInput{LogGroupName: aws.String("g")}))(t).Tags; len(got) != 2 {
		t.Errorf("ListTagsLogGroup = %v", got)
	}
}
