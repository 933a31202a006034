package linklocal

import (
	"net/http"
	"net/http/httputil"
	"strings"
	"time"
)

// relay hands requests for the AWS API, and for the registry, to the server, as they are: the Host
// that was signed stays. Without a server the answer is one that SDKs try again after.
func (v *vpcServer) relay() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", *v.api.Load(), p.In.Host
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: 10 * time.Second, DisableCompression: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			reply(w, http.StatusServiceUnavailable, map[string]string{"__type": "ServiceUnavailableException", "message": "The Lotse server is not running."})
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_lotse/") || r.URL.Path == "/metrics" { // the operator's
			http.NotFound(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}
