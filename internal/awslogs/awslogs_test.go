package awslogs

import (
	"regexp"
	"strings"
	"testing"
)

func options(kv ...string) map[string]string {
	m := map[string]string{"awslogs-group": "g", "awslogs-stream-prefix": "p", "awslogs-region": "r"}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

func TestParse(t *testing.T) {
	o, err := Parse(options("mode", "non-blocking", "max-buffer-size", "25m", "awslogs-create-group", "true", "awslogs-multiline-pattern", `^\d{4}`))
	want := Options{Group: "g", Region: "r", StreamPrefix: "p", CreateGroup: true, Multiline: `^\d{4}`, Mode: NonBlocking, MaxBuffer: 25 << 20}
	if err != nil || o != want {
		t.Errorf("Parse = %+v, %v, want %+v", o, err, want)
	}
	for _, c := range []struct {
		want string
		kv   []string
	}{
		{"awslogs-group", []string{"awslogs-group", ""}},
		{"awslogs-stream-prefix", []string{"awslogs-stream-prefix", ""}},
		{"true or false", []string{"awslogs-create-group", "yes"}},
		{"together", []string{"awslogs-multiline-pattern", "a", "awslogs-datetime-format", "%Y"}},
		{"RE2", []string{"awslogs-multiline-pattern", "(?=a)"}},
		{"RE2", []string{"awslogs-multiline-pattern", ""}},
		{"RE2", []string{"awslogs-datetime-format", `\[(%Y`}},
		{"verb", []string{"awslogs-datetime-format", "%Q"}},
		{"verb", []string{"awslogs-datetime-format", "%"}},
		{"blocking or non-blocking", []string{"mode", "fast"}},
		{"max-buffer-size", []string{"max-buffer-size", "0"}},
		{"max-buffer-size", []string{"max-buffer-size", "2g"}},
		{"max-buffer-size", []string{"max-buffer-size", "much"}},
		{"non-blocking", []string{"mode", "blocking", "max-buffer-size", "2m"}},
		{"tag", []string{"tag", "x"}},
	} {
		if _, err := Parse(options(c.kv...)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.kv, err, c.want)
		}
	}
}

func TestDatetime(t *testing.T) {
	for _, c := range []struct{ format, yes, no string }{
		{"%Y-%m-%d %H:%M:%S%L", "2026-11-23 06:42:02.123 began", "2026-13-23 06:42:02.123"},
		{`\[%b %d, %Y %H:%M:%S\]`, "[May 01, 2017 19:00:01] A message", "[Mai 01, 2017 19:00:01]"},
		{"%A %j %p%z 100%%", "Saturday 366 PM+0100 100%", "Saturday 367 PM+0100 100%"},
		{`^%I\.%f %a %Z`, "09.123456 Tue CEST", "09.12345 Tue CEST"},
	} {
		o, err := Parse(options("awslogs-datetime-format", c.format))
		if err != nil {
			t.Error(err)
			continue
		}
		re := regexp.MustCompile(o.Multiline)
		if !re.MatchString(c.yes) || re.MatchString(c.no) {
			t.Errorf("%s is %s: %q is %v, %q is %v", c.format, re, c.yes, re.MatchString(c.yes), c.no, re.MatchString(c.no))
		}
	}
}
