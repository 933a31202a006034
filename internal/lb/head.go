package lb

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
)

// framing says where a request's body ends.
type framing struct {
	chunked bool
	length  int64 // of the body when it is not chunked
}

// head is a request's line and fields, as the client sent them, and what is to be made of them.
type head struct {
	method, target, version string
	fields                  []field

	verdict verdict
	refuse  int // status to answer at once with: it can't be told what is asked, or where it ends
	framing framing
	upgrade bool // to another protocol
	plain   bool // net/http understands it as it stands
	// invalidName: some field has one, by validName.
	invalidName bool
}

// field is one header field. drop: it can't be sent on.
type field struct {
	name, value string
	drop        bool
}

// parseHead reads a whole head, with its empty line. Lines may end with LF alone, as nginx has it, too.
func parseHead(raw []byte) *head {
	h := &head{fields: make([]field, 0, 16)}
	h.parse(string(raw))
	return h
}

// parse is parseHead into a head that may have been used before.
func (h *head) parse(text string) {
	*h = head{plain: true, fields: h.fields[:0]}
	line, rest := h.line(text)
	if len(line) > maxRequestLine {
		h.refuse = http.StatusRequestURITooLong
		return
	}
	h.requestLine(line)
	for h.refuse == 0 && rest != "" {
		if line, rest = h.line(rest); line == "" {
			break
		}
		h.fieldLine(line)
	}
	if h.refuse == 0 {
		h.judge()
	}
}

// value is that of fields, an interface.
func (h *head) value(name string, i int) (string, bool) { return valueIn(h.fields, name, i) }

// bytes are the head as net/http, and every target, understands it in one way only: what says where the body ends
// is written anew.
func (h *head) bytes() []byte {
	var b bytes.Buffer
	b.WriteString(h.method + " " + escapeTarget(h.target, true) + " " + h.version + "\r\n")
	for _, f := range h.fields {
		if !f.drop && !strings.EqualFold(f.name, contentLength) && !strings.EqualFold(f.name, transferEncoding) {
			b.WriteString(f.name + ": " + f.value + "\r\n")
		}
	}
	switch {
	case h.framing.chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case h.framing.length > 0 || h.has(contentLength):
		b.WriteString("Content-Length: " + strconv.FormatInt(h.framing.length, 10) + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// Private

// line cuts the next line off. It notes endings other than CR LF.
func (h *head) line(s string) (line, rest string) {
	i := strings.IndexByte(s, '\n')
	if i < 0 {
		return s, ""
	}
	line, rest = s[:i], s[i+1:]
	if strings.HasSuffix(line, "\r") {
		return line[:len(line)-1], rest
	}
	h.plain = false
	h.verdict.raise(acceptable, "NonCrLfLineTermination")
	return line, rest
}

func (h *head) requestLine(line string) {
	method, rest, ok := strings.Cut(line, " ")
	trimmed := strings.TrimRight(rest, " \t")
	i := strings.LastIndexAny(trimmed, " \t")
	if !ok || i < 0 {
		h.refuse = http.StatusBadRequest // also HTTP/0.9, which has no version
		return
	}
	h.method, h.target, h.version = method, strings.Trim(trimmed[:i], " \t"), trimmed[i+1:]
	if !isToken(h.method) {
		h.blocked("BadMethod")
		return
	}
	if len(trimmed) != len(rest) || h.target != trimmed[:i] {
		h.plain = false
		h.verdict.raise(acceptable, "NonCompliantVersion")
	}
	h.versionOf(h.version)
	h.targetOf(h.target)
}

func (h *head) versionOf(v string) {
	digits, ok := strings.CutPrefix(v, "HTTP/")
	switch {
	case !ok || len(digits) != 3 || digits[1] != '.' || !isDigit(digits[0]) || !isDigit(digits[2]):
		h.blocked("BadVersion")
	case digits[0] != '1':
		h.refuse = http.StatusHTTPVersionNotSupported
	case digits[2] > '1':
		h.verdict.raise(acceptable, "NonCompliantVersion")
		h.plain, h.version = false, "HTTP/1.1"
	}
}

func (h *head) targetOf(t string) {
	if t == "" {
		h.refuse = http.StatusBadRequest
		return
	}
	for i := 0; i < len(t); i++ {
		switch c := t[i]; {
		case c > ' ' && c != 0x7f && c != '%':
		case c == 0 || c == '\r':
			h.blocked("BadUri")
			return
		case c == ' ':
			h.plain = false
			h.verdict.raise(acceptable, "SpaceInUri")
		case c == '%':
			if i+2 >= len(t) || unhex(t[i+1]) < 0 || unhex(t[i+2]) < 0 {
				h.plain = false // net/http refuses it; targets may understand it
			}
		default:
			h.plain = false
			h.verdict.raise(ambiguous, "AmbiguousUri")
		}
	}
	if !strings.HasPrefix(t, "/") && t != "*" && h.method != http.MethodConnect && !isAbsolute(t) {
		h.refuse = http.StatusBadRequest
	}
}

// isAbsolute says whether a request target is a URI with a host, as clients send it to proxies.
func isAbsolute(t string) bool {
	scheme, rest, ok := strings.Cut(t, "://")
	return ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) && rest != "" && rest[0] != '/' && isHost(authority(rest))
}

// authority is the host and port that s, a URI behind its scheme, begins with.
func authority(s string) string {
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		return s[:i]
	}
	return s
}

func (h *head) fieldLine(line string) {
	if line[0] == ' ' || line[0] == '\t' {
		h.fold(line)
		return
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		h.refuse = http.StatusBadRequest
		return
	}
	if len(line) > maxHeader {
		h.refuse = http.StatusBadRequest
		return
	}
	f := field{name: name, value: strings.Trim(value, " \t")}
	h.inspect(&f)
	h.fields = append(h.fields, f)
}

// fold continues the last field (RFC 9112, 5.2: replaced by a space).
func (h *head) fold(line string) {
	h.plain = false
	line = strings.Trim(line, " \t")
	if line == "" || len(h.fields) == 0 {
		h.verdict.raise(ambiguous, "EmptyHeader")
		return
	}
	f := &h.fields[len(h.fields)-1]
	h.verdict.raise(ambiguous, "MultilineHeader")
	f.value = strings.Trim(f.value+" "+line, " ")
	if len(f.name)+len(f.value) > maxHeader {
		h.refuse = http.StatusBadRequest
		return
	}
	h.inspect(f)
}

// blocked notes what no mode lets pass: what is asked can't be told for sure.
func (h *head) blocked(reason string) {
	h.refuse = http.StatusBadRequest
	h.verdict.raise(severe, reason)
}

// escapeTarget writes what has no place in a request line in percent-encoding: percent signs that encode nothing only
// when asked to.
func escapeTarget(t string, percent bool) string {
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		c := t[i]
		bad := c <= ' ' || c == 0x7f || percent && c == '%' && (i+2 >= len(t) || unhex(t[i+1]) < 0 || unhex(t[i+2]) < 0)
		if bad {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func (h *head) has(name string) bool {
	for i := range h.fields {
		if strings.EqualFold(h.fields[i].name, name) {
			return true
		}
	}
	return false
}

// isToken says whether s can be a method or the name of a field (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !tokenBytes[s[i]] {
			return false
		}
	}
	return s != ""
}

var tokenBytes = func() (all [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		all[c] = true
	}
	return all
}()

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
