// Package lbconfig is what the control plane and the load balancer say to each other: the snapshot of all balancers
// and target groups that the one writes, the status that the other reports, and the file and the socket they pass
// them through.
//
// A snapshot is complete and immutable. The writer first saves it (Save: beside, synced, renamed), then tells the
// balancer (Client.Put). A balancer that starts with nobody there serves the saved one.
//
//	s := lbconfig.Snapshot{Rev: 7, Balancers: …, Groups: …}
//	err := lbconfig.Save(path, s)
//	st, err := client.Put(ctx, s)           // applied: listeners are bound, rules are in force
//	st, err = client.Status(ctx, st.Seq)    // waits for the next change
package lbconfig

import (
	"net/netip"
	"time"
)

// The action types of a rule.
const (
	Forward       = "forward"
	FixedResponse = "fixed-response"
	RedirectTo    = "redirect"
)

// The condition fields of a rule.
const (
	PathPattern   = "path-pattern"
	HostHeader    = "host-header"
	HTTPHeader    = "http-header"
	RequestMethod = "http-request-method"
	QueryString   = "query-string"
	SourceIP      = "source-ip"
)

// Limits and defaults. Source: ALB user guide, quotas and attributes.
const (
	MaxPattern         = 128  // bytes of one pattern
	MaxConditionValues = 5    // values of all conditions of a rule together
	MaxRewrite         = 1024 // bytes of a rewrite's expression, or replacement
	MaxWeight          = 999
	MaxForwardGroups   = 5
	MaxSticky          = 7 * 24 * time.Hour
	MaxSlowStart       = 900 * time.Second
	DefaultIdleTimeout = 60 * time.Second
)

// Snapshot is everything a balancer process serves. Rev grows with every snapshot; an older one is refused.
type Snapshot struct {
	Rev       int64
	Balancers []Balancer
	Groups    []TargetGroup
	// Certificates are those of the listeners that speak TLS.
	Certificates []Certificate `json:",omitempty"`
}

// Balancer is one load balancer.
type Balancer struct {
	ARN, Name, DNSName, Scheme string

	// Netns is the path of the VPC's namespace; "" is the namespace of the balancer process itself.
	Netns string
	// ENIs are the balancer's addresses inside Netns, one per subnet: it listens there and reaches its targets from
	// there. The first one sends the health checks.
	ENIs []netip.Addr
	// Public are addresses in the host's namespace where it listens too.
	Public []netip.Addr
	// Zones are the availability zones of ENIs and Public.
	Zones map[netip.Addr]string `json:",omitempty"`
	// Front is the host:port, in the host's namespace, that balancers share and are told apart at by Names; "" for
	// none. The front speaks for the listener on port 80, or if there is none the one with the lowest port.
	Front string
	// Names are the Host values, without a port and in any case, that Front answers for.
	Names []string
	// Ingress are the rules of its security groups, judged by client address at Public and Front. (At ENIs the
	// packet filter judges.) None admits nobody.
	Ingress []Allow
	// IdleTimeout is how long a connection may carry no byte. 0 is 60 s.
	IdleTimeout time.Duration
	// KeepAlive is how long a client's connection is kept. 0 is an hour.
	KeepAlive time.Duration `json:",omitempty"`
	Routing   Routing       `json:",omitzero"`
	// AccessLogs: its requests are logged; ConnectionLogs: the connections of its clients are.
	AccessLogs, ConnectionLogs bool `json:",omitempty"`
	Listeners                  []Listener
}

// Life is KeepAlive or its default.
func (b *Balancer) Life() time.Duration {
	if b.KeepAlive == 0 {
		return DefaultKeepAlive
	}
	return b.KeepAlive
}

// Idle is IdleTimeout or its default.
func (b *Balancer) Idle() time.Duration {
	if b.IdleTimeout == 0 {
		return DefaultIdleTimeout
	}
	return b.IdleTimeout
}

// Allow admits TCP clients in From to the ports Lo to Hi, both included.
type Allow struct {
	From   netip.Prefix
	Lo, Hi uint16
}

// Listener is one HTTP port of a balancer, at all its addresses.
type Listener struct {
	ARN     string
	Port    uint16
	TLS     *TLS    `json:",omitempty"` // nil: it speaks plain HTTP
	Headers Headers `json:",omitzero"`
	Rules   []Rule  // by priority; the last has no conditions: the default
}

// Rule is what happens to requests that fulfil all conditions.
type Rule struct {
	ARN        string
	Priority   int `json:",omitempty"` // in logs; 0: the default
	Conditions []Condition
	Rewrites   []Rewrite `json:",omitempty"` // at most one of a kind; only with Forward
	Action     Action
}

// The kinds of rewrites.
const (
	RewriteHost = "host-header-rewrite"
	RewriteURL  = "url-rewrite"
)

// Rewrite changes the request that a target gets: what matches Regex becomes Replace, in which $1 is what the first
// group matched. RewriteHost is about the host without its port, RewriteURL about path and query. A request that does
// not match stays as it is.
type Rewrite struct{ Kind, Regex, Replace string }

// Condition holds when one of its values matches. Just one of Values, Regex and Query has any.
type Condition struct {
	Field string
	// Name is the field name of an HTTPHeader condition.
	Name string `json:",omitempty"`
	// Values are patterns, in which * stands for any characters, also none, and ? for one; of RequestMethod plain
	// words, of SourceIP prefixes (10.0.0.0/8).
	Values []string `json:",omitempty"`
	// Regex are regular expressions (Go's syntax); of PathPattern, HostHeader and HTTPHeader.
	Regex []string `json:",omitempty"`
	// Query are parameters to look for; of QueryString.
	Query []Parameter `json:",omitempty"`
}

// Parameter is a parameter of a query string. Both are patterns, in which \ takes the next character's meaning away.
type Parameter struct {
	Key   string `json:",omitempty"` // "" is any
	Value string
}

// Action is one of Forward, FixedResponse, RedirectTo.
type Action struct {
	Type   string
	Groups []Weighted `json:",omitempty"`
	// Sticky is how long after its last request a client stays with the group it had. 0: it does not.
	Sticky   time.Duration `json:",omitempty"`
	Fixed    Fixed         `json:",omitzero"`
	Redirect Redirect      `json:",omitzero"`
}

// Weighted is a target group with its share: Weight of the sum of weights, 0 to 999.
type Weighted struct {
	ARN    string
	Weight int
}

// Fixed is an answer without a target. ContentType "" with a body is text/plain.
type Fixed struct {
	Status            int
	ContentType, Body string
}

// Redirect sends the client elsewhere. Its strings may hold #{protocol}, #{host}, #{port}, #{path} (without the first
// slash) and #{query}; an empty one is the placeholder of its name.
type Redirect struct {
	Protocol, Host, Port, Path, Query string
	Status                            int // 301 or 302
}

// TargetGroup is a set of targets with one health check.
type TargetGroup struct {
	ARN, Name string
	// Secure: targets speak TLS. Their certificates are not looked at. Source: ALB user guide, target groups.
	Secure  bool   `json:",omitempty"`
	Version string `json:",omitempty"` // of HTTP with targets; "": HTTP1
	Health  HealthCheck
	// Deregistration is how long requests may stay open at a draining target; what is open then is cut.
	Deregistration time.Duration
	Stickiness     Stickiness `json:",omitzero"`
	Algorithm      string     `json:",omitempty"` // "": RoundRobin
	// Mitigate: anomalous targets get less than their share; with WeightedRandom.
	Mitigate bool `json:",omitempty"`
	// SlowStart is how long the share of a target that has become healthy grows to the full one; with RoundRobin.
	SlowStart time.Duration `json:",omitempty"`
	// With fewer healthy targets than MinHealthy, or than MinHealthyPercent of all, unhealthy ones get requests too.
	// 0 is one target, and no percentage.
	MinHealthy, MinHealthyPercent int `json:",omitempty"`
	// With fewer healthy targets than Failover, or than FailoverPercent of all, the balancer's nodes in a zone are left
	// out of DNS. 0 is off. Nothing for the balancer's process, it travels with what the status is about.
	Failover, FailoverPercent int `json:",omitempty"`
	// Zonal: a request goes to the targets of the zone that it came in at, and they alone are counted. One that came in
	// at Front goes to any.
	Zonal   bool `json:",omitempty"`
	Targets []Target
}

// The versions of HTTP that targets speak.
const (
	HTTP1 = "HTTP1"
	HTTP2 = "HTTP2"
	GRPC  = "GRPC" // HTTP/2 with its status in trailers
)

// The ways to choose a target.
const (
	RoundRobin       = "round_robin"
	LeastOutstanding = "least_outstanding_requests" // the one with the fewest requests in flight
	WeightedRandom   = "weighted_random"
)

// The types of stickiness.
const (
	BalancerCookie    = "lb_cookie"  // AWSALB, from the first answer on
	ApplicationCookie = "app_cookie" // AWSALBAPP, beside the cookie that the target sets
)

// Stickiness keeps a client at one target. Its zero value does not.
type Stickiness struct {
	Type     string        // BalancerCookie, ApplicationCookie, "": none
	Cookie   string        `json:",omitempty"` // the target's; of ApplicationCookie
	Duration time.Duration // since the client's last request
}

// HealthCheck says how targets are examined. Without Enabled all are served unexamined.
type HealthCheck struct {
	Enabled  bool
	Protocol string // HTTP, HTTPS, or TCP: a connection suffices
	Version  string `json:",omitempty"` // of HTTP; "": HTTP1. With GRPC, Path names a method, and Matcher is about its status
	Port     string // "traffic-port" or a number
	Path     string // HTTP only
	Matcher  string // HTTP only: 200 · 200,202 · 200-399
	// Interval is from the start of a check to the start of the next; Timeout covers connect and answer.
	Interval, Timeout time.Duration
	// Healthy and Unhealthy are the consecutive results that turn a target's state. A new one needs one success.
	Healthy, Unhealthy int
	// Strict keeps to AWS's timing: a new target too is examined once per interval only, and a draining one stays
	// for the whole Deregistration. Otherwise both end as soon as they can.
	Strict bool
}

// Target is one address of a group.
type Target struct {
	Addr     netip.AddrPort
	Zone     string `json:",omitempty"` // "": unknown, as good as any
	Draining bool
	Since    time.Time // registered, or draining since
}
