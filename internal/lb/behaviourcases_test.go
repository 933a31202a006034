package lb

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

func allBehaviours() (out []behaviour) {
	for _, list := range [][]behaviour{methodCases(), forwardedCases(), traceCases(), hostCases(), fieldCases(), limitCases(),
		desyncCases(), bodyCases(), conditionCases(), actionCases(), failureCases()} {
		out = append(out, list...)
	}
	return out
}

// getOf is a GET of path with more fields.
func getOf(path string, fields ...string) string { return requestOf("GET", path, "", fields...) }

func requestOf(method, path, body string, fields ...string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: example.com\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n" + body
}

func methodCases() (out []behaviour) {
	for _, m := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE", "PROPFIND", "M-SEARCH"} {
		out = append(out, behaviour{name: "method " + m, source: trouble, request: requestOf(m, "/m", ""), status: 200, target: []string{m + " /m HTTP/1.1"}})
	}
	return append(out,
		behaviour{name: "method HEAD", source: trouble, request: requestOf("HEAD", "/m", ""), status: 200},
		behaviour{name: "method TRACE", source: trouble, request: requestOf("TRACE", "/m", ""), status: 405, body: page(405)},
		behaviour{name: "method CONNECT", source: trouble, request: "CONNECT example.com:80 HTTP/1.1\r\nHost: example.com\r\n\r\n", status: 400, body: page(400)},
		behaviour{name: "method of no token", source: desync, request: "GE(T / HTTP/1.1\r\nHost: x\r\n\r\n", status: 400, body: page(400), closes: true},
		behaviour{name: "method in small letters", source: trouble, request: requestOf("get", "/m", ""), status: 200, target: []string{"get /m HTTP/1.1"}},
		behaviour{name: "OPTIONS *", source: messages + ", 3.2.4", request: requestOf("OPTIONS", "*", ""), status: 200, target: []string{"OPTIONS * HTTP/1.1"}},
	)
}

func forwardedCases() []behaviour {
	f := func(name, at, in string, want ...string) behaviour {
		var fields []string
		if in != "" {
			fields = strings.Split(in, "\n")
		}
		return behaviour{name: "forwarded: " + name, source: forwarded, at: at, request: getOf("/f", fields...), status: 200, target: want}
	}
	return []behaviour{
		f("appended to nothing", "", "", "X-Forwarded-For: 127.0.0.1"),
		f("appended", "", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 1.2.3.4, 127.0.0.1"),
		f("appended to a list", "", "X-Forwarded-For: 1.2.3.4, 5.6.7.8", "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 127.0.0.1"),
		f("two fields become one", "", "X-Forwarded-For: 1.2.3.4\nX-Forwarded-For: 5.6.7.8", "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 127.0.0.1"),
		f("in small letters", "", "x-forwarded-for: 1.2.3.4", "X-Forwarded-For: 1.2.3.4, 127.0.0.1"),
		f("what is no address is kept", "", "X-Forwarded-For: unknown", "X-Forwarded-For: unknown, 127.0.0.1"),
		f("protocol is overwritten", "", "X-Forwarded-Proto: https", "X-Forwarded-Proto: http", "!X-Forwarded-Proto: https"),
		f("port is overwritten", "", "X-Forwarded-Port: 99", "X-Forwarded-Port: {port}"),
		f("host is left alone", "", "X-Forwarded-Host: other", "X-Forwarded-Host: other"),
		f("host is not added", "", "", "!X-Forwarded-Host"),
		f("Forwarded is left alone", "", "Forwarded: for=1.2.3.4", "Forwarded: for=1.2.3.4"),
		f("preserved", "preserve", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 1.2.3.4"),
		f("preserved in two fields", "preserve", "X-Forwarded-For: 1.2.3.4\nX-Forwarded-For: 5.6.7.8", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 5.6.7.8"),
		f("nothing to preserve", "preserve", "", "!X-Forwarded-For", "X-Forwarded-Proto: http", "X-Forwarded-Port: {port}"),
		f("removed", "remove", "X-Forwarded-For: 1.2.3.4", "!X-Forwarded-For", "X-Forwarded-Proto: http"),
		f("nothing to remove", "remove", "", "!X-Forwarded-For"),
		f("with the client's port", "client-port", "", `~X-Forwarded-For: 127\.0\.0\.1:\d+`),
		f("appended with the port", "client-port", "X-Forwarded-For: 1.2.3.4", `~X-Forwarded-For: 1\.2\.3\.4, 127\.0\.0\.1:\d+`),
		f("30 addresses", "", "X-Forwarded-For: "+strings.Repeat("1.1.1.1, ", 29)+"1.1.1.1", "X-Forwarded-For: "+strings.Repeat("1.1.1.1, ", 30)+"127.0.0.1"),
		{name: "forwarded: 31 addresses", source: trouble + " (463)", request: getOf("/", "X-Forwarded-For: "+strings.Repeat("1.1.1.1, ", 30)+"1.1.1.1"), status: 463},
		{name: "forwarded: 31 addresses in two fields", source: trouble + " (463)", request: getOf("/", "X-Forwarded-For: "+strings.Repeat("1.1.1.1, ", 14)+"1.1.1.1",
			"X-Forwarded-For: "+strings.Repeat("1.1.1.1, ", 15)+"1.1.1.1"), status: 463},
	}
}

func traceCases() []behaviour {
	const id = "1-[0-9a-f]{8}-[0-9a-f]{24}"
	f := func(name, in, want string) behaviour {
		b := behaviour{name: "trace: " + name, source: tracing, request: getOf("/t"), status: 200, client: []string{"!X-Amzn-Trace-Id"}, target: []string{"~X-Amzn-Trace-Id: " + want}}
		if in != "" {
			b.request = getOf("/t", "X-Amzn-Trace-Id: "+in)
		}
		return b
	}
	return []behaviour{
		f("begun", "", "Root="+id),
		f("root is kept, self added", "Root=1-67891233-abcdef012345678912345678", "Self="+id+";Root=1-67891233-abcdef012345678912345678"),
		f("self is replaced", "Self=1-67891234-12456789abcdef012345678;Root=1-67891233-abcdef012345678912345678", "Self="+id+";Root=1-67891233-abcdef012345678912345678"),
		f("other fields stay", "Root=1-67891233-abcdef012345678912345678;CalledFrom=app", "Self="+id+";Root=1-67891233-abcdef012345678912345678;CalledFrom=app"),
		f("without root", "CalledFrom=app", "Root="+id+";CalledFrom=app"),
		f("self without root", "Self=1-67891234-12456789abcdef012345678", "Root="+id),
		f("too long", "Root=1-67891233-abcdef012345678912345678;A="+strings.Repeat("a", 7<<10), "Root="+id),
	}
}

func hostCases() []behaviour {
	f := func(name, at, host, want string) behaviour {
		return behaviour{name: "host: " + name, source: hostHeader, at: at, request: "GET /h HTTP/1.1\r\nHost: " + host + "\r\n\r\n", status: 200, target: []string{"Host: " + want}}
	}
	bad := func(name, fields string) behaviour {
		return behaviour{name: "host: " + name, source: messages + ", 3.2", request: "GET / HTTP/1.1\r\n" + fields + "\r\n", status: 400, body: page(400), closes: true}
	}
	return []behaviour{
		f("gets the port", "", "example.com", "example.com:{port}"),
		f("has the port", "", "example.com:{port}", "example.com:{port}"),
		f("has another port", "", "example.com:99", "example.com:99"),
		f("in small letters", "", "Example.COM:99", "example.com:99"),
		f("preserved", "own-host", "Example.COM", "Example.COM"),
		f("preserved with a port", "own-host", "example.com:80", "example.com:80"),
		{name: "host: that of an absolute target wins", source: messages + ", 3.2.2", request: "GET http://other.com:99/a?b HTTP/1.1\r\nHost: example.com\r\n\r\n", status: 200,
			target: []string{"GET /a?b HTTP/1.1", "Host: other.com:99", "!Host: example"}},
		{name: "host: absolute target without a path", source: messages + ", 3.2.2", request: "GET http://other.com:99 HTTP/1.1\r\nHost: example.com\r\n\r\n", status: 200,
			target: []string{"GET / HTTP/1.1", "Host: other.com:99"}},
		{name: "host: none in version 1.0", source: hostHeader, request: "GET / HTTP/1.0\r\n\r\n", status: 200, target: []string{"Host: lb-1.elb.localhost:{port}"}, closes: true},
		bad("none", ""), bad("two", "Host: a\r\nHost: b\r\n"), bad("twice the same", "Host: a\r\nHost: a\r\n"), bad("with a space", "Host: a b\r\n"),
		bad("with a slash", "Host: a/b\r\n"), bad("with a name", "Host: user@a\r\n"),
	}
}

func fieldCases() []behaviour {
	f := func(name, source string, fields []string, want ...string) behaviour {
		return behaviour{name: "fields: " + name, source: source, request: getOf("/x", fields...), status: 200, target: want}
	}
	out := []behaviour{
		f("names as written", unmodifiedBy, []string{"x-small: 1", "X-BIG: 2", "X-Usual: 3"}, "x-small: 1", "X-BIG: 2", "X-Usual: 3"),
		f("values as written", unmodifiedBy, []string{"X-A: a  b;c=\"d\""}, "X-A: a  b;c=\"d\""),
		f("empty value", unmodifiedBy, []string{"X-A:"}, "X-A: "),
		f("twice", unmodifiedBy, []string{"X-A: 1", "X-A: 2"}, "X-A: 1", "X-A: 2"),
		f("underscore", attributes, []string{"X_A: 1"}, "X_A: 1"),
		f("beyond ASCII", desync, []string{"X-A: grün"}, "X-A: grün"),
		f("User-Agent is not made up", unmodifiedBy, nil, "!User-Agent"),
		f("Accept-Encoding is not made up", unmodifiedBy, nil, "!Accept-Encoding"),
		f("User-Agent", unmodifiedBy, []string{"User-Agent: curl/8"}, "User-Agent: curl/8"),
		f("cookies", unmodifiedBy, []string{"Cookie: a=b; c=d"}, "Cookie: a=b; c=d"),
		f("authorization", unmodifiedBy, []string{"Authorization: Basic eDp5"}, "Authorization: Basic eDp5"),
		f("Connection ends here", connections, []string{"Connection: keep-alive, X-Hop", "X-Hop: 1"}, "!Connection", "!X-Hop"),
		f("no tunnel for HTTP/2", connections, []string{"Upgrade: H2C", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}, "!Upgrade", "!Connection", "!HTTP2-Settings"),
		f("Upgrade without Connection", connections, []string{"Upgrade: websocket"}, "!Upgrade"),
		{name: "fields: client closes", source: connections, request: getOf("/", "Connection: close"), status: 200, target: []string{"!Connection"}, closes: true},
		{name: "fields: version 1.0 closes", source: messages + ", 9.3", request: "GET / HTTP/1.0\r\nHost: x\r\n\r\n", status: 200, closes: true, target: []string{"GET / HTTP/1.1"}},
		{name: "fields: version 1.0 keeps alive", source: messages + ", 9.3", request: "GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", status: 200},
		{name: "fields: life of the connection is over", source: attributes + " (client_keep_alive.seconds)", at: "short-life", request: getOf("/"), status: 200, closes: true},
		{name: "fields: Expect is answered here", source: messages + "; RFC 9110, 10.1.1", request: requestOf("POST", "/", "", "Expect: 100-continue", "Content-Length: 0"), status: 200, target: []string{"!Expect"}},
	}
	for _, name := range []string{"Keep-Alive", "Proxy-Connection", "TE", "Proxy-Authenticate"} {
		out = append(out, f(name+" ends here", connections, []string{name + ": x"}, "!"+name))
	}
	for name, keeps := range map[string]bool{"X-A1": true, "X_A": false, "X.A": false, "X!A": false, "x-small": true} {
		want := name + ": 1"
		if !keeps {
			want = "!" + name
		}
		out = append(out, behaviour{name: "fields: dropping invalid ones, " + name, at: "drop", source: attributes + " (routing.http.drop_invalid_header_fields.enabled)",
			request: getOf("/x", name+": 1"), status: 200, target: []string{want}})
	}
	return out
}

func limitCases() []behaviour {
	a := func(n int) string { return strings.Repeat("a", n) }
	return []behaviour{
		{name: "limits: request line below 16 K", source: quotas, request: getOf("/" + a(16<<10-100)), status: 200},
		{name: "limits: request line above 16 K", source: quotas, request: getOf("/" + a(16<<10)), status: 414, body: page(414), closes: true},
		{name: "limits: query above 16 K", source: trouble + " (414)", request: getOf("/?" + a(16<<10)), status: 414, body: page(414), closes: true},
		{name: "limits: request line far above 16 K", source: quotas, request: getOf("/" + a(100<<10)), status: 414, body: page(414), closes: true},
		{name: "limits: field below 16 K", source: quotas, request: getOf("/", "X-A: "+a(16<<10-100)), status: 200},
		{name: "limits: field above 16 K", source: quotas, request: getOf("/", "X-A: "+a(16<<10)), status: 400, body: page(400), closes: true},
		{name: "limits: fields below 64 K", source: quotas, request: getOf("/", strings.Repeat("X-A: "+a(8000)+"\r\n", 7)+"Y: 1"), status: 200},
		{name: "limits: fields above 64 K", source: quotas, request: getOf("/", strings.Repeat("X-A: "+a(8000)+"\r\n", 9)+"Y: 1"), status: 400, body: page(400), closes: true},
		{name: "limits: thousands of fields", source: quotas, request: getOf("/", strings.Repeat("A: 1\r\n", 20000)+"Y: 1"), status: 400, body: page(400), closes: true},
	}
}

// desyncCases are requests of each class and reason, in each mode.
func desyncCases() (out []behaviour) {
	for _, c := range []struct {
		reason  string
		class   class
		request string
		monitor int // status; 0 is 200
	}{
		{"Compliant", compliant, requestOf("POST", "/d", "abc", "Content-Length: 3"), 0},
		{"Compliant, chunked", compliant, requestOf("POST", "/d", "3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), 0},
		{"NonCompliantHeader", acceptable, getOf("/d", "X-A: \x01"), 0},
		{"NonCompliantHeader, beyond ASCII", acceptable, getOf("/d", "X-A: ü"), 0},
		{"SpaceInUri", acceptable, getOf("/a b"), 0},
		{"NonCompliantVersion", acceptable, "GET / HTTP/1.5\r\nHost: x\r\n\r\n", 0},
		{"NonCompliantVersion, spaces", acceptable, "GET /  HTTP/1.1 \r\nHost: x\r\n\r\n", 0},
		{"GetHeadZeroContentLength", acceptable, getOf("/d", "Content-Length: 0"), 0},
		{"NonCrLfLineTermination", acceptable, "GET / HTTP/1.1\nHost: x\n\n", 0},
		{"EmptyHeader", ambiguous, getOf("/d", ": 1"), 0},
		{"EmptyHeader, line of spaces", ambiguous, getOf("/d", "   "), 0},
		{"AmbiguousUri", ambiguous, getOf("/\x01"), 0},
		{"UndefinedContentLengthSemantics", ambiguous, requestOf("GET", "/d", "abc", "Content-Length: 3"), 0},
		{"UndefinedTransferEncodingSemantics", ambiguous, requestOf("GET", "/d", "0\r\n\r\n", "Transfer-Encoding: chunked"), 0},
		{"DuplicateContentLength", ambiguous, requestOf("POST", "/d", "abc", "Content-Length: 3", "Content-Length: 3"), 0},
		{"DuplicateContentLength, in a list", ambiguous, requestOf("POST", "/d", "abc", "Content-Length: 3, 3"), 0},
		{"BothTeClPresent", ambiguous, requestOf("POST", "/d", "0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"), 0},
		{"SuspiciousHeader", ambiguous, requestOf("POST", "/d", "", "Transfer_Encoding: chunked"), 0},
		{"SuspiciousHeader, space", ambiguous, requestOf("POST", "/d", "", "Transfer-Encoding : chunked"), 0},
		{"SuspiciousHeader, look-alike", ambiguous, requestOf("POST", "/d", "", "Transfer-Encodıng: chunked"), 0},
		{"MultilineHeader", ambiguous, getOf("/d", "X-A: 1\r\n 2"), 0},
		{"SuspiciousTeClPresent", severe, requestOf("POST", "/d", "abc", "Content-Length: 3", "Transfer_Encoding: chunked"), 0},
		{"MultipleTransferEncodingChunked", severe, requestOf("POST", "/d", "0\r\n\r\n", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 0},
		{"BadHeader, NUL", severe, getOf("/d", "X-A: a\x00b"), 0},
		{"BadHeader, CR", severe, getOf("/d", "X-A: a\rb"), 0},
		// These can't be routed in any mode: nobody knows what they ask, or where they end.
		{"BadUri", severe, getOf("/\x00"), 400},
		{"BadUri, CR", severe, getOf("/\ra"), 400},
		{"BadVersion", severe, "GET / HTTQ/1.1\r\nHost: x\r\n\r\n", 400},
		{"BadMethod", severe, "G\x01T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		{"MultipleContentLength", severe, requestOf("POST", "/d", "abcd", "Content-Length: 3", "Content-Length: 4"), 400},
		{"BadContentLength", severe, requestOf("POST", "/d", "abc", "Content-Length: 3x"), 400},
		{"BadContentLength, signed", severe, requestOf("POST", "/d", "abc", "Content-Length: +3"), 400},
		{"BadContentLength, negative", severe, requestOf("POST", "/d", "abc", "Content-Length: -3"), 400},
		{"BadContentLength, too large", severe, requestOf("POST", "/d", "abc", "Content-Length: 99999999999999999999"), 400},
		{"BadTransferEncoding", severe, requestOf("POST", "/d", "0\r\n\r\n", "Transfer-Encoding: \x0bchunked"), 400},
	} {
		for _, mode := range []string{lbconfig.Monitor, lbconfig.Defensive, lbconfig.Strictest} {
			b := behaviour{name: mode + ": " + c.reason, source: desync, at: mode, request: c.request, status: 200}
			if mode == lbconfig.Defensive {
				b.at = "plain"
			}
			if v := (verdict{class: c.class}); v.blocked(mode) {
				b.status, b.body = 400, page(400)
			} else if mode == lbconfig.Monitor && c.monitor != 0 {
				b.status, b.body = c.monitor, page(c.monitor)
			}
			b.closes = c.class >= ambiguous && mode != lbconfig.Monitor || b.status == 400 && c.monitor != 0
			if mode == lbconfig.Strictest && c.class == acceptable {
				b.closes = true // whatever is blocked ends its connection
			}
			out = append(out, b)
		}
	}
	return out
}

func bodyCases() []behaviour {
	chunked := []string{"Transfer-Encoding: chunked"}
	post := func(name, source, body string, fields []string, want string) behaviour {
		return behaviour{name: "body: " + name, source: source, request: requestOf("POST", "/b", body, fields...), status: 200, target: []string{want}}
	}
	bad := func(name, body string) behaviour {
		return behaviour{name: "body: " + name, source: trouble + " (400)", request: requestOf("POST", "/b", body, chunked...), status: 400, body: page(400), closes: true}
	}
	only := func(b behaviour, lines ...string) behaviour { b.target = append(b.target, lines...); return b }
	return []behaviour{
		post("of a length", messages+", 6.2", "abc", []string{"Content-Length: 3"}, "abc"),
		post("chunked", messages+", 7.1", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", chunked, "abcde"),
		post("extensions are taken off", messages+", 7.1.1", "3;a=b\r\nabc\r\n0\r\n\r\n", chunked, "abc"),
		post("leading zeros", messages+", 7.1", "0003\r\nabc\r\n0\r\n\r\n", chunked, "abc"),
		post("sizes in capitals", messages+", 7.1", "A\r\n0123456789\r\n0\r\n\r\n", chunked, "0123456789"),
		post("identity", trouble+" (501)", "abc", []string{"Transfer-Encoding: identity", "Content-Length: 3"}, "abc"),
		only(post("chunked wins over a length", messages+", 6.3", "3\r\nabc\r\n0\r\n\r\n", []string{"Content-Length: 13", "Transfer-Encoding: chunked"}, "abc"), "Transfer-Encoding: chunked", "!Content-Length").closing(),
		only(post("length in a list", messages+", 6.3", "abc", []string{"Content-Length: 3, 3"}, "abc"), "Content-Length: 3").closing(),
		{name: "body: coding of another kind", source: trouble + " (501)", request: requestOf("POST", "/", "", "Transfer-Encoding: gzip"), status: 501, body: page(501), closes: true},
		{name: "body: codings of two kinds", source: trouble + " (501)", request: requestOf("POST", "/", "", "Transfer-Encoding: gzip, chunked"), status: 501, body: page(501), closes: true},
		only(post("expectation of another kind", "RFC 9110, 10.1.1", "abc", []string{"Content-Length: 3", "Expect: much"}, "abc"), "!Expect"),
		{name: "body: expectation of HTTP/1.0", source: "RFC 9110, 10.1.1", request: "POST /b HTTP/1.0\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", status: 200, target: []string{"abc", "!Expect"}, closes: true},
		bad("size of no number", "zz\r\nabc\r\n0\r\n\r\n"), bad("size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"), bad("signed size", "+3\r\nabc\r\n0\r\n\r\n"),
		bad("size with LF alone", "3\nabc\r\n0\r\n\r\n"), bad("data without an end", "3\r\nabcd\r\n0\r\n\r\n"), bad("data with LF alone", "3\r\nabc\n0\r\n\r\n"),
		bad("size too large", "fffffffffffffffff\r\nabc"), bad("space behind the size", "3 \r\nabc\r\n0\r\n\r\n"),
		bad("CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"), bad("LF in an extension", "3;a\nabc\r\n0\r\n\r\n"), bad("line too long", "3;"+strings.Repeat("a", 17<<10)+"\r\nabc\r\n0\r\n\r\n"),
	}
}

// closing says that the connection ends with the answer.
func (c behaviour) closing() behaviour { c.closes = true; return c }

func failureCases() (out []behaviour) {
	for i, c := range targetFailures {
		b := behaviour{name: "target: " + c.name, source: trouble, request: getOf(fmt.Sprintf("/answer/%d", i)), status: c.status}
		if c.status == 502 {
			b.body = page(502)
		}
		out = append(out, b)
	}
	for path, status := range map[string]int{"/empty": 503, "/gone": 502, "/weightless": 503} {
		out = append(out, behaviour{name: "target: " + path, source: groupHealth, at: "groups", request: getOf(path), status: status, body: page(status),
			client: []string{"Server: awselb/2.0", "Content-Type: text/html", fmt.Sprintf("Content-Length: %d", len(page(status)))}})
	}
	return append(out,
		behaviour{name: "target: sticky group", source: stickiness, at: "groups", request: getOf("/sticky"), status: 200,
			client: []string{"~Set-Cookie: AWSALBTG=.*; Expires=.*; Path=/", "~Set-Cookie: AWSALBTGCORS=.*; Expires=.*; Path=/; SameSite=None; Secure"}},
		behaviour{name: "request: nonsense", source: trouble + " (400)", request: "hello\r\n\r\n", status: 400, body: page(400), closes: true},
		behaviour{name: "request: no colon", source: trouble + " (400)", request: getOf("/", "hello"), status: 400, body: page(400), closes: true},
		behaviour{name: "request: version 2.0", source: trouble + " (505)", request: "GET / HTTP/2.0\r\nHost: x\r\n\r\n", status: 505, body: page(505), closes: true},
		behaviour{name: "request: version 3.0", source: trouble + " (505)", request: "GET / HTTP/3.0\r\nHost: x\r\n\r\n", status: 505, body: page(505), closes: true},
		behaviour{name: "request: target without a slash", source: trouble + " (400)", request: "GET a HTTP/1.1\r\nHost: x\r\n\r\n", status: 400, body: page(400), closes: true},
		behaviour{name: "request: after empty lines", source: messages + ", 2.2", request: "\r\n\r\n" + getOf("/e"), status: 200, target: []string{"GET /e HTTP/1.1"}},
		behaviour{name: "request: query as written", source: unmodifiedBy, request: getOf("/a%2Fb//c?x=1&y;z=%zz"), status: 200, target: []string{"GET /a%2Fb//c?x=1&y;z=%zz HTTP/1.1"}},
		behaviour{name: "request: escapes that are none", source: unmodifiedBy, request: getOf("/%zz"), status: 200, target: []string{"GET /%zz HTTP/1.1"}},
		behaviour{name: "request: path of two slashes", source: unmodifiedBy, request: getOf("//evil.com/a"), status: 200, target: []string{"GET //evil.com/a HTTP/1.1"}},
		behaviour{name: "request: dots as written", source: unmodifiedBy, request: getOf("/a/../b"), status: 200, target: []string{"GET /a/../b HTTP/1.1"}},
	)
}

// targetFailures are answers of targets that are none.
var targetFailures = []struct {
	name, answer string
	status       int
}{
	{"closes", "", 502},
	{"nonsense", "hello\r\n\r\n", 502},
	{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", 502},
	{"head above 32 K", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 40<<10) + "\r\nContent-Length: 0\r\n\r\n", 502},
	{"name of no token", "HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n", 502},
	{"control character", "HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n", 502},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 502},
	{"own 503", "HTTP/1.1 503 Mine\r\nContent-Length: 3\r\nServer: mine\r\n\r\nabc", 503},
	{"own status", "HTTP/1.1 299 Mine\r\nContent-Length: 3\r\n\r\nabc", 299},
	{"after 103", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 200},
}

var targetAnswers = func() (out []string) {
	for _, f := range targetFailures {
		out = append(out, f.answer)
	}
	return out
}()

// Private

func conditionRules() (out []lbconfig.Rule) {
	for i, c := range []lbconfig.Condition{
		{Field: lbconfig.PathPattern, Values: []string{"/img/*", "/p?th", "/exact"}},
		{Field: lbconfig.HostHeader, Values: []string{"*.wild.com", "one.com", "a?.com"}},
		{Field: lbconfig.HTTPHeader, Name: "X-Env", Values: []string{"Blue*", "green"}},
		{Field: lbconfig.RequestMethod, Values: []string{"PUT", "own-VERB"}},
		{Field: lbconfig.QueryString, Query: []lbconfig.Parameter{{Key: "v", Value: "1*"}, {Value: "any"}, {Key: "star", Value: `\*`}}},
		{Field: lbconfig.PathPattern, Regex: []string{`^/r/[0-9]+$`}},
		{Field: lbconfig.HostHeader, Regex: []string{`^r[0-9]\.com$`}},
		{Field: lbconfig.HTTPHeader, Name: "X-Re", Regex: []string{`^a+$`}},
	} {
		out = append(out, lbconfig.Rule{Conditions: []lbconfig.Condition{c},
			Action: lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: 210 + i, Body: "x"}}})
	}
	return append(out,
		lbconfig.Rule{Conditions: []lbconfig.Condition{{Field: lbconfig.PathPattern, Values: []string{"/local"}}, {Field: lbconfig.SourceIP, Values: []string{"127.0.0.0/8"}}},
			Action: lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: 220}}},
		lbconfig.Rule{Conditions: []lbconfig.Condition{{Field: lbconfig.PathPattern, Values: []string{"/far"}}, {Field: lbconfig.SourceIP, Values: []string{netip.MustParsePrefix("10.0.0.0/8").String()}}},
			Action: lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: 221}}})
}

func conditionCases() (out []behaviour) {
	for _, c := range []struct {
		method, host, url, field string
		want                     int
	}{
		{"GET", "x", "/img/a/b.png", "", 210}, {"GET", "x", "/img", "", 200}, {"GET", "x", "/img/", "", 210}, {"GET", "x", "/IMG/a", "", 200},
		{"GET", "x", "/path", "", 210}, {"GET", "x", "/pth", "", 200}, {"GET", "x", "/exact", "", 210}, {"GET", "x", "/exact?q=1", "", 210},
		{"GET", "x", "/exact/", "", 200}, {"GET", "x", "/ex%61ct", "", 210}, {"GET", "x", "/a/../exact", "", 210}, {"GET", "x", "/q?/img/", "", 200},
		{"GET", "a.wild.com", "/", "", 211}, {"GET", "A.WILD.com:99", "/", "", 211}, {"GET", "wild.com", "/", "", 200}, {"GET", "a.b.wild.com", "/", "", 211},
		{"GET", "one.com", "/", "", 211}, {"GET", "ab.com", "/", "", 211}, {"GET", "abc.com", "/", "", 200},
		{"GET", "x", "/", "X-Env: bluest", 212}, {"GET", "x", "/", "x-env: GREEN", 212}, {"GET", "x", "/", "X-Env: red", 200}, {"GET", "x", "/", "X-Env: red\r\nX-Env: green", 212},
		{"PUT", "x", "/", "", 213}, {"put", "x", "/", "", 200}, {"own-VERB", "x", "/", "", 213}, {"OWN-VERB", "x", "/", "", 200},
		{"GET", "x", "/?v=12", "", 214}, {"GET", "x", "/?V=1", "", 214}, {"GET", "x", "/?v=2", "", 200}, {"GET", "x", "/?a=b&c=ANY", "", 214}, {"GET", "x", "/?any", "", 200},
		{"GET", "x", "/?star=*", "", 214}, {"GET", "x", "/?star=a", "", 200}, {"GET", "x", "/?v=%31", "", 214},
		{"GET", "x", "/r/12", "", 215}, {"GET", "x", "/r/a", "", 200}, {"GET", "r1.com", "/", "", 216}, {"GET", "R1.COM", "/", "", 216}, {"GET", "x", "/", "X-Re: aaa", 217},
		{"GET", "x", "/local", "", 220}, {"GET", "x", "/far", "", 200}, {"GET", "x", "/far", "X-Forwarded-For: 10.1.1.1", 200},
	} {
		fields := "Host: " + c.host + "\r\n"
		if c.field != "" {
			fields += c.field + "\r\n"
		}
		out = append(out, behaviour{name: strings.TrimSpace("condition: " + c.method + " " + c.host + " " + c.url + " " + c.field), source: conditions, at: "rules",
			request: c.method + " " + c.url + " HTTP/1.1\r\n" + fields + "\r\n", status: c.want})
	}
	return out
}

func actionRules() []lbconfig.Rule {
	redirect := func(path string, d lbconfig.Redirect) lbconfig.Rule {
		return lbconfig.Rule{Conditions: paths(path), Action: lbconfig.Action{Type: lbconfig.RedirectTo, Redirect: d}}
	}
	answer := func(path string, f lbconfig.Fixed) lbconfig.Rule {
		return lbconfig.Rule{Conditions: paths(path), Action: lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: f}}
	}
	rewrite := func(path, kind, regex, replace string) lbconfig.Rule {
		return lbconfig.Rule{Conditions: paths(path), Action: forwardTo("tg"), Rewrites: []lbconfig.Rewrite{{Kind: kind, Regex: regex, Replace: replace}}}
	}
	return []lbconfig.Rule{
		redirect("/tls/*", lbconfig.Redirect{Protocol: "HTTPS", Port: "443", Status: http.StatusMovedPermanently}),
		redirect("/away*", lbconfig.Redirect{Host: "new.#{host}", Path: "/x/#{path}", Query: "#{query}&y=1", Status: http.StatusFound}),
		redirect("/port", lbconfig.Redirect{Port: "99", Status: http.StatusFound}),
		redirect("/noquery", lbconfig.Redirect{Path: "/q", Query: "a=b", Status: http.StatusFound}),
		redirect("/all", lbconfig.Redirect{Protocol: "#{protocol}", Host: "#{host}", Port: "#{port}", Path: "/a/#{path}", Query: "#{query}", Status: http.StatusFound}),
		redirect("/long*", lbconfig.Redirect{Path: "/#{path}#{path}", Status: http.StatusFound}),
		answer("/text", lbconfig.Fixed{Status: 200, Body: "hello"}),
		answer("/json", lbconfig.Fixed{Status: 404, ContentType: "application/json", Body: `{"a":1}`}),
		answer("/bare", lbconfig.Fixed{Status: 503}),
		answer("/own", lbconfig.Fixed{Status: 599, ContentType: "text/html", Body: "<b>"}),
		rewrite("/old/*", lbconfig.RewriteURL, `^/old/(.*)$`, `/new/$1`),
		rewrite("/host/*", lbconfig.RewriteHost, `^(.*)\.com$`, `$1.org`),
		rewrite("/broken/*", lbconfig.RewriteURL, `^.*$`, `no slash`),
	}
}

func actionCases() []behaviour {
	moved := func(name, url string, status int, location string) behaviour {
		return behaviour{name: "redirect: " + name, source: redirects, at: "actions", request: getOf(url), status: status, body: page(status),
			client: []string{"Location: " + location, "Server: awselb/2.0", "Content-Type: text/html"}}
	}
	answer := func(name, url string, status int, body string, client ...string) behaviour {
		return behaviour{name: "fixed: " + name, source: fixed, at: "actions", request: getOf(url), status: status, body: body, client: append(client, "Server: awselb/2.0")}
	}
	return []behaviour{
		moved("to HTTPS", "/tls/a?b=c", 301, "https://example.com:443/tls/a?b=c"),
		moved("to HTTPS without a query", "/tls/a", 301, "https://example.com:443/tls/a"),
		moved("host, path and query", "/away?x=1", 302, "http://new.example.com:{port}/x/away?x=1&y=1"),
		moved("path with escapes", "/away%20b", 302, "http://new.example.com:{port}/x/away%20b?&y=1"),
		moved("port", "/port", 302, "http://example.com:99/port"),
		moved("fixed query", "/noquery?x=1", 302, "http://example.com:{port}/q?a=b"),
		moved("all variables", "/all?x=1", 302, "http://example.com:{port}/a/all?x=1"),
		{name: "redirect: HTTP/1.0 without Host", source: redirects + "; " + hostHeader, at: "actions", request: "GET /port HTTP/1.0\r\n\r\n", status: 302,
			client: []string{"Location: http://lb-1.elb.localhost:99/port"}, closes: true},
		{name: "redirect: too long", source: redirects + " (507)", at: "actions", request: getOf("/long" + strings.Repeat("a", 6<<10)), status: 507, client: []string{"!Location"}},
		{name: "redirect: HEAD", source: redirects, at: "actions", request: requestOf("HEAD", "/port", ""), status: 302, client: []string{"Location: http://example.com:99/port", "Content-Length: 110"}},
		answer("text", "/text", 200, "hello", "Content-Type: text/plain; charset=utf-8", "Content-Length: 5"),
		answer("JSON", "/json", 404, `{"a":1}`, "Content-Type: application/json; charset=utf-8"),
		answer("status alone", "/bare", 503, "", "Content-Length: 0", "!Content-Type"),
		answer("status of no name", "/own", 599, "<b>", "Content-Type: text/html; charset=utf-8"),
		{name: "fixed: with a body that is not read", source: fixed, at: "actions", request: requestOf("POST", "/text", "abc", "Content-Length: 3"), status: 200, body: "hello"},
		{name: "transform: URL", source: transforms, at: "actions", request: getOf("/old/a?b=c"), status: 200, target: []string{"GET /new/a?b=c HTTP/1.1"}},
		{name: "transform: host", source: transforms, at: "actions", request: getOf("/host/a"), status: 200, target: []string{"Host: example.org:{port}"}},
		{name: "transform: into what can't be sent", source: transforms, at: "actions", request: getOf("/broken/a"), status: 500, body: page(500)},
		{name: "own answers: date", source: captured, at: "actions", request: getOf("/bare"), status: 503, client: []string{`~Date: .* GMT`}},
	}
}
