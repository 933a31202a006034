package lbconfig

import "strings"

// Headers is how a listener changes headers. Its zero value changes none.
// Source: ALB user guide, HTTP header modification.
type Headers struct {
	// Response are set in every answer, whatever the target said. By name, in canonical form.
	Response map[string]string `json:",omitempty"`
	// NoServer leaves the Server header out of answers of the balancer's own.
	NoServer bool `json:",omitempty"`
	// The names under which targets are told of a client's TLS; "": X-Amzn-Tls-Version, X-Amzn-Tls-Cipher-Suite.
	TLSVersion, TLSCipher string `json:",omitempty"`
}

func (v *validator) headers(arn string, h Headers) {
	for name, value := range h.Response {
		if name == "" || strings.ContainsAny(name+value, "\r\n\x00") {
			v.bad(arn, "header %q: %q is not one", name, value)
		}
	}
	if strings.ContainsAny(h.TLSVersion+h.TLSCipher, "\r\n\x00: ") {
		v.bad(arn, "header names %q and %q: not names", h.TLSVersion, h.TLSCipher)
	}
}
