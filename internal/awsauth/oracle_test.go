package awsauth

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"

	"github.com/lotse-project/lotse/internal/awswire"
)

// The SDK's signer is the judge of our canonicalisation: what it signs must verify after a trip
// over the wire, and must not after any change.
func TestVerify_WhatTheSDKSigns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "body")
		req := drawRequest(t, body)
		presigned := rapid.Bool().Draw(t, "presigned")
		got := overTheWire(t, signed(t, req, body, presigned), body)
		caller, err := testVerifier().Verify(got, body, testAPI)
		if err != nil {
			t.Fatalf("Verify = %v\n%s %s %q", err, got.Method, got.RequestURI, got.Header)
		}
		if caller.Region != "eu-central-1" || caller.Account != "000000000000" || caller.AccessKeyID != testKey.AccessKeyID {
			t.Fatalf("caller = %+v", caller)
		}
	})
}

func TestVerify_RefusesAnyChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "body")
		req := drawRequest(t, body)
		req.Header.Set("X-Amz-Target", "Service.Operation")
		presigned := rapid.Bool().Draw(t, "presigned")
		got := overTheWire(t, signed(t, req, body, presigned), body)
		switch rapid.SampledFrom([]string{"method", "path", "query", "host", "header", "body"}).Draw(t, "change") {
		case "method":
			got.Method = "PUT"
		case "path":
			got.URL.Path, got.URL.RawPath = got.URL.Path+"x", ""
		case "query":
			got.URL.RawQuery += "&more="
		case "host":
			got.Host += "1"
		case "header":
			if rapid.Bool().Draw(t, "new") {
				got.Header.Set("X-Amz-Extra", "1")
			} else if presigned {
				got.Header.Set("X-Amz-Target", "Service.Other") // was moved into the query
			} else {
				got.Header.Set("X-Amz-Target", "Service.Other")
			}
		case "body":
			body = append(bytes.Clone(body), 0)
		}
		if _, err := testVerifier().Verify(got, body, testAPI); err == nil {
			t.Fatalf("accepted %s %s %q", got.Method, got.RequestURI, got.Header)
		}
	})
}

var (
	testNow = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	testKey = Key{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		Account: "000000000000", ARN: "arn:aws:iam::000000000000:root", UserID: "000000000000", Root: true}
	testSession = Key{AccessKeyID: "ASIAIOSFODNN7EXAMPLE", SecretAccessKey: "secret", SessionToken: "tok/en+==", Account: "000000000000",
		ARN: "arn:aws:sts::000000000000:assumed-role/r/s", UserID: "AROAX:s", Expires: testNow.Add(time.Minute)}
	testAPI = &awswire.API{SigningName: "ecs", Protocol: awswire.JSON11}
)

type keyMap map[string]Key

func (m keyMap) Lookup(_ context.Context, id, _ string) (Key, error) {
	k, ok := m[id]
	if !ok {
		return Key{}, ErrUnknownKey
	}
	return k, nil
}

func testVerifier() *Verifier {
	return NewVerifier(keyMap{testKey.AccessKeyID: testKey, testSession.AccessKeyID: testSession},
		Options{Now: func() time.Time { return testNow }})
}

type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func drawRequest(t *rapid.T, body []byte) *http.Request {
	text := rapid.StringOf(rapid.RuneFrom([]rune("aZ09-_.~ %+&=;:/?#@!$'()*,[]{}|\\^`\"<>äλ\t")))
	u := &url.URL{Scheme: "http", Host: rapid.SampledFrom([]string{"127.0.0.1:4566", "localhost", "localhost:80", "[::1]:4566"}).Draw(t, "host"),
		Path: "/" + text.Draw(t, "path")}
	if strings.HasPrefix(u.Path, "//") {
		u.Path = "/x" + u.Path // a URL such as http:////x can't be written
	}
	q := url.Values{}
	for range rapid.IntRange(0, 4).Draw(t, "params") {
		q.Add(text.Draw(t, "name"), text.Draw(t, "value"))
	}
	q.Del("")
	u.RawQuery = q.Encode()
	req, err := http.NewRequest(rapid.SampledFrom([]string{"GET", "POST", "DELETE"}).Draw(t, "method"), u.String(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	value := rapid.StringOf(rapid.RuneFrom([]rune("abc  \t,;=\"äλ")))
	for range rapid.IntRange(0, 4).Draw(t, "headers") {
		name := rapid.SampledFrom([]string{"X-Amz-Target", "X-Amz-Meta-A", "X-Amz-A-B", "Content-Type", "Accept", "X-Other", "User-Agent"}).Draw(t, "header")
		if name == "User-Agent" {
			req.Header.Set(name, value.Draw(t, "header value"))
			continue
		}
		req.Header.Add(name, value.Draw(t, "header value"))
	}
	if rapid.Bool().Draw(t, "content hash") {
		sum := sha256.Sum256(body)
		req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	}
	return req
}

func signed(t fataler, req *http.Request, body []byte, presigned bool) *http.Request {
	t.Helper()
	sum := sha256.Sum256(body)
	return signedAs(t, req, testKey, hex.EncodeToString(sum[:]), "ecs", "eu-central-1", testNow, presigned)
}

func signedAs(t fataler, req *http.Request, k Key, hash, service, region string, at time.Time, presigned bool) *http.Request {
	t.Helper()
	creds := aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}
	if !presigned {
		if err := v4.NewSigner().SignHTTP(context.Background(), creds, req, hash, service, region, at); err != nil {
			t.Fatal(err)
		}
		return req
	}
	uri, header, err := v4.NewSigner().PresignHTTP(context.Background(), creds, req, hash, service, region, at)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	out := req.Clone(context.Background())
	out.URL, out.Header = u, header
	if h := header.Get("Host"); h != "" {
		out.Host = h
	}
	return out
}

// overTheWire writes a request and reads it as a server does.
func overTheWire(t fataler, req *http.Request, body []byte) *http.Request {
	t.Helper()
	var b bytes.Buffer
	req.Body, req.ContentLength = http.NoBody, 0
	if len(body) > 0 {
		req.Body, req.ContentLength = readCloser{bytes.NewReader(body)}, int64(len(body))
	}
	if err := req.Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		t.Fatalf("%v in %q", err, b.String())
	}
	return got
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }
