package lb

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// handshakeTime is how long a client may take for the handshake of TLS.
const handshakeTime = 10 * time.Second

// sessionReused stands for the certificate in logs. Source: ALB user guide, access log entries, chosen_cert_arn.
const sessionReused = "session-reused"

// errNoListener ends the handshake at a port whose listener has gone, or speaks TLS no more.
var errNoListener = errors.New("no listener speaks TLS here")

// session is what is known of a connection's TLS.
type session struct {
	version     uint16
	cipher      uint16
	host        string // that the client named, "" without, or when the certificate is for another
	certificate string // ARN, or sessionReused
	http2       bool
}

// told are the headers that tell a target of a client's TLS. Source: ALB user guide, load balancer attributes,
// routing.http.x_amzn_tls_version_and_cipher_suite.enabled.
func (s *session) told(names lbconfig.Headers) []field {
	if s == nil {
		return nil
	}
	return []field{
		{name: cmp.Or(names.TLSVersion, "X-Amzn-Tls-Version"), value: versionNames[s.version]},
		{name: cmp.Or(names.TLSCipher, "X-Amzn-Tls-Cipher-Suite"), value: cipherName(s.cipher)},
	}
}

var versionNames = map[uint16]string{tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}

// cipherName is OpenSSL's name, which AWS uses.
func cipherName(id uint16) string {
	for name, have := range suites {
		if have == id {
			return name
		}
	}
	return tls.CipherSuiteName(id)
}

// terminator does the handshakes of TLS and hands what comes out of them over to the server of its protocol. A
// client that has all the time in the world holds nobody up: each handshake has a goroutine of its own.
type terminator struct {
	base   *tls.Config
	entry  func(portKey) *entry
	conns  *conns
	log    *accessLog
	http1  *handoff
	http2  func(idle time.Duration) *handoff
	within time.Duration
	busy   atomic.Int32 // handshakes under way
}

// newTerminator makes one whose configurations come from the table in force, so that a new certificate or policy is for
// the next handshake. All share one base, and so the keys of session tickets.
func newTerminator(cs *conns, log *accessLog, entryOf func(portKey) *entry) *terminator {
	t := &terminator{entry: entryOf, conns: cs, log: log, http1: newHandoff(), within: handshakeTime}
	t.base = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if e := t.entry(h.Conn.(*handshaking).key); e != nil && e.listener != nil && e.listener.tls != nil {
			return e.listener.tls, nil
		}
		return nil, errNoListener
	}}
	return t
}

// take does the handshake with a new client, which was counted in busy.
func (t *terminator) take(c net.Conn, key portKey, peer netip.AddrPort) {
	defer t.busy.Add(-1)
	h, begun := &handshaking{Conn: c, key: key}, clock()
	s := tls.Server(h, t.base)
	cc := t.conns.add(c, key, peer) // so that it is counted, and closed in the end
	ctx, cancel := context.WithTimeout(context.Background(), t.within)
	defer cancel()
	if err := s.HandshakeContext(ctx); err != nil {
		var other tls.RecordHeaderError
		if errors.As(err, &other) && other.Conn != nil && looksLikeHTTP(other.RecordHeader) {
			c.SetWriteDeadline(time.Now().Add(time.Second))
			io.WriteString(c, plainReply())
		}
		t.log.refused(cc, t.entry(key))
		cc.Close()
		return
	}
	t.conns.remove(cc)
	st := s.ConnectionState()
	if st.DidResume { // whose certificate was chosen then
		h.host, h.certificate = st.ServerName, sessionReused
	}
	secured := t.conns.addSecured(s, key, peer, &session{st.Version, st.CipherSuite, h.host, h.certificate, st.NegotiatedProtocol == "h2"})
	t.log.connected(secured, t.entry(key), clock()-begun)
	to := t.http1
	if secured.session.http2 {
		idle := lbconfig.DefaultIdleTimeout
		if e := t.entry(key); e != nil {
			idle = e.idle
		}
		to = t.http2(idle)
	}
	if !to.give(secured) {
		secured.Close()
	}
}

// tlsConfig is a listener's.
func tlsConfig(conf *lbconfig.TLS, ids map[string]*identity) *tls.Config {
	if conf == nil {
		return nil
	}
	var own []*identity
	for _, arn := range conf.Certificates {
		if d := ids[arn]; d != nil {
			own = append(own, d)
		}
	}
	c := &tls.Config{
		MinVersion: conf.Min, MaxVersion: conf.Max, CipherSuites: cipherSuites(conf.Ciphers), NextProtos: []string{"http/1.1"},
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if len(own) == 0 {
				return nil, errors.New("the listener's certificates can't be used")
			}
			d := chooseIdentity(own, h, time.Now())
			if hs, ok := h.Conn.(*handshaking); ok {
				hs.certificate = d.conf.ARN
				if d.fits(strings.ToLower(h.ServerName)) > 0 {
					hs.host = h.ServerName
				}
			}
			return &d.cert, nil
		},
	}
	if conf.PostQuantum {
		c.CurvePreferences = append([]tls.CurveID{tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024}, c.CurvePreferences...)
	}
	if conf.HTTP2 {
		c.NextProtos = append([]string{"h2"}, c.NextProtos...)
	}
	return c
}

// Private

// suites are the ciphers of AWS's policies that crypto/tls has, below TLS 1.3. It has no CBC with SHA-384, nor
// AES256-SHA256.
var suites = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES128-SHA256":     tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-RSA-AES128-SHA256":       tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES128-SHA256":                 tls.TLS_RSA_WITH_AES_128_CBC_SHA256,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	"DES-CBC3-SHA":                  tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
}

func cipherSuites(names []string) []uint16 {
	out := []uint16{} // never nil, which would be Go's own choice
	for _, n := range names {
		if id, ok := suites[n]; ok {
			out = append(out, id)
		}
	}
	return out
}

// handshaking is the connection below TLS. It carries to the configuration whose port it is, and back what was chosen.
type handshaking struct {
	net.Conn
	key         portKey
	host        string // that the client named, when the certificate is for it
	certificate string
}

// CloseWrite ends the sending side, as tls.Conn's own does not.
func (h *handshaking) CloseWrite() error {
	if t, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return t.CloseWrite()
	}
	return nil
}

// looksLikeHTTP: the first bytes are a method of HTTP's.
func looksLikeHTTP(b [5]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		return true
	}
	return false
}

// plainReply is the answer to HTTP without TLS at a listener with TLS. Source: captured answers of awselb/2.0.
func plainReply() string {
	const title = "400 The plain HTTP request was sent to HTTPS port"
	body := "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>" +
		title[len("400 "):] + "</center>\r\n</body>\r\n</html>\r\n"
	return "HTTP/1.1 400 Bad Request\r\nServer: awselb/2.0\r\nDate: " + httpDate() + "\r\nContent-Type: text/html\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n" + body
}

// identitiesLocked opens the snapshot's certificates; one that hasn't changed stays. What can't be opened is the error
// of the listeners that have it; those with others serve on.
func (w *worker) identitiesLocked(s *lbconfig.Snapshot) {
	old := w.identities
	w.identities = map[string]*identity{}
	broken := map[string]error{}
	for _, c := range s.Certificates {
		if d := old[c.ARN]; d != nil && d.conf == c {
			w.identities[c.ARN] = d
			continue
		}
		d, err := newIdentity(c, w.home.open)
		if err != nil {
			broken[c.ARN] = fmt.Errorf("certificate %s: %w", c.ARN, err)
			w.log.Error("certificate not usable", "certificate", c.ARN, "err", err)
			continue
		}
		w.identities[c.ARN] = d
	}
	clear(w.tlsErrs)
	for i := range s.Balancers {
		for _, l := range s.Balancers[i].Listeners {
			if l.TLS == nil {
				continue
			}
			for _, arn := range l.TLS.Certificates {
				if err := broken[arn]; err != nil {
					w.tlsErrs[l.ARN] = err
				}
			}
		}
	}
}
