package lb

import (
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// firstDelay is the time between the first two checks of a new target unless its group is strict; each further one
// is slowBy longer, up to the interval. So a target that takes a second to come up is seen at most a quarter later.
const (
	firstDelay = 50 * time.Millisecond
	slowBy     = 1.25
)

// health is what is known of one target in one group.
//
//	           first success                   Unhealthy failures in a row
//	initial ────────────────────▶ healthy ◀──────────────────────────────▶ unhealthy
//	   │                                     Healthy successes in a row       ▲
//	   └──────────────────────────────────────────────────────────────────────┘
//	     Unhealthy failures in a row, which take Unhealthy × Interval in all
//
// Its zero value is not in use. Sources: ALB user guide, target group health checks; ELBv2 API, TargetHealth.
type health struct {
	state, reason, text string
	good, bad           int       // results in a row
	checks              int       // results while initial
	first               time.Time // start of the first check while initial
}

// result is the outcome of one check; reason "" is a success.
type result struct {
	started      time.Time
	reason, text string
}

func newHealth() health {
	return health{state: lbconfig.Initial, reason: lbconfig.RegistrationInProgress,
		text: lbconfig.Descriptions[lbconfig.RegistrationInProgress]}
}

func fixedHealth(state, reason string) health {
	return health{state: state, reason: reason, text: lbconfig.Descriptions[reason]}
}

// observe is the state after a result. hc.Interval counts while initial: quick early checks must not condemn a
// target sooner than AWS's would.
func (h health) observe(r result, hc lbconfig.HealthCheck) health {
	if r.reason == "" {
		h.good, h.bad = h.good+1, 0
		if h.state == lbconfig.Initial || h.state == lbconfig.Unhealthy && h.good >= hc.Healthy {
			return health{state: lbconfig.Healthy}
		}
		return h
	}
	h.good, h.bad = 0, h.bad+1
	switch h.state {
	case lbconfig.Initial:
		if h.checks++; h.checks == 1 {
			h.first = r.started
		}
		span := time.Duration(hc.Unhealthy) * hc.Interval
		if h.bad < hc.Unhealthy || !hc.Strict && r.started.Sub(h.first) < span-hc.Interval {
			h.reason, h.text = lbconfig.InitialHealthChecking, lbconfig.Descriptions[lbconfig.InitialHealthChecking]
			return h
		}
	case lbconfig.Healthy:
		if h.bad < hc.Unhealthy {
			return h
		}
	}
	h.state, h.reason, h.text = lbconfig.Unhealthy, r.reason, r.text
	return h
}

// delay is the time from the start of one check to the start of the next.
func (h health) delay(hc lbconfig.HealthCheck) time.Duration {
	if h.state != lbconfig.Initial || hc.Strict {
		return hc.Interval
	}
	d := float64(firstDelay)
	for i := 1; i < h.checks && d < float64(hc.Interval); i++ {
		d *= slowBy
	}
	return min(time.Duration(d), hc.Interval)
}
