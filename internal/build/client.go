package build

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// ClientOptions say where to build.
type ClientOptions struct {
	// Builder is "lotse", "docker" (docker buildx), or the address of a BuildKit, "unix:///run/buildkit/buildkitd.sock"
	// or "tcp://host:1234". Empty: Lotse at Endpoint, else BUILDKIT_HOST's, else docker buildx.
	Builder string

	Endpoint    string // the server's URL, "http://127.0.0.1:4566"; empty: none
	Credentials aws.CredentialsProvider
	Region      string
	TLS         *tls.Config // for an https endpoint; nil: the system's authorities

	Getenv func(string) string // nil: os.Getenv
}

// A Client builds images.
type Client struct {
	o  ClientOptions
	at *endpoint // nil: no server
}

// NewClient connects to nothing yet.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	c := &Client{o: o}
	if o.Endpoint == "" {
		return c, nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("endpoint %q is not an http or https URL", o.Endpoint)
	}
	if o.Credentials == nil {
		return nil, errors.New("the builder's endpoint needs credentials")
	}
	c.at = &endpoint{url: u, creds: o.Credentials, region: o.Region, tls: o.TLS}
	return c, nil
}

// Build builds. A Dockerfile that doesn't build gives an [*Error], what is missing for it an [*InputError]; everything
// else is somebody else's fault.
func (c *Client) Build(ctx context.Context, o Options) (Result, error) {
	s, err := open(o)
	if err != nil {
		return Result{}, &InputError{err}
	}
	b, err := c.builder(ctx)
	if err != nil {
		return Result{}, err
	}
	defer b.close()
	return b.build(ctx, o, s)
}

// Private

// A builder is one of the three ways to build.
type builder interface {
	build(ctx context.Context, o Options, s *source) (Result, error)
	close()
}

// builder picks one. Only an endpoint that isn't Lotse's is passed over: one that refuses us, or is down, is an error.
func (c *Client) builder(ctx context.Context) (builder, error) {
	switch name := c.o.Builder; {
	case name == "lotse" && c.at == nil:
		return nil, errors.New("no endpoint of a Lotse server is known: give one, or choose another builder")
	case name == "lotse":
		return c.lotse(ctx)
	case name == "docker":
		return newBuildx()
	case strings.Contains(name, "://"):
		return newBuildkit(ctx, name)
	case name != "":
		return nil, fmt.Errorf("builder %q: lotse, docker, or the address of a BuildKit, such as unix:///run/buildkit/buildkitd.sock", name)
	}
	if c.at != nil {
		b, err := c.lotse(ctx)
		if !errors.Is(err, errNoBuilder) {
			return b, err
		}
	}
	if host := c.o.Getenv("BUILDKIT_HOST"); host != "" {
		return newBuildkit(ctx, host)
	}
	if _, err := exec.LookPath("docker"); err == nil {
		return newBuildx()
	}
	return nil, errors.New("no builder: neither a Lotse server, nor BUILDKIT_HOST, nor docker")
}

func (c *Client) lotse(ctx context.Context) (builder, error) {
	b, err := newTunnelled(ctx, c.at)
	if err != nil {
		return nil, fmt.Errorf("builder of %s: %w", c.at.url.Redacted(), err)
	}
	return b, nil
}
