package lbconfig

import "net/netip"

// The states of a target. Source: ELBv2 API, TargetHealth.
const (
	Initial     = "initial"
	Healthy     = "healthy"
	Unhealthy   = "unhealthy"
	Unused      = "unused"
	Draining    = "draining"
	Unavailable = "unavailable"
)

// The reasons for a state. Source: ELBv2 API, TargetHealth.
const (
	RegistrationInProgress   = "Elb.RegistrationInProgress"
	InitialHealthChecking    = "Elb.InitialHealthChecking"
	ResponseCodeMismatch     = "Target.ResponseCodeMismatch"
	Timeout                  = "Target.Timeout"
	FailedHealthChecks       = "Target.FailedHealthChecks"
	NotInUse                 = "Target.NotInUse"
	DeregistrationInProgress = "Target.DeregistrationInProgress"
	HealthCheckDisabled      = "Target.HealthCheckDisabled"
)

// Descriptions are AWS's sentences for the reasons that have a fixed one.
var Descriptions = map[string]string{
	RegistrationInProgress:   "Target registration is in progress",
	InitialHealthChecking:    "Initial health checks in progress",
	Timeout:                  "Request timed out",
	FailedHealthChecks:       "Health checks failed",
	NotInUse:                 "Target group is not configured to receive traffic from the load balancer",
	DeregistrationInProgress: "Target deregistration is in progress",
	HealthCheckDisabled:      "Health checks are disabled",
}

// ZoneNotEnabled is the description of NotInUse for a target in a zone that its load balancer is not in.
const ZoneNotEnabled = "Target is in an Availability Zone that is not enabled for the load balancer"

// Status is what a balancer process reports.
type Status struct {
	// Rev is of the snapshot in force, 0 without one.
	Rev int64
	// Seq grows with every change that is worth waiting for, also across restarts of the process.
	Seq       int64
	Targets   []TargetStatus   // by group, then address
	Listeners []ListenerStatus // by balancer, listener, address
}

// TargetStatus is how one target fares in one group. AWS leaves Reason and Description of a healthy one empty.
type TargetStatus struct {
	Group                      string
	Addr                       netip.AddrPort
	State, Reason, Description string
	// InFlight are the requests, and upgraded connections, assigned to the target and not finished.
	InFlight int
	// Anomalous: disproportionately many of its answers are errors. Mitigated: it gets less than its share therefore.
	Anomalous, Mitigated bool `json:",omitempty"`
	// Drained: the snapshot Rev drains this target, nothing is in flight and nothing can come any more.
	Drained bool
}

// ListenerStatus is how a balancer's listener fares at one of its addresses.
type ListenerStatus struct {
	Balancer, Listener string // ARNs
	Addr               string // host:port
	Error              string // "": it is bound
}
