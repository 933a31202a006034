package state

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// ELBv2's records. All but the statuses and healths are intent, written by the API and, for
// targets, by the tasks that register themselves; the statuses and healths are written by target.
//
// A key is the scope and the last parts of the ARN, so that everything of one load balancer lies
// under one prefix: NAME/ID, NAME/ID/LISTENER, NAME/ID/LISTENER/RULE; targets under their group.
var (
	LoadBalancers        = store.NewTable[LoadBalancer]("elb.load-balancer")              // scope/name/id
	LoadBalancerStatuses = store.NewTable[LoadBalancerStatus]("elb.load-balancer.status") // as LoadBalancers; written by target
	Listeners            = store.NewTable[Listener]("elb.listener")                       // scope/name/id/listener
	Rules                = store.NewTable[Rule]("elb.rule")                               // scope/name/id/listener/rule
	TargetGroups         = store.NewTable[TargetGroup]("elb.target-group")                // scope/name/id
	Targets              = store.NewTable[Target]("elb.target")                           // scope/name/id of the group/address:port
	TargetHealths        = store.NewTable[TargetHealth]("elb.target.health")              // as Targets; written by target
)

// The schemes of a load balancer.
const (
	InternetFacing = "internet-facing"
	Internal       = "internal"
)

// The states of a load balancer. Source: ELBv2 API, LoadBalancerState.
const (
	Provisioning = "provisioning"
	Active       = "active"
	Failed       = "failed"
)

// A LoadBalancer is an application load balancer.
type LoadBalancer struct {
	Scope              arn.Scope
	Name               string
	ID                 string // 16 hex digits
	DNSName            string // in lower case
	Scheme             string // InternetFacing, Internal
	VPC                string
	Subnets            []string // ids, one for each zone, at least two
	Groups             []string // security groups' ids, never empty
	ENIs               []string // interface ids, one for each of Subnets, in their order
	IdleTimeout        int      // seconds, 1 to 4000; default 60
	KeepAlive          int      `json:",omitempty"` // seconds that a client's connection is kept, 60 to 604800; 0: 3600
	Routing            Routing  `json:",omitzero"`
	AccessLogs         LogFiles `json:",omitzero"`
	ConnectionLogs     LogFiles `json:",omitzero"`
	DeletionProtection bool
	NoHTTP2            bool `json:",omitempty"` // clients of HTTPS listeners aren't offered it
	CreatedAt          time.Time
	Tags               map[string]string
}

// LogFiles is where a load balancer's log goes: a directory in the server's data takes the place of S3.
type LogFiles struct {
	Enabled        bool
	Bucket, Prefix string
}

// Routing is how a load balancer passes requests on, in the words of its attributes. Its zero value is AWS's default.
type Routing struct {
	Desync             string `json:",omitempty"` // monitor, defensive, strictest; "": defensive
	ForwardedFor       string `json:",omitempty"` // append, preserve, remove; "": append
	ClientPort         bool   `json:",omitempty"`
	PreserveHost       bool   `json:",omitempty"`
	DropInvalidHeaders bool   `json:",omitempty"`
	TLSHeaders         bool   `json:",omitempty"`
}

// ARN names the load balancer.
func (b LoadBalancer) ARN() string {
	return b.Scope.ARN("elasticloadbalancing", "loadbalancer/app/"+b.Name+"/"+b.ID)
}

// Key is the load balancer's key, and with a slash the prefix of its listeners' and rules'.
func (b LoadBalancer) Key() string { return b.Scope.Key(b.Name, b.ID) }

// InterfaceDescription is what AWS writes on the load balancer's interfaces.
func (b LoadBalancer) InterfaceDescription() string { return "ELB app/" + b.Name + "/" + b.ID }

// A LoadBalancerStatus is how the load balancer fares. Without one it is provisioning.
type LoadBalancerStatus struct {
	State, Reason string
	Failed        []string `json:",omitempty"` // zones that DNS leaves out: too few of their targets are healthy
}

// A Listener is a port of a load balancer, with the rule for what no other rule takes.
type Listener struct {
	Scope         arn.Scope
	Balancer      string // NAME/ID
	ID            string // 16 hex digits
	Port          int
	Protocol      string            // HTTP, HTTPS
	Certificates  []string          `json:",omitempty"` // ARNs: the default, then the list, which may have the default too. Only of HTTPS
	Policy        string            `json:",omitempty"` // a TLS security policy. Only of HTTPS
	Response      map[string]string `json:",omitempty"` // headers of answers, by name
	NoServer      bool              `json:",omitempty"` // answers of the balancer's own have no Server header
	TLSVersion    string            `json:",omitempty"` // name of the header that tells targets of it; "": X-Amzn-Tls-Version
	TLSCipher     string            `json:",omitempty"` // as TLSVersion; "": X-Amzn-Tls-Cipher-Suite
	Default       []Action
	DefaultRuleID string // 16 hex digits
	Tags          map[string]string
}

// ARN names the listener.
func (l Listener) ARN() string {
	return l.Scope.ARN("elasticloadbalancing", "listener/app/"+l.Balancer+"/"+l.ID)
}

// Key is the listener's key, and with a slash the prefix of its rules'.
func (l Listener) Key() string { return l.Scope.Key(l.Balancer, l.ID) }

// BalancerARN names the listener's load balancer.
func (l Listener) BalancerARN() string {
	return l.Scope.ARN("elasticloadbalancing", "loadbalancer/app/"+l.Balancer)
}

// DefaultRuleARN names the rule made of Default, which has no record of its own.
func (l Listener) DefaultRuleARN() string {
	return l.Scope.ARN("elasticloadbalancing", "listener-rule/app/"+l.Balancer+"/"+l.ID+"/"+l.DefaultRuleID)
}

// A Rule takes the requests that fulfil all its conditions.
type Rule struct {
	Scope      arn.Scope
	Listener   string // NAME/ID/LISTENER
	ID         string // 16 hex digits
	Priority   int    // 1 to 50000, lowest first, once in a listener
	Conditions []Condition
	Transforms []Transform `json:",omitempty"` // at most one of a type; only with forward
	Actions    []Action
	Tags       map[string]string
}

// A Transform rewrites requests before they are sent to targets: what matches Regex becomes Replace.
type Transform struct {
	Type           string // host-header-rewrite, url-rewrite
	Regex, Replace string
}

// ARN names the rule.
func (r Rule) ARN() string {
	return r.Scope.ARN("elasticloadbalancing", "listener-rule/app/"+r.Listener+"/"+r.ID)
}

// Key is the rule's key.
func (r Rule) Key() string { return r.Scope.Key(r.Listener, r.ID) }

// A Condition holds when one of its values matches. Just one of Values, Regex and Query has any.
type Condition struct {
	Field  string           // path-pattern, host-header, http-header, http-request-method, query-string, source-ip
	Name   string           `json:",omitempty"` // of the header
	Values []string         `json:",omitempty"`
	Regex  []string         `json:",omitempty"`
	Query  []QueryParameter `json:",omitempty"`
}

// A QueryParameter is looked for in a query string: patterns, the key "" is any.
type QueryParameter struct {
	Key   string `json:",omitempty"`
	Value string
}

// An Action is one of forward, fixed-response and redirect.
type Action struct {
	Type     string
	Order    int             `json:",omitempty"` // as given; 0: none
	Groups   []WeightedGroup `json:",omitempty"` // of forward
	Sticky   GroupStickiness `json:",omitzero"`  // of forward
	Fixed    FixedResponse   `json:",omitzero"`
	Redirect Redirect        `json:",omitzero"`
}

// A WeightedGroup gets its share of the requests: Weight, 0 to 999, of the sum of all weights.
type WeightedGroup struct {
	ARN    string
	Weight int
}

// A GroupStickiness keeps clients with the target group they had.
type GroupStickiness struct {
	Enabled bool
	Seconds int // 1 to 604800; 0: none given
}

// A FixedResponse answers without a target.
type FixedResponse struct {
	Status            int
	ContentType, Body string
}

// A Redirect sends the client elsewhere; its strings hold AWS's placeholders, such as #{host}.
type Redirect struct {
	Protocol, Host, Port, Path, Query string
	Status                            int // 301, 302
}

// A TargetGroup is a set of targets with one health check.
type TargetGroup struct {
	Scope               arn.Scope
	Name                string
	ID                  string // 16 hex digits
	VPC                 string
	Protocol            string // HTTP, HTTPS
	ProtocolVersion     string // HTTP1, HTTP2, GRPC
	Port                int    // of targets registered without one
	TargetType          string // ip
	Health              HealthCheck
	DeregistrationDelay int        // seconds, 0 to 3600; default 300
	Stickiness          Stickiness `json:",omitzero"`
	Algorithm           string     `json:",omitempty"` // round_robin, least_outstanding_requests, weighted_random; "": round_robin
	Mitigate            bool       `json:",omitempty"` // anomalous targets get less; with weighted_random
	SlowStart           int        `json:",omitempty"` // seconds, 30 to 900; 0: none
	MinHealthy          int        `json:",omitempty"` // targets, below which unhealthy ones get requests too; 0: one
	MinHealthyPercent   int        `json:",omitempty"` // as MinHealthy, of all targets; 0: off
	Failover            int        `json:",omitempty"` // healthy targets, below which DNS leaves a zone out; 0: one
	FailoverPercent     int        `json:",omitempty"` // as Failover, of all targets; 0: off
	NoFailover          bool       `json:",omitempty"` // Failover is off
	CrossZone           string     `json:",omitempty"` // true, false; "": as the load balancer, whose is always on
	CreatedAt           time.Time
	Tags                map[string]string
}

// A Stickiness keeps clients at the target they had. In its zero value all is AWS's default.
type Stickiness struct {
	Enabled            bool
	Type               string // lb_cookie, app_cookie; "": lb_cookie
	Cookie             string // of app_cookie
	BalancerSeconds    int    // 1 to 604800; 0: a day
	ApplicationSeconds int    // as BalancerSeconds
}

// DefaultStickiness is how long clients stay at a target, in seconds. Source: ALB user guide, target group attributes.
const DefaultStickiness = 86400

// Duration is how long after its last request a client stays at its target, in seconds.
func (s Stickiness) Duration() int {
	seconds := s.BalancerSeconds
	if s.Type == "app_cookie" {
		seconds = s.ApplicationSeconds
	}
	if seconds == 0 {
		return DefaultStickiness
	}
	return seconds
}

// A HealthCheck is how targets are examined.
type HealthCheck struct {
	Protocol           string // HTTP, HTTPS
	Port               string // traffic-port or a number
	Path, Matcher      string // with GRPC a method and status codes of gRPC
	Interval, Timeout  int    // seconds
	Healthy, Unhealthy int    // consecutive results
}

// ARN names the target group.
func (g TargetGroup) ARN() string {
	return g.Scope.ARN("elasticloadbalancing", "targetgroup/"+g.Name+"/"+g.ID)
}

// Key is the group's key, and with a slash the prefix of its targets'.
func (g TargetGroup) Key() string { return g.Scope.Key(g.Name, g.ID) }

// AllZones stands for a target's zone when it is outside of the VPC.
const AllZones = "all"

// A Target is one address and port in one group.
type Target struct {
	Group          string // ARN
	Address        string // IPv4
	Port           int
	Zone           string // a zone's name, AllZones, or ""
	RegisteredAt   time.Time
	DeregisteredAt time.Time // zero until it drains
}

// A TargetHealth is how a target fares, in the words of ELBv2's TargetHealth. Without one it is
// too early to tell.
type TargetHealth struct {
	State, Reason, Description string
	Anomalous, Mitigated       bool `json:",omitempty"` // as ELBv2's AnomalyDetection
}

// ELBKey is the key of the record that an ARN of the given type names: loadbalancer, listener,
// listener-rule or targetgroup. The ARN of another type or scope names nothing: "".
func ELBKey(sc arn.Scope, typ, s string) string {
	a, err := arn.Parse(s)
	if err != nil || a.Service != "elasticloadbalancing" || a.Account != sc.Account || a.Region != sc.Region || a.Type() != typ {
		return ""
	}
	name, parts := a.Name(), map[string]int{"targetgroup": 2, "loadbalancer": 2, "listener": 3, "listener-rule": 4}[typ]
	if typ != "targetgroup" {
		var app bool
		if name, app = strings.CutPrefix(name, "app/"); !app {
			return ""
		}
	}
	if strings.Count(name, "/") != parts-1 {
		return ""
	}
	return sc.Key(name)
}

// TargetGroupByARN finds a target group of the scope; store.ErrNotFound.
func TargetGroupByARN(tx store.Reader, sc arn.Scope, s string) (store.Object[TargetGroup], error) {
	key := ELBKey(sc, "targetgroup", s)
	if key == "" {
		return store.Object[TargetGroup]{}, fmt.Errorf("target group %q: %w", s, store.ErrNotFound)
	}
	return TargetGroups.Get(tx, key)
}

// TargetGroupBalancers are the ARNs of the load balancers with a listener or rule that forwards to the group.
func TargetGroupBalancers(tx store.Reader, sc arn.Scope, group string) ([]string, error) {
	var out []string
	uses := func(actions []Action, balancer string) {
		for _, a := range actions {
			for _, g := range a.Groups {
				if g.ARN == group && !slices.Contains(out, balancer) {
					out = append(out, balancer)
				}
			}
		}
	}
	for l, err := range Listeners.List(tx, sc.Key()) {
		if err != nil {
			return nil, err
		}
		uses(l.Val.Default, l.Val.BalancerARN())
		for r, err := range Rules.List(tx, l.Key+"/") {
			if err != nil {
				return nil, err
			}
			uses(r.Val.Actions, l.Val.BalancerARN())
		}
	}
	return out, nil
}

// TargetGroupInUse reports whether a listener or rule of a load balancer forwards to the group.
func TargetGroupInUse(tx store.Reader, sc arn.Scope, group string) (bool, error) {
	b, err := TargetGroupBalancers(tx, sc, group)
	return len(b) > 0, err
}

// RegisterTarget adds an address to a group and returns the target's key. One that is there stays
// as it is; one that drains serves again. store.ErrNotFound: there is no such group.
func RegisterTarget(tx *store.WriteTx, group, address string, port int, zone string) (key string, err error) {
	a, err := arn.Parse(group)
	if err != nil {
		return "", fmt.Errorf("target group %q: %w", group, store.ErrNotFound)
	}
	g, err := TargetGroupByARN(tx, arn.Scope{Account: a.Account, Region: a.Region}, group)
	if err != nil {
		return "", err
	}
	key = g.Key + "/" + net.JoinHostPort(address, strconv.Itoa(port))
	o, err := Targets.Get(tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	if err == nil && o.Val.DeregisteredAt.IsZero() {
		return key, nil
	}
	o.Val = Target{Group: group, Address: address, Port: port, Zone: zone, RegisteredAt: tx.Now()}
	if err := Targets.Put(tx, &o); err != nil {
		return "", err
	}
	// What was known of the former registration is not true of the new one.
	if err := TargetHealths.Delete(tx, key, 0); err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	return key, nil
}

// DeregisterTarget makes a target drain; one that drains goes on. It is deleted when nothing is
// in flight to it. store.ErrNotFound: it is gone already.
func DeregisterTarget(tx *store.WriteTx, key string) error {
	o, err := Targets.Get(tx, key)
	if err != nil {
		return err
	}
	if o.Val.DeregisteredAt.IsZero() {
		o.Val.DeregisteredAt = tx.Now()
	}
	return Targets.Put(tx, &o)
}
