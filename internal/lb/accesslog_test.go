package lb

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

const logARN = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/0123456789abcdef"

// readLog returns the next entry.
func readLog(t *testing.T, c *lbconfig.Client, from *int64) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := c.AccessLog(ctx, *from)
	if err != nil || len(b.Entries) != 1 || b.Entries[0].Balancer != logARN {
		t.Fatalf("entries %+v of %s, want one: %v", b.Entries, logARN, err)
	}
	*from = b.Next
	return b.Entries[0].Line
}

// Source of the fields: ALB user guide, access log entries.
func TestAccessLog_Lines(t *testing.T) {
	r, port := newRig(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		w.Header()["Date"] = nil
		io.WriteString(w, "hello")
	}))
	s := site(port, target)
	s.Groups = append(s.Groups, groupOf("empty"))
	b := &s.Balancers[0]
	b.ARN, b.AccessLogs = logARN, true
	turn := func(kind, regex, replace string) []lbconfig.Rewrite {
		return []lbconfig.Rewrite{{Kind: kind, Regex: regex, Replace: replace}}
	}
	b.Listeners[0].Rules = append([]lbconfig.Rule{
		{ARN: "r1", Priority: 7, Conditions: paths("/away"), Action: lbconfig.Action{Type: lbconfig.RedirectTo, Redirect: lbconfig.Redirect{Host: "h", Status: 301}}},
		{ARN: "r2", Priority: 9, Conditions: paths("/fixed"), Action: lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: 200}}},
		{ARN: "r3", Priority: 11, Conditions: paths("/old"), Action: forwardTo("tg"), Rewrites: turn(lbconfig.RewriteURL, "^/old$", "/new")},
		{ARN: "r4", Priority: 12, Conditions: paths("/host"), Action: forwardTo("tg"), Rewrites: turn(lbconfig.RewriteHost, "com", "org")},
		{ARN: "r5", Priority: 13, Conditions: paths("/badhost"), Action: forwardTo("tg"), Rewrites: turn(lbconfig.RewriteHost, "com", " ")},
		{ARN: "r6", Priority: 14, Conditions: paths("/badpath"), Action: forwardTo("tg"), Rewrites: turn(lbconfig.RewriteURL, "/", " ")},
		{ARN: "r7", Priority: 15, Conditions: paths("/nobody"), Action: forwardTo("empty"), Rewrites: turn(lbconfig.RewriteURL, "nobody", "none")},
	}, b.Listeners[0].Rules...)
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	var from int64
	const when, id = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z`, `"Root=1-[0-9a-f]{8}-[0-9a-f]{24}"`
	const took = `\d+\.\d{3} \d+\.\d{3} 0\.000`
	at := regexp.QuoteMeta(target.String())
	for _, c := range []struct{ request, want string }{
		{"POST /a?b=c HTTP/1.1\r\nHost: example.com\r\nUser-Agent: a \"b\"\r\nContent-Length: 3\r\n\r\nabc",
			`http ` + when + ` app/web/0123456789abcdef 127\.0\.0\.1:\d+ ` + at + ` ` + took + ` 200 200 84 \d+ "POST http://example\.com:{port}/a\?b=c HTTP/1\.1" ` +
				`"a \\x22b\\x22" - - tg ` + id + ` "-" "-" 0 ` + when + ` "forward" "-" "-" "` + at + `" "200" "-" "-" TID_[0-9a-f]{32} "-" "-" "-"`},
		{get1("/away"), `http .* 127\.0\.0\.1:\d+ - -1 -1 -1 301 - \d+ \d+ "GET http://example\.com:{port}/away HTTP/1\.1" "-" - - - ` + id + ` "-" "-" 7 ` + when +
			` "redirect" "http://h:{port}/away" "-" "-" "-" "-" "-" TID_[0-9a-f]{32} "-" "-" "-"`},
		{get1("/fixed"), `http .* - -1 -1 -1 200 - .* 9 ` + when + ` "fixed-response" "-" "-" "-" "-" "-" "-" TID_.*`},
		{get1("/old"), `http .* "GET http://example\.com:{port}/old HTTP/1\.1" .* 11 ` + when + ` "forward" .* "-" "/new" "TransformSuccess"`},
		{get1("/host"), `http .* 12 .* "example\.org" "-" "TransformSuccess"`},
		{get1("/badhost"), `http .* - -1 -1 -1 500 - .* - ` + id + ` "-" "-" 13 .* "-" "-" "TransformInvalidHost"`},
		{get1("/badpath"), `http .* - -1 -1 -1 500 - .* 14 .* "-" "-" "TransformInvalidPath"`},
		{get1("/nobody", "User-Agent: "+strings.Repeat("a", 9<<10)), `http .* - -1 -1 -1 503 - \d+ \d+ "GET [^"]*" "` + strings.Repeat("a", 8<<10) + `" - - empty ` + id + ` "-" "-" 15 ` + when +
			` "forward" "-" "-" "-" "-" .* "-" "/none" "TransformSuccess"`},
		{get1("/a", "X: \x01"), `http .* 200 200 .* "Acceptable" "NonCompliantHeader" TID_.*`},
		{"nonsense\r\n\r\n", `http .* - -1 -1 -1 400 - 12 \d+ "- http://lb-1\.elb\.localhost:{port}- -" "-" - - - "-" "-" "-" - ` + when + ` "-" "-" .*`},
	} {
		raw(t, local(port), c.request)
		want := regexp.MustCompile("^" + strings.ReplaceAll(c.want, "{port}", fmt.Sprint(port)) + "$")
		if got := readLog(t, r.client, &from); !want.MatchString(got) {
			t.Errorf("after %q the log says\n%s\nwant\n%s", c.request, got, want)
		}
	}

	// Of a head that stays away nothing is known.
	late, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	b.IdleTimeout = 100 * time.Millisecond
	r.put(s)
	io.WriteString(late, "GET / HTTP/1.1\r\nHost:")
	if resp, _ := readAnswer(t, bufio.NewReader(late)); resp.StatusCode != 408 {
		t.Errorf("%d, want 408", resp.StatusCode)
	}
	want := fmt.Sprintf(`- -1 -1 -1 408 - 0 %d "- http://lb-1.elb.localhost:%d- -" "-" - - - "-" "-" "-" - `, len(rawReply(408)), port)
	if got := readLog(t, r.client, &from); !strings.Contains(got, want) {
		t.Errorf("a head that stays away: %s, want %s", got, want)
	}
	if n := metered(t, r.client, logARN, "")["HTTPCode_ELB_4XX_Count"]; n != 2 { // and nonsense
		t.Errorf("HTTPCode_ELB_4XX_Count = %d, want 2", n)
	}
	b.IdleTimeout = 0
	r.put(s)

	// A client that leaves while the target works is logged as 460.
	h := newHolder(t)
	s.Groups[0] = groupOf("tg", h.addr)
	r.put(s)
	r.wait("tg", h.addr, lbconfig.Healthy)
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, get1("/held"))
	<-h.arrived
	c.Close()
	if got := readLog(t, r.client, &from); !strings.Contains(got, " 460 - ") {
		t.Errorf("a client that left: %s", got)
	}
}

func TestAccessLog_OnlyWhereItIsOn(t *testing.T) {
	r, port := newRig(t), freePort(t)
	r.put(site(port))
	raw(t, local(port), get1("/"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if b, err := r.client.AccessLog(ctx, 0); err == nil {
		t.Errorf("logged: %+v", b)
	}
}

// Nobody waits for who does not read, and nothing grows.
func TestAccessLog_IsBounded(t *testing.T) {
	l := newAccessLog()
	entry := append(bytes.Repeat([]byte("x"), 1023), '\n')
	const n = maxLogBytes/1024 + 100
	for range n {
		l.add(entry)
	}
	blocks, next, lost := l.after(0)
	kept := int64(bytes.Count(bytes.Join(blocks, nil), []byte("\n")))
	if kept+lost != n || lost < 100 || lost > 100+logBlockLen/1024 {
		t.Errorf("%d entries, %d lost, of %d", kept, lost, n)
	}
	for range 100 {
		l.add(bytes.Repeat([]byte("x"), 1<<20))
	}
	if l.size > maxLogBytes {
		t.Errorf("%d bytes kept", l.size)
	}
	_, next, _ = l.after(next)
	if again, _, _ := l.after(next); len(again) != 0 || len(l.blocks) != 0 || l.size != 0 {
		t.Errorf("%d blocks after they were read, %d bytes", len(again), l.size)
	}
}

// However it is asked for, each entry comes once and in its turn.
func TestAccessLog_EachEntryOnce(t *testing.T) {
	l, rnd := newAccessLog(), rand.New(rand.NewPCG(3, 4))
	added, read, from := 0, 0, int64(0)
	for added < 5000 {
		for range rnd.IntN(400) {
			l.add(fmt.Appendf(nil, "%d %s\n", added, strings.Repeat("x", rnd.IntN(600))))
			added++
		}
		blocks, next, lost := l.after(from)
		if lost != 0 {
			t.Fatalf("%d lost", lost)
		}
		for line := range bytes.Lines(bytes.Join(blocks, nil)) {
			if got, _, _ := bytes.Cut(line, []byte(" ")); string(got) != fmt.Sprint(read) {
				t.Fatalf("entry %s, want %d", got, read)
			}
			read++
		}
		from = next
	}
	if read != added {
		t.Errorf("%d of %d entries were read", read, added)
	}
}

func TestAppendStamp(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		at := time.Unix(rnd.Int64N(4e9), rnd.Int64N(1e9)).In(time.FixedZone("X", rnd.IntN(86400)-43200))
		for range 2 {
			if got, want := string(appendStamp(nil, at)), at.UTC().Format("2006-01-02T15:04:05.000000Z"); got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
	}
	for d, want := range map[time.Duration]string{0: "0.000", -time.Second: "0.000", 1499 * time.Microsecond: "0.001", 1500 * time.Microsecond: "0.002", time.Minute + 45*time.Millisecond: "60.045"} {
		if got := string(appendSeconds(nil, d)); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

// A line costs the time to write it, and nothing that has to be collected but its block.
func TestAccessLog_AllocatesLittle(t *testing.T) {
	needsPools(t)
	m := &member{group: newGroup("tg")}
	x := &exchange{conn: &clientConn{from: "127.0.0.1", peerPort: 5, id: "TID_1"}, entry: &entry{port: 80}, arrival: &arrival{}, listener: &listener{balancer: &lbconfig.Balancer{ARN: logARN}},
		rule: &rule{act: action{Action: lbconfig.Action{Type: lbconfig.Forward}}}, up: &upstream{host: "10.0.0.1:80"}, started: time.Now(), answered: 200, status: 200, trace: "Root=1-2-3",
		request: newRequest(parse(t, get1("/a?b=c", "User-Agent: me")))}
	x.member.Store(m)
	l := newAccessLog()
	if n := testing.AllocsPerRun(1000, func() { l.exchange(x, 0) }); n > 0.5 {
		t.Errorf("%v allocations", n)
	}
}
