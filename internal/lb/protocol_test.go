package lb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// secureBackend is a target that speaks TLS with a certificate that nobody trusts.
func secureBackend(t testing.TB, h http.Handler, http2 bool) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = http2
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

// plainHTTP2 is a target that speaks HTTP/2 without TLS, and nothing else.
func plainHTTP2(t testing.TB, h http.Handler) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func tellProto(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s tls=%v", r.Proto, r.TLS != nil)
}

// group sets how the only group's targets, and their checks, speak.
func speaking(s lbconfig.Snapshot, secure bool, version string) lbconfig.Snapshot {
	g := &s.Groups[0]
	g.Secure, g.Version, g.Health.Version = secure, version, version
	if secure {
		g.Health.Protocol = "HTTPS"
	}
	return s
}

func TestTargets_Protocols(t *testing.T) {
	tell := http.HandlerFunc(tellProto)
	for _, c := range []struct {
		name    string
		target  func(testing.TB) netip.AddrPort
		secure  bool
		version string
		h1, h2  string // what clients of either version get
	}{
		{"HTTP/1.1", func(t testing.TB) netip.AddrPort { return backend(t, tell) }, false, lbconfig.HTTP1, "200 HTTP/1.1 tls=false", "200 HTTP/1.1 tls=false"},
		{"HTTP/1.1 under TLS", func(t testing.TB) netip.AddrPort { return secureBackend(t, tell, false) }, true, lbconfig.HTTP1, "200 HTTP/1.1 tls=true", "200 HTTP/1.1 tls=true"},
		{"HTTP/1.1 under TLS with HTTP/2 beside", func(t testing.TB) netip.AddrPort { return secureBackend(t, tell, true) }, true, "", "200 HTTP/1.1 tls=true", "200 HTTP/1.1 tls=true"},
		{"HTTP/2", func(t testing.TB) netip.AddrPort { return plainHTTP2(t, tell) }, false, lbconfig.HTTP2, "464 ", "200 HTTP/2.0 tls=false"},
		{"HTTP/2 under TLS", func(t testing.TB) netip.AddrPort { return secureBackend(t, tell, true) }, true, lbconfig.HTTP2, "464 ", "200 HTTP/2.0 tls=true"},
		{"gRPC only takes POST", func(t testing.TB) netip.AddrPort {
			return plainHTTP2(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Set("Grpc-Status", "0")
			}))
		}, false, lbconfig.GRPC, "464 ", "464 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
			target := c.target(t)
			s := speaking(secure(site(port, target), pair.sealed(t, r.dir, "cert")), c.secure, c.version)
			if c.version == lbconfig.GRPC {
				s.Groups[0].Health.Matcher = "0"
			}
			r.put(s)
			r.wait("tg", target, lbconfig.Healthy)
			for version, want := range map[int]string{1: c.h1, 2: c.h2} {
				client := trusting(version, pair)
				defer client.CloseIdleConnections()
				resp, err := client.Get("https://" + local(port) + "/")
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if got := fmt.Sprintf("%d %s", resp.StatusCode, body); got != want {
					t.Errorf("a client of HTTP/%d got %q, want %q", version, got, want)
				}
			}
		})
	}
}

func TestTargets_WrongProtocol(t *testing.T) {
	r, port := newRig(t), freePort(t)
	target := backend(t, named("plain")) // speaks no TLS, and the group says it does
	r.put(speaking(site(port, target), true, lbconfig.HTTP1))
	st := waitTarget(t, r.client, "tg", target, func(s lbconfig.TargetStatus) bool { return s.Reason == lbconfig.InitialHealthChecking })
	if st.State == lbconfig.Healthy {
		t.Error("healthy")
	}
}

// TestTrailers passes trailers both ways, to targets of both versions.
func TestTrailers(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "got "+r.Trailer.Get("X-Check"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
	})
	for version, target := range map[string]func(testing.TB, http.Handler) netip.AddrPort{lbconfig.HTTP1: backend, lbconfig.HTTP2: plainHTTP2} {
		r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
		at := target(t, echo)
		r.put(speaking(secure(site(port, at), pair.sealed(t, r.dir, "cert")), false, version))
		r.wait("tg", at, lbconfig.Healthy)
		client := trusting(2, pair)
		defer client.CloseIdleConnections()
		body, in := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+local(port)+"/", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Check": nil}
		go func() {
			io.WriteString(in, "hello")
			req.Trailer.Set("X-Check", "42")
			in.Close()
		}()
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(text) != "hello" || resp.Trailer.Get("X-Sum") != "got 42" || resp.Trailer.Get("X-Late") != "yes" {
			t.Errorf("%s: %q, trailers %v (%v)", version, text, resp.Trailer, err)
		}
	}
}

// TestGRPC has a real server and a real client speak through the balancer, a stream too.
func TestGRPC(t *testing.T) {
	r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	states := grpchealth.NewServer()
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, states)
	go server.Serve(ln)
	t.Cleanup(server.Stop)
	target := netip.MustParseAddrPort(ln.Addr().String())
	s := speaking(secure(site(port, target), pair.sealed(t, r.dir, "cert")), false, lbconfig.GRPC)
	s.Groups[0].Health.Path, s.Groups[0].Health.Matcher = "/AWS.ALB/healthcheck", "12" // what a server says that hasn't it
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)

	roots := x509.NewCertPool()
	roots.AddCert(pair.x)
	conn, err := grpc.NewClient(local(port), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "a.example.com"})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := healthpb.NewHealthClient(conn)
	if got, err := client.Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || got.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("Check = %v, %v", got, err)
	}
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "none"}); status.Code(err) != codes.NotFound {
		t.Errorf("Check of another service: %v, want the server's own NotFound", err)
	}
	watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		got, err := watch.Recv() // each message comes when it is sent, not at the end
		if err != nil || got.Status != want {
			t.Fatalf("Watch = %v, %v, want %v", got, err, want)
		}
		states.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	}

	// Without a target the status is UNAVAILABLE; to targets of HTTP/1.1 there is no gRPC.
	s.Groups[0].Targets = nil
	r.put(s)
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("without targets: %v", err)
	}
	s.Groups[0].Targets = []lbconfig.Target{{Addr: target, Since: began}}
	s.Groups[0].Health.Matcher = "200"
	r.put(speaking(s, false, lbconfig.HTTP1))
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{}); status.Code(err) != codes.Unknown {
		t.Errorf("to a group of HTTP/1.1: %v, want Unknown (464)", err)
	}
}
