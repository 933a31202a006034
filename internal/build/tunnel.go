package build

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// SigningName is the service in the credential scope of requests to the server's own API.
const SigningName = "lotse"

// dialTimeout covers connecting, the server's start of its builder, and its answer.
const dialTimeout = 30 * time.Second

// errNoBuilder is a server that has no Path: it isn't Lotse, or builds are switched off.
var errNoBuilder = errors.New("the endpoint has no builder")

// An endpoint is a server's, with what is needed to sign for it.
type endpoint struct {
	url    *url.URL
	creds  aws.CredentialsProvider
	region string
	tls    *tls.Config // nil: the default
}

// Private

// tunnel opens a connection to BuildKit through the server. Answers other than 101 become errors with the server's text.
func (e *endpoint) tunnel(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	req, err := e.request(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := e.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	up, err := switchProtocol(conn, req)
	if !stop() || err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return up, nil
}

// request is the signed one that is to be upgraded. Connection and Upgrade stay unsigned: they are for the next hop.
func (e *endpoint) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.JoinPath(Path).String(), nil)
	if err != nil {
		return nil, err
	}
	creds, err := e.creds.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("credentials for the builder at %s: %w", e.url, err)
	}
	empty := sha256.Sum256(nil)
	hash := hex.EncodeToString(empty[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if err := v4.NewSigner().SignHTTP(ctx, creds, req, hash, SigningName, e.region, time.Now()); err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	return req, nil
}

func (e *endpoint) dial(ctx context.Context) (net.Conn, error) {
	d := &net.Dialer{}
	port := e.url.Port()
	if e.url.Scheme == "https" {
		if port == "" {
			port = "443"
		}
		cfg := e.tls.Clone()
		if cfg == nil {
			cfg = &tls.Config{}
		}
		cfg.NextProtos = []string{"http/1.1"} // HTTP/2 has no Upgrade
		return (&tls.Dialer{NetDialer: d, Config: cfg}).DialContext(ctx, "tcp", net.JoinHostPort(e.url.Hostname(), port))
	}
	if port == "" {
		port = "80"
	}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(e.url.Hostname(), port))
}

// switchProtocol sends the request and waits for 101.
func switchProtocol(conn net.Conn, req *http.Request) (net.Conn, error) {
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols && strings.EqualFold(resp.Header.Get("Upgrade"), protocol):
		return &bufferedConn{Conn: conn, r: r}, nil
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusNotImplemented || resp.StatusCode == http.StatusMethodNotAllowed:
		return nil, errNoBuilder
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return nil, fmt.Errorf("the builder answered %s: %s", resp.Status, strings.TrimSpace(string(text)))
}
