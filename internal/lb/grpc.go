package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// maxGRPCAnswer is how much of the answer to a check is read to get to its status.
const maxGRPCAnswer = 64 << 10

// grpcStatus is the status of a call that was answered without gRPC. Source: gRPC, HTTP to gRPC status code mapping.
func grpcStatus(status int) int {
	switch status {
	case http.StatusBadRequest:
		return 13
	case http.StatusUnauthorized:
		return 16
	case http.StatusForbidden:
		return 7
	case http.StatusNotFound:
		return 12
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 14
	}
	return 2
}

// multiplexed is check.ask over HTTP/2: a GET, or with gRPC a call with an empty message, whose status it returns.
func (c check) multiplexed(ctx context.Context, conn net.Conn) (int, error) {
	w := wire{c.conf.Protocol == "HTTPS", true}
	t := w.transport(func(ctx context.Context) (net.Conn, error) {
		return w.connect(ctx, func(context.Context) (net.Conn, error) {
			if conn == nil {
				return nil, errors.New("the target closed the connection")
			}
			one := conn
			conn = nil
			return one, nil
		})
	})
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.scheme()+"://"+c.to.String()+c.conf.Path, nil)
	if err != nil {
		return 0, err
	}
	if c.conf.Version == lbconfig.GRPC {
		req.Method, req.Body, req.ContentLength = http.MethodPost, io.NopCloser(strings.NewReader("\x00\x00\x00\x00\x00")), -1
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
	}
	req.Host = checkHost(c.conf.Protocol, c.to)
	req.Header.Set("User-Agent", "ELB-HealthChecker/2.0")
	resp, err := t.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if c.conf.Version != lbconfig.GRPC || resp.StatusCode != http.StatusOK {
		return resp.StatusCode, nil
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxGRPCAnswer)); err != nil {
		return 0, err
	}
	text := resp.Trailer.Get("Grpc-Status")
	if text == "" {
		text = resp.Header.Get("Grpc-Status") // without a message, the status is in the header
	}
	code, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("the answer has no status of gRPC: %q", text)
	}
	return code, nil
}
