package lb

import (
	"strconv"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// failedUnmapped is the status of a handshake that failed for another reason than a client's certificate, which
// nobody is asked for. Source: ALB user guide, connection log error reason codes.
const failedUnmapped = "Failed:UnmappedConnectionError"

// Private

// connected logs a connection, whose handshake of TLS, if it has one, took that long. At a front that several balancers
// share, a connection is nobody's.
func (l *accessLog) connected(c *clientConn, e *entry, handshake time.Duration) {
	if e != nil && e.listener != nil {
		e.meter.add(countConnections, 1)
	}
	status := "-" // without TLS there is nothing to tell
	if c.session != nil {
		status = "Success"
	}
	l.connection(c, e, status, handshake)
}

// refused logs a connection whose handshake failed.
func (l *accessLog) refused(c *clientConn, e *entry) {
	if e != nil && e.listener != nil {
		e.meter.add(countConnections, 1)
		e.meter.add(countClientTLSErrors, 1)
	}
	l.connection(c, e, failedUnmapped, 0)
}

// connection adds a line. Source: ALB user guide, connection log entries; Athena user guide, create the table for ALB
// connection logs, for what is in quotes. Nobody is asked for a certificate.
func (l *accessLog) connection(c *clientConn, e *entry, status string, handshake time.Duration) {
	if e == nil || e.listener == nil || !e.listener.balancer.ConnectionLogs {
		return
	}
	now := time.Now()
	version, cipher, took := "-", "-", "-"
	if s := c.session; s != nil {
		version, cipher, took = versionNames[s.version], cipherName(s.cipher), string(appendSeconds(nil, handshake))
	}
	f := []string{c.from, strconv.Itoa(int(c.peerPort)), strconv.Itoa(int(e.port)), version, cipher, took, `"-"`, "-", "-", status, c.traceID()}
	b := appendStamp(lbconfig.AppendLogHead(nil, e.listener.balancer.ARN, now, true), now)
	l.add(append(append(append(b, ' '), strings.Join(f, " ")...), '\n'))
}
