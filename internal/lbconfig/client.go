package lbconfig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client speaks to a balancer process through its control socket. It may be used by many at once.
type Client struct{ http *http.Client }

// NewClient returns a client of the control socket at path (lb.sock in the run directory). Nothing is dialled yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConns: 4}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Put makes the balancer apply the snapshot, which must have been saved before: without the file nothing new may be
// bound. It returns when the snapshot is in force; listeners that could not be bound are in the status, not an error.
func (c *Client) Put(ctx context.Context, s Snapshot) (Status, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return Status{}, err
	}
	var st Status
	err = c.do(ctx, http.MethodPut, "/snapshot", body, &st)
	return st, err
}

// Status waits until there is a status newer than after (a Seq; 0 for what is there), at most half a minute, and
// returns the newest, which may be the one of after.
func (c *Client) Status(ctx context.Context, after int64) (Status, error) {
	var st Status
	err := c.do(ctx, http.MethodGet, fmt.Sprintf("/status?after=%d", after), nil, &st)
	return st, err
}

// Request is one request that the balancer answered or is answering.
type Request struct {
	TraceID  string // the X-Amzn-Trace-Id that the target got
	Time     time.Time
	Balancer string // ARN
	Rule     string // ARN
	Group    string `json:",omitempty"` // ARN; "" when no group was chosen
	Target   string `json:",omitempty"` // host:port; "" when no target was chosen
	Method   string
	Host     string
	Path     string
	Status   int           // to the client
	Answered int           // by the target; 0 when it did not answer
	Duration time.Duration // 0 while the answer is being sent
}

// Trace returns the recent requests whose trace id, or part of it (Root, Self), or X-Request-Id is id; newest first.
func (c *Client) Trace(ctx context.Context, id string) ([]Request, error) {
	var out []Request
	err := c.do(ctx, http.MethodGet, "/trace?id="+url.QueryEscape(id), nil, &out)
	return out, err
}

// Private

func (c *Client) do(ctx context.Context, method, path string, body []byte, out any) error {
	answer, err := c.ask(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	return json.NewDecoder(answer).Decode(out)
}

func (c *Client) get(ctx context.Context, path string) ([]byte, error) {
	answer, err := c.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	return io.ReadAll(answer)
}

func (c *Client) ask(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://lb"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("balancer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, fmt.Errorf("balancer: %s %s: %s", method, path, strings.TrimSpace(string(text)))
	}
	return resp.Body, nil
}
