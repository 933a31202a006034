package awsauth

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/awswire"
)

// defaultSkew is how far a request's time may be from ours. Source: IAM User Guide,
// "Troubleshoot Signature Version 4": five minutes.
const defaultSkew = 5 * time.Minute

var hexHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Options of a Verifier; the zero value is what a server uses.
type Options struct {
	Now     func() time.Time // nil: time.Now
	Skew    time.Duration    // 0: 5 minutes
	Regions []string         // accepted besides those of AWS
}

// A Verifier finds out who signed a request, with AWS's Signature Version 4 in the Authorization
// header or in the query (presigned). It is safe for concurrent use.
//
// A caller's region is the one in the credential scope: Lotse serves all regions at one address,
// so there is no wrong one, only one that doesn't exist.
type Verifier struct {
	keys Keys
	o    Options
}

// NewVerifier makes a Verifier that asks keys for secrets.
func NewVerifier(keys Keys, o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Skew == 0 {
		o.Skew = defaultSkew
	}
	return &Verifier{keys: keys, o: o}
}

// Verify finds the caller of an AWS operation. body is the whole body. A nil api stands for a
// request of no known service: its signature is judged, its service isn't.
// Errors are *awswire.Error with the codes that the api's protocol has for them, except when the
// keys can't be read.
func (v *Verifier) Verify(r *http.Request, body []byte, api *awswire.API) (Caller, error) {
	p, service := refusal(awswire.JSON11), ""
	if api != nil {
		p, service = refusal(api.Protocol), api.SigningName
	}
	sum := hexSHA256(body)
	caller, err := v.verify(r, sum, service, p)
	if err != nil {
		return Caller{}, err
	}
	if given := contentHash(r); given != "" && given != sum {
		// UNSIGNED-PAYLOAD and the STREAMING- values are S3's alone.
		return Caller{}, p.badSignature()
	}
	return caller, nil
}

// VerifyStream finds the caller of a request whose body is too large to be read first. The
// signature is over the header X-Amz-Content-Sha256; whoever reads the body must compare its
// hash with the one returned before acting on it.
func (v *Verifier) VerifyStream(r *http.Request, service string) (caller Caller, payloadSHA256 string, err error) {
	p := refusal(awswire.JSON11)
	sum := r.Header.Get("X-Amz-Content-Sha256")
	if (sum != "" || len(r.Header["Authorization"]) > 0) && !hexHash.MatchString(sum) {
		return Caller{}, "", p.incomplete("The header X-Amz-Content-Sha256 must hold the SHA-256 of the body, in 64 lower-case hex digits.")
	}
	if sum == "" {
		sum = hexSHA256(nil) // presigned: there is no body
	}
	caller, err = v.verify(r, sum, service, p)
	if err != nil {
		return Caller{}, "", err
	}
	return caller, sum, nil
}

// Private

// verify checks cheap things first, and the secret last. An error of type *awswire.Error must not
// become a non-nil interface around a nil pointer: every path returns explicitly.
func (v *Verifier) verify(r *http.Request, bodyHash, service string, p refusal) (Caller, error) {
	s, refused := readSignature(r, p)
	if refused != nil {
		return Caller{}, refused
	}
	key, err := v.keys.Lookup(r.Context(), s.accessKeyID, s.token)
	if errors.Is(err, ErrUnknownKey) || err == nil && key.SecretAccessKey == "" {
		return Caller{}, p.unknownKey()
	}
	if err != nil {
		return Caller{}, fmt.Errorf("look up access key %s: %w", s.accessKeyID, err)
	}
	now := v.o.Now().UTC()
	for _, check := range []func() *awswire.Error{
		func() *awswire.Error { return v.checkScope(s, service, p) },
		func() *awswire.Error { return v.checkTime(s, now, p) },
		func() *awswire.Error { return checkSignedHeaders(r, s, p) },
		func() *awswire.Error { return checkSecret(r, s, key, bodyHash, p) },
		func() *awswire.Error { return checkToken(s, key, now, p) },
	} {
		if refused := check(); refused != nil {
			return Caller{}, refused
		}
	}
	return Caller{Account: key.Account, Region: s.region, AccessKeyID: key.AccessKeyID, ARN: key.ARN,
		UserID: key.UserID, Root: key.Root, Expires: key.Expires,
		Role: key.Role, SessionPolicy: key.SessionPolicy}, nil
}

func (v *Verifier) checkScope(s *signature, service string, p refusal) *awswire.Error {
	switch {
	case s.terminator != terminator:
		return p.invalid(fmt.Sprintf("Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, s.terminator))
	case service != "" && s.service != service:
		return p.invalid(fmt.Sprintf("Credential should be scoped to correct service: '%s'.", service))
	case !regions[s.region] && !slices.Contains(v.o.Regions, s.region):
		return p.invalid(fmt.Sprintf("Credential should be scoped to a valid Region, not '%s'.", s.region))
	case s.date != s.stamp[:8]:
		return p.invalid(fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", s.date, s.stamp[:8], s.stamp))
	}
	return nil
}

// checkTime holds a request to its moment, and a presigned one to its X-Amz-Expires.
func (v *Verifier) checkTime(s *signature, now time.Time, p refusal) *awswire.Error {
	if s.at.After(now.Add(v.o.Skew)) {
		return p.clock(fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %s.)",
			s.stamp, now.Add(v.o.Skew).Format(timeFormat), now.Format(timeFormat), minutes(v.o.Skew)))
	}
	if s.presigned && s.expires > 0 {
		if end := s.at.Add(s.expires); now.After(end) {
			return p.clock(fmt.Sprintf("Signature expired: %s is now earlier than %s (X-Amz-Expires is %d s.)",
				s.stamp, now.Add(-s.expires).Format(timeFormat), int(s.expires/time.Second)))
		}
		return nil
	}
	if s.at.Before(now.Add(-v.o.Skew)) {
		return p.clock(fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s.)",
			s.stamp, now.Add(-v.o.Skew).Format(timeFormat), now.Format(timeFormat), minutes(v.o.Skew)))
	}
	return nil
}

func minutes(d time.Duration) string { return fmt.Sprintf("%d min", int(d/time.Minute)) }

// checkSignedHeaders wants the host and all x-amz-* headers signed, so that nobody on the way can
// turn a request into another one.
func checkSignedHeaders(r *http.Request, s *signature, p refusal) *awswire.Error {
	if !s.covers("host") {
		return p.invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") && !s.covers(lower) {
			return p.invalid("The header '" + lower + "' must be a 'SignedHeader' in the AWS Authorization.")
		}
	}
	return nil
}

func checkSecret(r *http.Request, s *signature, key Key, bodyHash string, p refusal) *awswire.Error {
	canonical, ok := canonicalRequest(r, s, bodyHash)
	if !ok || !hmac.Equal([]byte(s.hash), []byte(sign(key.SecretAccessKey, s, stringToSign(s, canonical)))) {
		return p.badSignature()
	}
	return nil
}

// checkToken wants a temporary key's own token, and none with a lasting key.
func checkToken(s *signature, key Key, now time.Time, p refusal) *awswire.Error {
	if !hmac.Equal([]byte(s.token), []byte(key.SessionToken)) {
		return p.unknownKey()
	}
	if !key.Expires.IsZero() && !now.Before(key.Expires) {
		return p.expiredToken()
	}
	return nil
}

// contentHash is what a request says its body's hash is, "" if nothing. Go's presigner leaves
// the header where it is; others move it into the query.
func contentHash(r *http.Request) string {
	if h := r.Header.Get("X-Amz-Content-Sha256"); h != "" {
		return h
	}
	return r.URL.Query().Get("X-Amz-Content-Sha256")
}
