package awsauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/awswire"
)

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestVerify_Refusals(t *testing.T) {
	type request struct {
		key             Key
		service, region string
		at              time.Time
		hash            string
		presigned       bool
		query           string
		before, after   func(*http.Request)
	}
	later := func(d time.Duration) func(*request) { return func(r *request) { r.at = testNow.Add(d) } }
	tests := []struct {
		name             string
		change           func(*request)
		json, query, ec2 string // code and status; "": accepted
		text             string // contained in the JSON protocol's message
	}{
		{name: "good", change: func(r *request) {}},
		{"unsigned", func(r *request) { r.after = func(h *http.Request) { h.Header.Del("Authorization") } },
			"MissingAuthenticationTokenException 400", "MissingAuthenticationToken 403", "MissingAuthenticationToken 403", "Missing Authentication Token"},
		{"no key=value pairs", func(r *request) {
			r.after = func(h *http.Request) { h.Header.Set("Authorization", "AWS4-HMAC-SHA256 what") }
		},
			"IncompleteSignatureException 400", "IncompleteSignature 403", "IncompleteSignature 403", "not a valid key=value pair"},
		{"other scheme", func(r *request) { r.after = func(h *http.Request) { h.Header.Set("Authorization", "Bearer x") } },
			"IncompleteSignatureException 400", "IncompleteSignature 403", "IncompleteSignature 403", "Unsupported AWS 'algorithm': 'Bearer'."},
		{"parts missing", func(r *request) {
			r.after = func(h *http.Request) {
				h.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e")
			}
		},
			"IncompleteSignatureException 400", "IncompleteSignature 403", "IncompleteSignature 403",
			"Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. "},
		{"unknown key", func(r *request) { r.key.AccessKeyID = "AKIANOBODY" },
			"UnrecognizedClientException 400", "InvalidClientTokenId 403", "AuthFailure 401", textToken},
		{"wrong secret", func(r *request) { r.key.SecretAccessKey += "x" },
			"InvalidSignatureException 400", "SignatureDoesNotMatch 403", "AuthFailure 401", textSignature},
		{"wrong service", func(r *request) { r.service = "ec3" },
			"InvalidSignatureException 400", "SignatureDoesNotMatch 403", "AuthFailure 401", "Credential should be scoped to correct service: 'ecs'."},
		{"misspelt region", func(r *request) { r.region = "us-esat-1" },
			"InvalidSignatureException 400", "SignatureDoesNotMatch 403", "AuthFailure 401", "Credential should be scoped to a valid Region, not 'us-esat-1'."},
		{name: "a region of the server's own", change: func(r *request) { r.region = "test-home-1" }},
		{"terminator", func(r *request) {
			r.after = func(h *http.Request) {
				h.Header.Set("Authorization", strings.Replace(h.Header.Get("Authorization"), "aws4_request", "aws5", 1))
			}
		},
			"InvalidSignatureException 400", "SignatureDoesNotMatch 403", "AuthFailure 401", "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5'."},
		{"scope of yesterday", func(r *request) {
			r.after = func(h *http.Request) {
				h.Header.Set("Authorization", strings.Replace(h.Header.Get("Authorization"), "/20260701/", "/20260630/", 1))
			}
		},
			"InvalidSignatureException 400", "SignatureDoesNotMatch 403", "AuthFailure 401", "'20260630' != '20260701', from '20260701T120000Z'."},
		{name: "just not too old", change: later(-5 * time.Minute)},
		{name: "just not too new", change: later(5 * time.Minute)},
		{"too old", later(-5*time.Minute - time.Second), "InvalidSignatureException 400", "SignatureDoesNotMatch 403", "RequestExpired 400",
			"Signature expired: 20260701T115459Z is now earlier than 20260701T115500Z (20260701T120000Z - 5 min.)"},
		{"too new", later(5*time.Minute + time.Second), "InvalidSignatureException 400", "SignatureDoesNotMatch 403", "RequestExpired 400",
			"Signature not yet current: 20260701T120501Z is still later than 20260701T120500Z (20260701T120000Z + 5 min.)"},
		{name: "session", change: func(r *request) { r.key = testSession }},
		{"session without its token", func(r *request) { r.key = testSession; r.key.SessionToken = "" },
			"UnrecognizedClientException 400", "InvalidClientTokenId 403", "AuthFailure 401", textToken},
		{"session with another token", func(r *request) { r.key = testSession; r.key.SessionToken = "other" },
			"UnrecognizedClientException 400", "InvalidClientTokenId 403", "AuthFailure 401", textToken},
		{"root with a token", func(r *request) { r.key.SessionToken = "other" },
			"UnrecognizedClientException 400", "InvalidClientTokenId 403", "AuthFailure 401", textToken},
		{"session expired", func(r *request) { r.key = testSession; r.key.AccessKeyID = "ASIAEXPIRED" },
			"ExpiredTokenException 400", "ExpiredToken 403", "RequestExpired 400", textExpired},
		{"unsigned payload", func(r *request) {
			r.hash, r.before = "UNSIGNED-PAYLOAD", func(h *http.Request) { h.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }
		},
			"InvalidSignatureException 400", "SignatureDoesNotMatch 403", "AuthFailure 401", textSignature},
		{"hash of another body", func(r *request) {
			r.before = func(h *http.Request) { h.Header.Set("X-Amz-Content-Sha256", strings.Repeat("0", 64)) }
		},
			"InvalidSignatureException 400", "SignatureDoesNotMatch 403", "AuthFailure 401", textSignature},
		{"header added on the way", func(r *request) { r.after = func(h *http.Request) { h.Header.Set("X-Amz-Target", "x") } },
			"InvalidSignatureException 400", "SignatureDoesNotMatch 403", "AuthFailure 401", "The header 'x-amz-target' must be a 'SignedHeader'"},
		{"signed header lost", func(r *request) {
			r.before = func(h *http.Request) { h.Header.Set("X-A", "") }
			r.after = func(h *http.Request) { h.Header.Del("X-A") }
		}, "InvalidSignatureException 400", "SignatureDoesNotMatch 403", "AuthFailure 401", textSignature},
		{name: "presigned", change: func(r *request) { r.presigned = true }},
		{name: "presigned, long ago", change: func(r *request) {
			r.presigned, r.query, r.at = true, "X-Amz-Expires=604800", testNow.Add(-7*24*time.Hour)
		}},
		{name: "presigned session", change: func(r *request) { r.presigned, r.key = true, testSession }},
		{"presigned, expired", func(r *request) { r.presigned, r.query, r.at = true, "X-Amz-Expires=60", testNow.Add(-61*time.Second) },
			"InvalidSignatureException 400", "SignatureDoesNotMatch 403", "RequestExpired 400", "Signature expired: 20260701T115859Z is now earlier than 20260701T115900Z"},
		{"presigned without limit", func(r *request) { r.presigned, r.at = true, testNow.Add(-6*time.Minute) },
			"InvalidSignatureException 400", "SignatureDoesNotMatch 403", "RequestExpired 400", "Signature expired"},
		{"presigned for ever", func(r *request) { r.presigned, r.query = true, "X-Amz-Expires=604801" },
			"IncompleteSignatureException 400", "IncompleteSignature 403", "IncompleteSignature 403", "from 1 to 604800"},
		{"presigned and signed", func(r *request) {
			r.presigned, r.after = true, func(h *http.Request) { h.Header.Set("Authorization", "AWS4-HMAC-SHA256 x") }
		},
			"IncompleteSignatureException 400", "IncompleteSignature 403", "IncompleteSignature 403", "Only one signature"},
		{"presigned, parts missing", func(r *request) {
			r.presigned, r.after = true, func(h *http.Request) { h.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256" }
		},
			"IncompleteSignatureException 400", "IncompleteSignature 403", "IncompleteSignature 403", "requires 'X-Amz-Credential' parameter."},
	}
	old := testSession
	old.AccessKeyID, old.Expires = "ASIAEXPIRED", testNow
	v := NewVerifier(keyMap{testKey.AccessKeyID: testKey, testSession.AccessKeyID: testSession, old.AccessKeyID: old},
		Options{Now: func() time.Time { return testNow }, Regions: []string{"test-home-1"}})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for protocol, want := range map[awswire.Protocol]string{awswire.JSON11: tt.json, awswire.Query: tt.query, awswire.EC2: tt.ec2} {
				x := request{key: testKey, service: "ecs", region: "eu-central-1", at: testNow, hash: emptyHash}
				tt.change(&x)
				req := httptest.NewRequest("POST", "http://127.0.0.1:4566/?"+x.query, nil)
				if x.before != nil {
					x.before(req)
				}
				req = signedAs(t, req, x.key, x.hash, x.service, x.region, x.at, x.presigned)
				if x.after != nil {
					x.after(req)
				}
				got, err := v.Verify(req, nil, &awswire.API{SigningName: "ecs", Protocol: protocol})
				var e *awswire.Error
				switch {
				case want == "":
					if err != nil || got.Region != x.region {
						t.Errorf("%v: Verify = %+v, %v", protocol, got, err)
					}
				case !errors.As(err, &e):
					t.Errorf("%v: Verify = %v, want %s", protocol, err, want)
				case fmt.Sprint(e.Code, " ", e.Status) != want:
					t.Errorf("%v: Verify = %s %d, want %s", protocol, e.Code, e.Status, want)
				case protocol == awswire.JSON11 && !strings.Contains(e.Message, tt.text):
					t.Errorf("%v: message %q, want %q", protocol, e.Message, tt.text)
				}
			}
		})
	}
}

func TestVerify_DateHeader(t *testing.T) {
	// Signed with Date instead of X-Amz-Date, as the oldest clients do.
	req := httptest.NewRequest("GET", "http://127.0.0.1/", nil)
	req.Header.Set("Date", testNow.Format(http.TimeFormat))
	s := &signature{accessKeyID: testKey.AccessKeyID, date: "20260701", region: "us-east-1", service: "ecs", terminator: terminator,
		signed: []string{"date", "host"}, stamp: "20260701T120000Z"}
	text, _ := canonicalRequest(req, s, emptyHash)
	req.Header.Set("Authorization", algorithm+" Credential="+testKey.AccessKeyID+"/"+s.scope()+",SignedHeaders=date;host,Signature="+
		sign(testKey.SecretAccessKey, s, stringToSign(s, text)))
	if _, err := testVerifier().Verify(req, nil, testAPI); err != nil {
		t.Error(err)
	}
}

// Source: IAM User Guide, "Signature calculation examples": the example of ListUsers.
func TestSign_PublishedExample(t *testing.T) {
	req := httptest.NewRequest("GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", nil)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	req.Header.Set("X-Amz-Date", "20150830T123600Z")
	s := &signature{date: "20150830", region: "us-east-1", service: "iam", terminator: terminator,
		signed: []string{"content-type", "host", "x-amz-date"}, stamp: "20150830T123600Z"}
	text, _ := canonicalRequest(req, s, emptyHash)
	if got, want := hexSHA256([]byte(text)), "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"; got != want {
		t.Errorf("hash of the canonical request = %s, want %s\n%s", got, want, text)
	}
	got := sign("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", s, stringToSign(s, text))
	if want := "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"; got != want {
		t.Errorf("signature = %s, want %s", got, want)
	}
}

func TestVerifyStream(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	stream := func(header string) *http.Request {
		req := httptest.NewRequest("POST", "http://127.0.0.1/_lotse/images?name=a", strings.NewReader("body"))
		if header != "" {
			req.Header.Set("X-Amz-Content-Sha256", header)
		}
		return signedAs(t, req, testKey, header, "lotse", "us-east-1", testNow, false)
	}
	c, got, err := testVerifier().VerifyStream(stream(hash), "lotse")
	if err != nil || got != hash || !c.Root {
		t.Errorf("VerifyStream = %+v, %s, %v", c, got, err)
	}
	for _, header := range []string{"", "UNSIGNED-PAYLOAD", strings.ToUpper(hash)} {
		if _, _, err := testVerifier().VerifyStream(stream(header), "lotse"); err == nil {
			t.Errorf("VerifyStream accepted the hash %q", header)
		}
	}
	if _, _, err := testVerifier().VerifyStream(stream(hash), "ecs"); err == nil {
		t.Error("VerifyStream accepted another service's signature")
	}
	changed := stream(hash)
	changed.Header.Set("X-Amz-Content-Sha256", emptyHash)
	if _, _, err := testVerifier().VerifyStream(changed, "lotse"); err == nil {
		t.Error("VerifyStream accepted a changed hash")
	}
}

func FuzzReadSignature(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=A/20260701/us-east-1/ecs/aws4_request, SignedHeaders=host, Signature=00", "20260701T120000Z", "")
	f.Add("", "", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A/20260701/us-east-1/ecs/aws4_request&X-Amz-Date=20260701T120000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=0")
	f.Fuzz(func(t *testing.T, authorization, date, query string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.RawQuery = query
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		r.Header.Set("X-Amz-Date", date)
		if _, err := testVerifier().Verify(r, nil, testAPI); err == nil {
			t.Error("accepted")
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	req := httptest.NewRequest("POST", "http://127.0.0.1:4566/", nil)
	req.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113.DescribeServices")
	req = signedAs(b, req, testKey, emptyHash, "ecs", "us-east-1", testNow, false)
	v := testVerifier()
	for b.Loop() {
		if _, err := v.Verify(req, nil, testAPI); err != nil {
			b.Fatal(err)
		}
	}
}
