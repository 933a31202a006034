package lb

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// class says how far a request keeps to the standards, and what it may be up to.
// Source: ALB user guide, desync mitigation mode; github.com/aws/http-desync-guardian, docs.
type class int

const (
	compliant class = iota
	acceptable
	ambiguous
	severe
)

func (c class) String() string {
	return [...]string{"Compliant", "Acceptable", "Ambiguous", "Severe"}[c]
}

// verdict is a request's class, and the first reason for it. Source: ALB user guide, access logs, classification
// reasons; those about lines are http-desync-guardian's.
type verdict struct {
	class  class
	reason string
}

func (v *verdict) raise(c class, reason string) {
	if c > v.class {
		v.class, v.reason = c, reason
	}
}

// blocked says whether the mode keeps such a request from the targets.
func (v verdict) blocked(mode string) bool {
	switch mode {
	case lbconfig.Monitor:
		return false
	case lbconfig.Strictest:
		return v.class > compliant
	}
	return v.class == severe
}

// closes says whether the connections are closed, to the client and to the target, that carried the request.
func (v verdict) closes(mode string) bool {
	return v.blocked(mode) || v.class >= ambiguous && mode != lbconfig.Monitor
}

const (
	contentLength    = "Content-Length"
	transferEncoding = "Transfer-Encoding"
)

// inspect judges one field by itself. A field that can't be sent on as it is, is dropped.
func (h *head) inspect(f *field) {
	h.invalidName = h.invalidName || !validName(f.name)
	if isToken(f.name) && !hasControl(f.value) && isASCII(f.value) {
		return
	}
	switch {
	case strings.ContainsAny(f.name, "\x00\r") || strings.ContainsAny(f.value, "\x00\r"):
		h.verdict.raise(severe, "BadHeader")
		h.drop(f)
	case strings.Trim(f.name, " \t") == "":
		h.verdict.raise(ambiguous, "EmptyHeader")
		h.drop(f)
	case !isToken(f.name) || hasControl(f.value):
		h.verdict.raise(acceptable, "NonCompliantHeader")
		h.drop(f)
	case !isASCII(f.value):
		h.verdict.raise(acceptable, "NonCompliantHeader")
	}
}

func (h *head) drop(f *field) {
	f.drop, h.plain = true, false
}

// judge decides where the body ends, and judges the request by it.
func (h *head) judge() {
	var lengths, codings []string
	var likeLength, likeCoding bool
	hosts, connection, upgrade := 0, "", ""
	for i := range h.fields {
		f := &h.fields[i]
		switch n := len(f.name); {
		case n == len(contentLength) && strings.EqualFold(f.name, contentLength):
			lengths = append(lengths, f.value)
		case n >= len(transferEncoding) && strings.EqualFold(f.name, transferEncoding):
			codings = append(codings, f.value)
		case n > 12 && resembles(f.name, contentLength):
			likeLength = true
			h.suspect(f)
		case n > 15 && resembles(f.name, transferEncoding):
			likeCoding = true
			h.suspect(f)
		case n == len("Host") && strings.EqualFold(f.name, "Host"):
			if hosts++; f.drop || !isHost(f.value) {
				h.refuse = http.StatusBadRequest
			}
		case n == len("Expect") && strings.EqualFold(f.name, "Expect"):
			if !strings.EqualFold(f.value, "100-continue") { // net/http would answer 417, unseen; nobody else knows it either
				h.drop(f)
			}
		case n == len("Upgrade") && strings.EqualFold(f.name, "Upgrade"):
			upgrade = f.value
		case n == len("Connection") && strings.EqualFold(f.name, "Connection"):
			connection += "," + f.value
		}
	}
	// Source: RFC 9112, 3.2. A request without Host is not in version 1.1.
	if hosts > 1 || hosts == 0 && h.version != "HTTP/1.0" {
		h.refuse = http.StatusBadRequest
		return
	}
	if len(lengths)+len(codings) > 0 {
		h.frame(lengths, codings)
	}
	if (likeLength || likeCoding) && (likeLength || len(lengths) > 0) && (likeCoding || len(codings) > 0) {
		h.verdict.raise(severe, "SuspiciousTeClPresent")
	}
	h.upgrade = upgrade != "" && strings.Contains(strings.ToLower(connection), "upgrade") &&
		!h.framing.chunked && h.framing.length == 0
}

// frame takes the values of all Content-Length and Transfer-Encoding fields.
func (h *head) frame(lengths, codings []string) {
	bodiless := h.method == http.MethodGet || h.method == http.MethodHead
	if len(codings) > 0 && !h.coding(codings) {
		return
	}
	if len(lengths) > 0 && !h.length(lengths) {
		return
	}
	if len(lengths) > 0 && h.framing.chunked {
		h.verdict.raise(ambiguous, "BothTeClPresent")
	}
	if bodiless && h.framing.chunked {
		h.verdict.raise(ambiguous, "UndefinedTransferEncodingSemantics")
	}
	if bodiless && len(lengths) > 0 {
		if h.framing.length > 0 {
			h.verdict.raise(ambiguous, "UndefinedContentLengthSemantics")
		} else {
			h.verdict.raise(acceptable, "GetHeadZeroContentLength")
		}
	}
	if h.framing.chunked {
		h.framing.length = 0
	}
	if len(lengths) > 1 || len(codings) > 0 && (len(lengths) > 0 || !h.framing.chunked || len(codings) > 1 || codings[0] != "chunked") ||
		len(lengths) == 1 && len(lengths[0]) > 1 && lengths[0][0] == '0' {
		h.plain = false
	}
}

// suspect drops a field that could be taken for one that says where the body ends.
func (h *head) suspect(f *field) {
	h.verdict.raise(ambiguous, "SuspiciousHeader")
	h.drop(f)
}

// coding reads the Transfer-Encoding. Supported are chunked and identity. Source: ALB user guide, HTTP 501.
func (h *head) coding(values []string) bool {
	chunked := 0
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			switch part = strings.Trim(part, " \t"); {
			case strings.EqualFold(part, "chunked"):
				chunked++
			case strings.EqualFold(part, "identity"):
			case isToken(part):
				h.blocked("BadTransferEncoding")
				h.refuse = http.StatusNotImplemented
				return false
			default:
				h.blocked("BadTransferEncoding")
				return false
			}
		}
	}
	if chunked > 1 {
		h.verdict.raise(severe, "MultipleTransferEncodingChunked")
	}
	if chunked > 0 && h.version == "HTTP/1.0" { // it has none; whoever sent it may see another end than we
		h.verdict.raise(ambiguous, "UndefinedTransferEncodingSemantics")
		h.refuse = http.StatusBadRequest
		return false
	}
	h.framing.chunked = chunked > 0
	return true
}

func (h *head) length(values []string) bool {
	first := int64(-1)
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			part = strings.Trim(part, " \t")
			n, err := strconv.ParseUint(part, 10, 63)
			if err != nil || part[0] == '+' {
				h.blocked("BadContentLength")
				return false
			}
			switch {
			case first < 0:
				first = int64(n)
			case first != int64(n):
				h.blocked("MultipleContentLength")
				return false
			default:
				h.plain = false
				h.verdict.raise(ambiguous, "DuplicateContentLength")
			}
		}
	}
	h.framing.length = first
	return true
}

// resembles says whether a name could be taken for another one, by software that is lenient about case, separators,
// control characters and look-alikes.
func resembles(name, of string) bool {
	return letters(name) == letters(of)
}

// lookalikes are letters that some software turns into those of the two names when it changes case or form.
var lookalikes = strings.NewReplacer("ı", "i", "İ", "i", "ſ", "s", "K", "k")

// letters are the ASCII letters of s, in lower case.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z':
			return r
		}
		return -1
	}, lookalikes.Replace(s))
}

// isHost says whether s can be the value of Host (RFC 3986, 3.2.2 and 3.2.3).
func isHost(s string) bool {
	for i := 0; i < len(s); i++ {
		if !hostBytes[s[i]] {
			return false
		}
	}
	return true
}

var hostBytes = func() (all [256]bool) {
	for i := range all {
		all[i] = unreserved(byte(i)) || strings.IndexByte("!$%&'()*+,:;=[]", byte(i)) >= 0
	}
	return all
}()

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
