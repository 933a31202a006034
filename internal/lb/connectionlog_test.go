package lb

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
)

// Source of the fields: ALB user guide, connection log entries; Athena user guide, create the table for ALB connection logs.
func TestConnectionLog_Lines(t *testing.T) {
	r, plain, secured := newRig(t), freePort(t), freePort(t)
	pair := newTestPair(t, nil, "a.example.com")
	s := secure(site(secured), pair.sealed(t, r.dir, "cert"))
	b := &s.Balancers[0]
	b.ARN, b.ConnectionLogs = logARN, true
	b.Listeners = append(b.Listeners, site(plain).Balancers[0].Listeners[0])
	l := &b.Listeners[1]
	l.ARN = "plain"
	l.Rules[len(l.Rules)-1].ARN = "plain default"
	r.put(s)
	var from int64
	const when = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z`
	logged := func(what string, port uint16, want string) string {
		t.Helper()
		got := readLog(t, r.client, &from)
		if !regexp.MustCompile(fmt.Sprintf(`^%s 127\.0\.0\.1 \d+ %d %s TID_[0-9a-f]{32}$`, when, port, want)).MatchString(got) {
			t.Errorf("%s: the log says\n%s\nwant … %s …", what, got, want)
		}
		return got[strings.LastIndexByte(got, ' ')+1:]
	}

	raw(t, local(plain), get1("/"))
	logged("without TLS", plain, `- - - "-" - - -`)
	for version, want := range map[uint16]string{
		tls.VersionTLS12: `TLSv1\.2 ECDHE-ECDSA-AES128-GCM-SHA256 \d+\.\d{3} "-" - - Success`,
		tls.VersionTLS13: `TLSv1\.3 TLS_AES_\d+_GCM_SHA\d+ \d+\.\d{3} "-" - - Success`,
	} {
		c, err := tls.Dial("tcp", local(secured), &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		logged(tls.VersionName(version), secured, want)
	}
	if _, err := tls.Dial("tcp", local(secured), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Fatal("TLS 1.1 was taken")
	}
	logged("a version that isn't spoken", secured, `- - - "-" - - Failed:UnmappedConnectionError`)

	// Requests of a connection carry its id in the access log; it is logged once for all of them.
	b.AccessLogs = true
	r.put(s)
	c, err := net.Dial("tcp", local(plain))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := logged("a kept connection", plain, `- - - "-" - - -`)
	for range 2 {
		if _, err := io.WriteString(c, get1("/")); err != nil {
			t.Fatal(err)
		}
		if got := readLog(t, r.client, &from); !strings.Contains(got, " "+id+" ") {
			t.Errorf("the request's entry lacks the connection's id %s: %s", id, got)
		}
	}
}

func TestConnectionLog_OnlyWhereItIsOn(t *testing.T) {
	r, port := newRig(t), freePort(t)
	s := site(port)
	s.Balancers[0].ARN, s.Balancers[0].AccessLogs = logARN, true
	r.put(s)
	raw(t, local(port), get1("/"))
	b, err := r.client.AccessLog(t.Context(), 0)
	if err != nil || len(b.Entries) != 1 || b.Entries[0].Connection {
		t.Errorf("logged: %+v, %v, want the request alone", b.Entries, err)
	}
}
