package lbconfig

import "time"

// The modes of desync mitigation. Source: ALB user guide, desync mitigation mode.
const (
	Monitor   = "monitor"   // all requests are routed
	Defensive = "defensive" // severe ones are blocked, and after ambiguous ones the connections are closed
	Strictest = "strictest" // only compliant ones are routed
)

// What becomes of X-Forwarded-For. Source: ALB user guide, X-Forwarded headers.
const (
	Append   = "append"
	Preserve = "preserve"
	Remove   = "remove"
)

// DefaultKeepAlive is how long a client's connection is kept. Source: ALB user guide, client_keep_alive.seconds.
const DefaultKeepAlive = time.Hour

// Routing is how a load balancer passes requests on. Its zero value is AWS's default.
// Source: ALB user guide, load balancer attributes.
type Routing struct {
	Desync       string `json:",omitempty"` // Monitor, Defensive, Strictest; "": Defensive
	ForwardedFor string `json:",omitempty"` // Append, Preserve, Remove; "": Append
	ClientPort   bool   `json:",omitempty"` // in X-Forwarded-For
	PreserveHost bool   `json:",omitempty"` // as the client sent it
	// DropInvalidHeaders removes fields with names of other characters than letters, digits and hyphens.
	DropInvalidHeaders bool `json:",omitempty"`
	// TLSHeaders tells targets the version and cipher suite of the client's connection.
	TLSHeaders bool `json:",omitempty"`
}

func (v *validator) routing(arn string, r Routing) {
	switch r.Desync {
	case "", Monitor, Defensive, Strictest:
	default:
		v.bad(arn, "desync mitigation %q: must be %s, %s or %s", r.Desync, Monitor, Defensive, Strictest)
	}
	switch r.ForwardedFor {
	case "", Append, Preserve, Remove:
	default:
		v.bad(arn, "X-Forwarded-For %q: must be %s, %s or %s", r.ForwardedFor, Append, Preserve, Remove)
	}
}
