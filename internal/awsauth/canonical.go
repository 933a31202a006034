package awsauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// canonicalRequest is the text that both sides hash. Its rules are those of the IAM User Guide,
// "Create a signed AWS API request", for every service but S3: the path is encoded once more.
// ok is false if a signed header isn't there.
func canonicalRequest(r *http.Request, s *signature, bodyHash string) (text string, ok bool) {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(r.URL) + "\n" + canonicalQuery(r.URL.RawQuery) + "\n")
	for _, name := range s.signed {
		values := headerValues(r, name)
		if values == nil {
			return "", false
		}
		b.WriteString(name + ":")
		for i, v := range values {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(foldSpaces(v))
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n" + strings.Join(s.signed, ";") + "\n" + bodyHash)
	return b.String(), true
}

// stringToSign binds the canonical request to its time and scope.
func stringToSign(s *signature, canonical string) string {
	return algorithm + "\n" + s.stamp + "\n" + s.scope() + "\n" + hexSHA256([]byte(canonical))
}

// sign calculates the signature that the owner of the secret would.
func sign(secret string, s *signature, text string) string {
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.date, s.region, s.service, s.terminator, text} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Private

func canonicalPath(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		return "/"
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = escape(p)
	}
	return strings.Join(parts, "/")
}

// canonicalQuery encodes each name and value, then sorts. The signature itself is left out.
// The query has been found to parse before.
func canonicalQuery(raw string) string {
	q, _ := url.ParseQuery(raw)
	type param struct{ name, value string }
	var params []param
	for name, values := range q {
		if name == "X-Amz-Signature" {
			continue
		}
		for _, v := range values {
			params = append(params, param{escape(name), escape(v)})
		}
	}
	slices.SortFunc(params, func(a, b param) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	var b strings.Builder
	for i, p := range params {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name + "=" + p.value)
	}
	return b.String()
}

// headerValues are a header's values in the order sent; net/http keeps two headers elsewhere.
func headerValues(r *http.Request, name string) []string {
	switch name {
	case "host":
		return []string{r.Host}
	case "content-length":
		if v := r.Header.Values(name); len(v) > 0 {
			return v
		}
		if r.ContentLength >= 0 {
			return []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		return nil
	case "transfer-encoding":
		return r.TransferEncoding
	}
	return r.Header.Values(name)
}

// foldSpaces trims a value and makes one space of several. Source: as above.
func foldSpaces(s string) string {
	s = strings.TrimSpace(s)
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

// escape is RFC 3986's encoding: all but letters, digits and -_.~ as %XX.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
