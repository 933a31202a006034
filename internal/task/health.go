package task

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/state"
)

// firstDelay is the time between the first two checks of a container's run unless timing is strict; each further one is
// slowBy longer, up to the interval: what the balancer does with a new target.
const (
	firstDelay = 50 * time.Millisecond
	slowBy     = 1.25
)

// A checkRule is a container's health check with AWS's defaults.
type checkRule struct {
	args                           []string
	interval, timeout, startPeriod time.Duration
	retries                        int
	strict                         bool // AWS's waits from the begin on
}

// ruleOf reads a container's health check; false when it has none. Source: API Reference, HealthCheck.
func ruleOf(d ecstypes.ContainerDefinition, strict bool) (checkRule, bool) {
	h := d.HealthCheck
	if h == nil || len(h.Command) < 2 { // ["NONE"] is none
		return checkRule{}, false
	}
	r := checkRule{args: h.Command[1:], interval: seconds(h.Interval, 30), timeout: seconds(h.Timeout, 5), startPeriod: seconds(h.StartPeriod, 0),
		retries: int(orDefault(h.Retries, 3)), strict: strict}
	if h.Command[0] == "CMD-SHELL" {
		r.args = append([]string{"/bin/sh", "-c"}, r.args...)
	}
	return r, true
}

// A pulse is what the checks of one run of a container have told so far.
//
//	           first success              Retries failures in a row that count
//	UNKNOWN ────────────────▶ HEALTHY ◀────────────────────────────────────▶ UNHEALTHY
//	   │                               a success                                ▲
//	   └────────────────────────────────────────────────────────────────────────┘
//
// A failure counts when the start period is over or a check has succeeded, and when it comes at least an interval after the
// begin of the run or the last that counted: quick first checks never condemn a container sooner than AWS would.
type pulse struct {
	status   string
	failures int
	since    time.Time     // the begin, or the end of the last check whose failure counted
	grace    time.Time     // end of the start period; zero: over
	delay    time.Duration // from now, or the end of the last check, to the next one
}

// newPulse begins with what is on record of a run that began at started. What happened while nobody looked doesn't count.
func newPulse(status string, started, now time.Time, r checkRule) pulse {
	p := pulse{status: status, since: now}
	if status == state.Unknown {
		p.grace = started.Add(r.startPeriod)
	}
	if r.strict {
		p.delay = r.interval
	}
	return p
}

// after is the pulse after a check that ran from begun to ended; counted tells whether a failure made a difference.
func (p pulse) after(ok bool, begun, ended time.Time, r checkRule) (next pulse, counted bool) {
	if ok {
		return pulse{status: state.Healthy, since: ended, delay: r.interval}, false
	}
	quick := p.status == state.Unknown && !r.strict
	switch {
	case !quick:
		p.delay = r.interval
	case p.delay == 0:
		p.delay = min(firstDelay, r.interval)
	default:
		p.delay = min(time.Duration(float64(p.delay)*slowBy), r.interval)
	}
	if begun.Before(p.grace) || begun.Sub(p.since) < r.interval {
		return p, false
	}
	p.failures++
	p.since = ended
	if p.failures >= r.retries {
		p.status = state.Unhealthy
	}
	return p, true
}

// Private

func seconds(n *int32, def int32) time.Duration {
	return time.Duration(orDefault(n, def)) * time.Second
}

func orDefault(n *int32, def int32) int32 {
	if n == nil {
		return def
	}
	return aws.ToInt32(n)
}
