package lb

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// check is how one target is examined.
type check struct {
	from  dialKey
	to    netip.AddrPort
	conf  lbconfig.HealthCheck
	codes lbconfig.Codes
}

func newCheck(from dialKey, target netip.AddrPort, hc lbconfig.HealthCheck) check {
	c := check{from: from, to: target, conf: hc}
	if p, err := strconv.ParseUint(hc.Port, 10, 16); err == nil {
		c.to = netip.AddrPortFrom(target.Addr(), uint16(p))
	}
	c.codes, _ = c.conf.Codes() // validated; TCP has none
	return c
}

// run examines the target once. An error means that nothing was learned about it.
// Source of the request's form: ALB user guide, target group health checks.
func (c check) run(ctx context.Context, s sockets) (reason, text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.conf.Timeout)
	defer cancel()
	conn, err := s.dial(ctx, c.from, c.to, true)
	if err != nil {
		return c.failure(ctx, err)
	}
	defer conn.Close()
	if c.conf.Protocol == "TCP" {
		return "", "", nil
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(past) })
	defer stop()
	code, err := c.ask(ctx, conn)
	if err != nil {
		return c.failure(ctx, err)
	}
	if !c.codes.Contains(code) {
		return lbconfig.ResponseCodeMismatch, fmt.Sprintf("Health checks failed with these codes: [%d]", code), nil
	}
	return "", "", nil
}

// Private

func (c check) failure(ctx context.Context, err error) (reason, text string, _ error) {
	var none noSocketError
	switch {
	case errors.As(err, &none), errors.Is(context.Cause(ctx), context.Canceled):
		return "", "", err
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		reason = lbconfig.Timeout
	default:
		reason = lbconfig.FailedHealthChecks
	}
	return reason, lbconfig.Descriptions[reason], nil
}

// ask sends the request over the connection and returns the status code of the answer.
func (c check) ask(ctx context.Context, conn net.Conn) (int, error) {
	if c.conf.Version == lbconfig.HTTP2 || c.conf.Version == lbconfig.GRPC {
		return c.multiplexed(ctx, conn)
	}
	if c.conf.Protocol == "HTTPS" {
		conn = tls.Client(conn, targetTLS("http/1.1"))
	}
	return get(conn, c.conf.Protocol, c.to, c.conf.Path)
}

// get sends one request and returns the status code of the answer, whose body it does not wait for.
func get(conn net.Conn, protocol string, to netip.AddrPort, path string) (int, error) {
	host := checkHost(protocol, to)
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+host+
		"\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n"); err != nil {
		return 0, err
	}
	r := bufio.NewReaderSize(io.LimitReader(conn, maxResponseHeader), 4096)
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
		if err != nil {
			return 0, err
		}
		if resp.StatusCode >= 200 {
			return resp.StatusCode, nil
		}
	}
}

// checkHost is the Host of a check: the address, with its port unless it is the protocol's.
func checkHost(protocol string, to netip.AddrPort) string {
	if protocol == "HTTPS" && to.Port() == 443 || protocol != "HTTPS" && to.Port() == 80 {
		return to.Addr().String()
	}
	return to.String()
}

// same says whether both examine alike.
func (c check) same(d check) bool { return c.from == d.from && c.to == d.to && c.conf == d.conf }
