package lb

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// headerEcho answers with what arrived of a header.
func headerEcho(names ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, n := range names {
			fmt.Fprintf(w, "%s=%s;", n, r.Header.Get(n))
		}
		fmt.Fprintf(w, "Host=%s;", r.Host)
	})
}

func TestTLS_ForwardsOverBothProtocols(t *testing.T) {
	r := newRig(t)
	port, pair := freePort(t), newTestPair(t, nil, "a.example.com")
	target := backend(t, headerEcho("X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-For", "X-Amzn-Tls-Version", "X-Amzn-Tls-Cipher-Suite"))
	s := secure(site(port, target), pair.sealed(t, r.dir, "cert"))
	s.Balancers[0].Routing.TLSHeaders = true
	s.Balancers[0].Listeners[0].TLS.Max = tls.VersionTLS12
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	for version, proto := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2.0"} {
		c := trusting(version, pair)
		resp, err := c.Get("https://" + local(port) + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		want := fmt.Sprintf("X-Forwarded-Proto=https;X-Forwarded-Port=%d;X-Forwarded-For=127.0.0.1;X-Amzn-Tls-Version=TLSv1.2;X-Amzn-Tls-Cipher-Suite=ECDHE-ECDSA-AES128-GCM-SHA256;Host=%s;", port, local(port))
		if resp.Proto != proto || string(body) != want {
			t.Errorf("%s: %s", resp.Proto, body)
			t.Errorf("want %s: %s", proto, want)
		}
		c.CloseIdleConnections()
	}
}

func TestTLS_AnswersOfItsOwn(t *testing.T) {
	r := newRig(t)
	port, pair := freePort(t), newTestPair(t, nil, "a.example.com")
	s := secure(site(port), pair.sealed(t, r.dir, "cert"))
	r.put(s)

	// What does not speak TLS is told so.
	resp, body := raw(t, local(port), get1("/"))
	if resp.StatusCode != 400 || resp.Header.Get("Server") != "awselb/2.0" || !strings.Contains(body, "The plain HTTP request was sent to HTTPS port") {
		t.Errorf("plain HTTP = %d %v %s", resp.StatusCode, resp.Header, body)
	}

	// The reason phrases are AWS's, under TLS too, and so is the answer to what is no request.
	for request, want := range map[string]string{
		get1("/"):            "HTTP/1.1 503 Service Temporarily Unavailable\r\n",
		"nonsense\r\n\r\n":   "HTTP/1.1 400 Bad Request\r\n",
		"GET / HTTP/3.0\r\n": "HTTP/1.1 505 HTTP Version Not Supported\r\n",
	} {
		c, err := tls.Dial("tcp", local(port), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, request+"\r\n")
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Errorf("%q = %q (%v), want %q", request, got, err, want)
		}
		c.Close()
	}

	s.Balancers[0].Listeners[0].Rules[0].Action = lbconfig.Action{Type: lbconfig.RedirectTo, Redirect: lbconfig.Redirect{Host: "b.example.com", Status: 301}}
	r.put(s)
	c := trusting(2, pair)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Get("https://" + local(port) + "/x?y")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got, want := resp.Header.Get("Location"), fmt.Sprintf("https://b.example.com:%d/x?y", port); got != want {
		t.Errorf("Location = %s, want %s", got, want)
	}
}

func TestTLS_Policies(t *testing.T) {
	r := newRig(t)
	port, pair := freePort(t), newTestPair(t, nil, "a.example.com")
	for _, c := range []struct {
		name   string
		listen lbconfig.TLS
		client *tls.Config
		ok     bool
		proto  string
	}{
		{"1.3 only, to 1.2", lbconfig.TLS{Min: tls.VersionTLS13, Max: tls.VersionTLS13}, &tls.Config{MaxVersion: tls.VersionTLS12}, false, ""},
		{"1.3 only, to 1.3", lbconfig.TLS{Min: tls.VersionTLS13, Max: tls.VersionTLS13}, &tls.Config{MinVersion: tls.VersionTLS13}, true, ""},
		{"1.2 only, to 1.3", lbconfig.TLS{Min: tls.VersionTLS12, Max: tls.VersionTLS12, Ciphers: strong}, &tls.Config{MinVersion: tls.VersionTLS13}, false, ""},
		{"1.0, to 1.0", lbconfig.TLS{Min: tls.VersionTLS10, Max: tls.VersionTLS12, Ciphers: []string{"ECDHE-ECDSA-AES128-SHA"}},
			&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, true, ""},
		{"a cipher that it has not", lbconfig.TLS{Min: tls.VersionTLS12, Max: tls.VersionTLS12, Ciphers: strong},
			&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}}, false, ""},
		{"HTTP/2", lbconfig.TLS{Min: tls.VersionTLS12, Max: tls.VersionTLS13, Ciphers: strong, HTTP2: true}, &tls.Config{NextProtos: []string{"h2", "http/1.1"}}, true, "h2"},
		{"no HTTP/2", lbconfig.TLS{Min: tls.VersionTLS12, Max: tls.VersionTLS13, Ciphers: strong}, &tls.Config{NextProtos: []string{"h2", "http/1.1"}}, true, "http/1.1"},
		{"not post-quantum", lbconfig.TLS{Min: tls.VersionTLS13, Max: tls.VersionTLS13}, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}}, false, ""},
		{"post-quantum", lbconfig.TLS{Min: tls.VersionTLS13, Max: tls.VersionTLS13, PostQuantum: true}, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}}, true, ""},
	} {
		s := secure(site(port), pair.sealed(t, r.dir, "cert"))
		c.listen.Certificates = []string{"cert"}
		s.Balancers[0].Listeners[0].TLS = &c.listen
		r.put(s)
		c.client.InsecureSkipVerify = true
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: c.client}
		conn, err := d.DialContext(t.Context(), "tcp", local(port))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v, want success %v", c.name, err, c.ok)
		}
		if err == nil {
			if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != c.proto {
				t.Errorf("%s: protocol %q, want %q", c.name, got, c.proto)
			}
			conn.Close()
		}
	}
}

func TestChooseIdentity(t *testing.T) {
	large, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	open := func(sealed, _ string) ([]byte, error) {
		p := sealedKeys[sealed]
		return x509.MarshalPKCS8PrivateKey(p.key)
	}
	id := func(name string, p *testPair) *identity {
		c := p.sealed(t, dir, name)
		c.SealedKey = name
		sealedKeys[name] = p
		d, err := newIdentity(c, open)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	all := []*identity{
		id("default", newTestPair(t, nil, "default.example.com")),
		id("wild", newTestPair(t, nil, "*.example.com")),
		id("rsa2048", newTestPair(t, small, "shop.example.com")),
		id("rsa3072", newTestPair(t, large, "shop.example.com", "rsa.example.com")),
		id("deep", newTestPair(t, nil, "*.shop.example.com")),
		id("p256", newTestPair(t, nil, "both.example.com")),
		id("p384", newTestPair(t, p384, "both.example.com")),
		id("rsaboth", newTestPair(t, large, "both.example.com")),
	}
	modern := []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.PSSWithSHA256, tls.PKCS1WithSHA256}
	onlyRSA := []tls.SignatureScheme{tls.PSSWithSHA256, tls.PKCS1WithSHA256}
	for _, c := range []struct {
		host    string
		schemes []tls.SignatureScheme
		want    string
	}{
		{"", modern, "default"},
		{"unknown.example.org", modern, "default"},
		{"default.example.com", modern, "default"},
		{"any.example.com", modern, "wild"},
		{"Any.Example.COM", modern, "wild"},
		{"a.b.example.com", modern, "default"},
		{"example.com", modern, "default"},
		{"shop.example.com", modern, "rsa3072"}, // its name before a wildcard; the longer key
		{"a.shop.example.com", modern, "deep"},
		{"both.example.com", modern, "p384"}, // ECDSA before RSA, then the stronger hash
		{"both.example.com", onlyRSA, "rsaboth"},
		{"any.example.com", onlyRSA, "default"},
	} {
		hello := &tls.ClientHelloInfo{ServerName: c.host, SignatureSchemes: c.schemes, SupportedVersions: []uint16{tls.VersionTLS13}, SupportedCurves: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384}}
		if got := chooseIdentity(all, hello, time.Now()); got.conf.ARN != c.want {
			t.Errorf("chooseIdentity(%q) = %s, want %s", c.host, got.conf.ARN, c.want)
		}
	}
}

var sealedKeys = map[string]*testPair{}

// TestTLS_CertificateChangeLosesNothing changes the certificate again and again under keep-alive and new connections.
func TestTLS_CertificateChangeLosesNothing(t *testing.T) {
	r := newRig(t)
	port := freePort(t)
	pairs := []*testPair{newTestPair(t, nil, "a.example.com"), newTestPair(t, nil, "a.example.com")}
	target := backend(t, named("here"))
	r.put(secure(site(port, target), pairs[0].sealed(t, r.dir, "cert")))
	r.wait("tg", target, lbconfig.Healthy)

	var wg sync.WaitGroup
	var requests atomic.Int64
	stop := make(chan struct{})
	seen := [2]atomic.Int64{}
	for i := range 6 {
		wg.Go(func() {
			c := trusting(1+i%2, pairs...)
			defer c.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := c.Get("https://" + local(port) + "/")
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || string(body) != "here" {
					t.Errorf("%d %q %v", resp.StatusCode, body, err)
					return
				}
				for j, p := range pairs {
					if bytes.Equal(resp.TLS.PeerCertificates[0].Raw, p.x.Raw) {
						seen[j].Add(1)
					}
				}
				requests.Add(1)
				if i >= 2 { // the others keep their connection throughout
					c.CloseIdleConnections()
				}
			}
		})
	}
	for i := range 40 {
		n := requests.Load()
		r.put(secure(site(port, target), pairs[(i+1)%2].sealed(t, r.dir, "cert")))
		eventually(t, "requests go on", func() bool { return requests.Load() > n+3 || t.Failed() })
	}
	close(stop)
	wg.Wait()
	if seen[0].Load() == 0 || seen[1].Load() == 0 {
		t.Errorf("certificates seen: %d and %d times, want both", seen[0].Load(), seen[1].Load())
	}
	t.Logf("%d requests, 40 changes", requests.Load())
}

func TestTLS_KeyThatCantBeOpened(t *testing.T) {
	r := newRig(t)
	good, bad, port, other := newTestPair(t, nil, "a.example.com"), newTestPair(t, nil, "a.example.com"), freePort(t), freePort(t)
	broken := bad.sealed(t, t.TempDir(), "bad") // by another key
	s := secure(site(port), good.sealed(t, r.dir, "cert"))
	s.Certificates = append(s.Certificates, broken)
	l := s.Balancers[0].Listeners[0]
	l.ARN, l.Port, l.TLS = "other", other, &lbconfig.TLS{Min: tls.VersionTLS13, Max: tls.VersionTLS13, Certificates: []string{"bad"}}
	l.Rules = []lbconfig.Rule{{ARN: "other-default", Action: forwardTo("tg")}}
	s.Balancers[0].Listeners = append(s.Balancers[0].Listeners, l)
	s.Rev = 1
	st, err := r.client.Put(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range st.Listeners {
		if (l.Error != "") != (l.Listener == "other") || strings.Contains(l.Error, "PRIVATE") {
			t.Errorf("%s: error %q", l.Listener, l.Error)
		}
	}
	conn, err := tls.Dial("tcp", local(port), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Errorf("the listener beside: %v", err)
	} else {
		conn.Close()
	}
	if conn, err := tls.Dial("tcp", local(other), &tls.Config{InsecureSkipVerify: true}); err == nil {
		conn.Close()
		t.Error("a handshake without a key")
	}
}

// TestTLS_SilentClientsHoldNobodyUp: a client that begins a handshake and says no more.
func TestTLS_SilentClientsHoldNobodyUp(t *testing.T) {
	r := newRig(t)
	port, pair := freePort(t), newTestPair(t, nil, "a.example.com")
	r.put(secure(site(port), pair.sealed(t, r.dir, "cert")))
	for range 50 {
		c, err := net.Dial("tcp", local(port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write([]byte{22, 3, 1})
	}
	resp, err := trusting(1, pair).Get("https://" + local(port) + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestRootTLS_WorkerHasTheKeyFromItsParent(t *testing.T) {
	p := newPair(t)
	port, pair := freePort(t), newTestPair(t, nil, "a.example.com")
	sealed := pair.sealed(t, p.dir, "cert") // makes the key, which the parent has not read yet
	p.stop()
	p.start()
	p.put(secure(site(port), sealed))
	ask := func() {
		t.Helper()
		eventually(t, "the listener answers", func() bool {
			c := trusting(1, pair)
			defer c.CloseIdleConnections()
			resp, err := c.Get("https://" + local(port) + "/")
			if err == nil {
				resp.Body.Close()
			}
			return err == nil
		})
	}
	ask()
	p.killParent() // the worker keeps the key
	ask()
	p.start()
	port = freePort(t) // a port that only the new parent can bind
	p.put(secure(site(port), sealed))
	ask()
	text, err := os.ReadFile(filepath.Join(p.dir, "snapshot.json"))
	if err != nil || bytes.Contains(text, []byte("PRIVATE")) {
		t.Errorf("the snapshot tells a key (%v)", err)
	}
}

func TestListener_ChangesHeaders(t *testing.T) {
	r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Server", "mine")
		w.Header().Set("X-Frame-Options", "SAMEORIGIN")
		io.WriteString(w, q.Header.Get("X-Version")+" "+q.Header.Get("X-Amzn-Tls-Version"))
	}))
	s := secure(site(port, target), pair.sealed(t, r.dir, "cert"))
	s.Balancers[0].Routing.TLSHeaders = true
	l := &s.Balancers[0].Listeners[0]
	l.Headers = lbconfig.Headers{Response: map[string]string{"X-Frame-Options": "DENY", "Strict-Transport-Security": "max-age=60"}, NoServer: true, TLSVersion: "X-Version"}
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	for _, version := range []int{1, 2} {
		for _, own := range []bool{false, true} {
			if own {
				l.Rules[0].Action = lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: 404}}
			} else {
				l.Rules[0].Action = forwardTo("tg")
			}
			r.put(s)
			if !own { // no rule named the group a moment ago, so it wasn't checked
				r.wait("tg", target, lbconfig.Healthy)
			}
			c := trusting(version, pair)
			resp, err := c.Get("https://" + local(port) + "/")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			c.CloseIdleConnections()
			server, text := "mine", "TLSv1.3 "
			if own { // the balancer's own has no Server header at all
				server, text = "", ""
			}
			got := fmt.Sprint(resp.Header["X-Frame-Options"], resp.Header["Strict-Transport-Security"], resp.Header.Get("Server"), string(body))
			if want := fmt.Sprint([]string{"DENY"}, []string{"max-age=60"}, server, text); got != want {
				t.Errorf("HTTP/%d, own %v: %s, want %s", version, own, got, want)
			}
		}
	}
}
