package awsauth

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/awswire"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeFormat = "20060102T150405Z"
	// maxExpires is the longest that a presigned request may be valid: seven days.
	// Source: IAM User Guide, "Authentication parameters", X-Amz-Expires.
	maxExpires = 7 * 24 * time.Hour
)

// queryParts are what every presigned request has.
var queryParts = []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"}

// A signature is what a request says about itself, in its header or in its query.
type signature struct {
	accessKeyID           string
	date, region, service string // credential scope
	terminator            string
	signed                []string // header names, lower case, sorted
	hash                  string   // 64 hex digits
	token                 string
	at                    time.Time
	stamp                 string        // at as written, in timeFormat
	expires               time.Duration // of a presigned request; 0: no longer than any other
	presigned             bool
}

// readSignature takes the signature from the Authorization header or from the query.
func readSignature(r *http.Request, p refusal) (*signature, *awswire.Error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse("MalformedQueryString", http.StatusBadRequest, "The query string contains a syntax error.")
	}
	header := r.Header.Values("Authorization")
	inQuery := q.Has("X-Amz-Algorithm") || q.Has("X-Amz-Signature") || q.Has("X-Amz-Credential")
	switch {
	case len(header) == 0 && !inQuery:
		return nil, p.missing()
	case len(header) > 1 || len(header) == 1 && inQuery:
		return nil, p.incomplete("Only one signature is allowed: one Authorization header, or the parameters of a presigned request.")
	case inQuery:
		return readQuery(q, p)
	}
	return readHeader(r.Header, header[0], p)
}

// Private

func readHeader(h http.Header, authorization string, p refusal) (*signature, *awswire.Error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	if scheme != algorithm {
		return nil, p.incomplete("Unsupported AWS 'algorithm': '" + scheme + "'.")
	}
	part := map[string]string{}
	for item := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(item), "=")
		if _, dup := part[name]; !ok || dup {
			return nil, p.incomplete("'" + strings.TrimSpace(item) + "' not a valid key=value pair (missing equal-sign) in Authorization header, or given twice.")
		}
		part[name] = value
	}
	stamp := h.Get("X-Amz-Date")
	var missing []string
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if part[name] == "" {
			missing = append(missing, name)
		}
	}
	text := requires("Authorization header", missing)
	if stamp == "" && h.Get("Date") == "" {
		text += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
	}
	if text != "" {
		return nil, p.incomplete(text + "Authorization=" + scheme)
	}
	s := &signature{hash: part["Signature"], token: h.Get("X-Amz-Security-Token")}
	for _, name := range []string{"X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256"} {
		if len(h.Values(name)) > 1 {
			return nil, p.incomplete("The header " + name + " must be given once.")
		}
	}
	if stamp == "" {
		at, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			if at, err = time.Parse(timeFormat, h.Get("Date")); err != nil {
				return nil, p.incomplete("Date must be in ISO-8601 'basic format' or an HTTP date. Got '" + h.Get("Date") + "'.")
			}
		}
		stamp = at.UTC().Format(timeFormat)
	}
	return s, s.fill(part["Credential"], part["SignedHeaders"], stamp, p)
}

func readQuery(q url.Values, p refusal) (*signature, *awswire.Error) {
	var missing []string
	for _, name := range queryParts {
		if q.Get(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, p.incomplete(strings.TrimSpace(requires("AWS query-string parameters:", missing)))
	}
	for _, name := range slices.Concat(queryParts, []string{"X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-Content-Sha256"}) {
		if len(q[name]) > 1 {
			return nil, p.incomplete("The parameter " + name + " must be given once.")
		}
	}
	if a := q.Get("X-Amz-Algorithm"); a != algorithm {
		return nil, p.incomplete("Unsupported AWS 'algorithm': '" + a + "'.")
	}
	s := &signature{presigned: true, hash: q.Get("X-Amz-Signature"), token: q.Get("X-Amz-Security-Token")}
	if q.Has("X-Amz-Expires") {
		n, err := strconv.Atoi(q.Get("X-Amz-Expires"))
		if err != nil || n < 1 || n > int(maxExpires/time.Second) {
			return nil, p.incomplete("X-Amz-Expires must be a number of seconds from 1 to 604800. Got '" + q.Get("X-Amz-Expires") + "'.")
		}
		s.expires = time.Duration(n) * time.Second
	}
	return s, s.fill(q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Date"), p)
}

// fill reads the three parts that header and query write alike.
func (s *signature) fill(credential, signedHeaders, stamp string, p refusal) *awswire.Error {
	c := strings.Split(credential, "/")
	if len(c) != 5 {
		return p.incomplete("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '" + credential + "'")
	}
	s.accessKeyID, s.date, s.region, s.service, s.terminator = c[0], c[1], c[2], c[3], c[4]
	s.signed = strings.Split(signedHeaders, ";")
	for i, name := range s.signed {
		if name == "" || name != strings.ToLower(name) || i > 0 && name <= s.signed[i-1] {
			return p.incomplete("SignedHeaders must be lower case, sorted and without repetition, separated by ';'. Got '" + signedHeaders + "'.")
		}
	}
	at, err := time.Parse(timeFormat, stamp)
	if err != nil {
		return p.incomplete("Date must be in ISO-8601 'basic format'. Got '" + stamp + "'. See http://en.wikipedia.org/wiki/ISO_8601")
	}
	s.at, s.stamp = at, stamp
	return nil
}

// covers tells whether a header is signed.
func (s *signature) covers(name string) bool {
	_, ok := slices.BinarySearch(s.signed, strings.ToLower(name))
	return ok
}

func (s *signature) scope() string {
	return s.date + "/" + s.region + "/" + s.service + "/" + s.terminator
}
