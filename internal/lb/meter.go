package lb

import (
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// A meter counts what a balancer does in a zone, or what it does at one target group's targets in a zone, under CloudWatch's names. Adding is an
// atomic addition or two; nobody waits. A nil one counts nothing.
type meter struct {
	key    meterKey
	counts [meterCounts]atomic.Int64
	times  histogram // TargetResponseTime
}

// meterKey names a meter: a balancer's ARN, a group's or "", and the zone: of the address that clients reach, at a group
// of the target; "" is none. What is measured of all zones together has "" too.
type meterKey struct{ balancer, group, zone string }

// everywhere is the key of all zones together.
func (k meterKey) everywhere() meterKey { return meterKey{balancer: k.balancer, group: k.group} }

// What is counted, in the order of counted.
const (
	countRequests = iota
	countTarget2XX
	countTarget3XX
	countTarget4XX
	countTarget5XX
	countELB3XX
	countELB4XX
	countELB5XX
	countELB500
	countELB502
	countELB503
	countELB504
	countRules
	countRedirects
	countRedirectsTooLong
	countFixed
	countDroppedHeaders
	countForwardedHeaders
	countNonSticky
	countUnhealthyRouting
	countGRPC
	countNonCompliant
	countBytes
	countConnections
	countRejected
	countClientTLSErrors
	countTargetErrors
	countTargetTLSErrors
	meterCounts
)

// counted are CloudWatch's names. Source: ALB user guide, CloudWatch metrics.
var counted = [meterCounts]string{
	"RequestCount", "HTTPCode_Target_2XX_Count", "HTTPCode_Target_3XX_Count", "HTTPCode_Target_4XX_Count", "HTTPCode_Target_5XX_Count",
	"HTTPCode_ELB_3XX_Count", "HTTPCode_ELB_4XX_Count", "HTTPCode_ELB_5XX_Count", "HTTPCode_ELB_500_Count", "HTTPCode_ELB_502_Count",
	"HTTPCode_ELB_503_Count", "HTTPCode_ELB_504_Count", "RuleEvaluations", "HTTP_Redirect_Count", "HTTP_Redirect_Url_Limit_Exceeded_Count",
	"HTTP_Fixed_Response_Count", "DroppedInvalidHeaderRequestCount", "ForwardedInvalidHeaderRequestCount", "NonStickyRequestCount",
	"UnhealthyRoutingRequestCount", "GrpcRequestCount",
	"DesyncMitigationMode_NonCompliant_Request_Count", "ProcessedBytes", "NewConnectionCount", "RejectedConnectionCount",
	"ClientTLSNegotiationErrorCount", "TargetConnectionErrorCount", "TargetTLSNegotiationErrorCount",
}

func (m *meter) add(what int, n int64) {
	if m != nil && n != 0 {
		m.counts[what].Add(n)
	}
}

// measure counts an exchange that is over. Source of what counts where: ALB user guide, CloudWatch metrics.
func (x *exchange) measure() {
	all := x.entry.meterOf(x.listener)
	all.add(countBytes, x.conn.unmetered())
	x.conn.meter.Store(all)
	if x.grpc {
		all.add(countGRPC, 1)
	}
	if x.arrival.verdict.class > compliant {
		all.add(countNonCompliant, 1)
	}
	if x.rule != nil {
		all.add(countRules, int64(x.rule.nth))
		switch x.rule.act.Type {
		case lbconfig.FixedResponse:
			all.add(countFixed, 1)
		case lbconfig.RedirectTo:
			if x.status == http.StatusInsufficientStorage {
				all.add(countRedirectsTooLong, 1)
			} else {
				all.add(countRedirects, 1)
			}
		}
	}
	var group *meter
	if x.member.Load() != nil { // others are rejected before a target is chosen
		group = x.up.meter
		all.add(countRequests, 1)
		group.add(countRequests, 1)
		switch {
		case !x.arrival.invalidName:
		case x.listener.balancer.Routing.DropInvalidHeaders:
			all.add(countDroppedHeaders, 1)
		default:
			all.add(countForwardedHeaders, 1)
		}
		if x.unstuck {
			all.add(countNonSticky, 1)
		}
		if x.failedOpen {
			group.add(countUnhealthyRouting, 1)
		}
	}
	if x.answered != 0 {
		took := x.answeredAt.Sub(x.sentAt)
		for _, m := range []*meter{all, group} {
			if class := x.answered / 100; class >= 2 && class <= 5 {
				m.add(countTarget2XX+class-2, 1)
			}
			m.took(took)
		}
		return
	}
	status := x.logStatus()
	if class := status / 100; class >= 3 && class <= 5 {
		all.add(countELB3XX+class-3, 1)
	}
	switch status {
	case http.StatusInternalServerError:
		all.add(countELB500, 1)
	case http.StatusBadGateway:
		all.add(countELB502, 1)
	case http.StatusServiceUnavailable:
		all.add(countELB503, 1)
	case http.StatusGatewayTimeout:
		all.add(countELB504, 1)
	}
}

func (m *meter) took(d time.Duration) {
	if m != nil {
		m.times.observe(d)
	}
}

// unmetered are the bytes that have gone either way since it was asked last.
func (c *clientConn) unmetered() int64 {
	now := c.sent.Load() + c.received.Load()
	return now - c.metered.Swap(now)
}

// histogram counts durations in buckets of lbconfig.BucketOf.
type histogram struct {
	buckets [lbconfig.Buckets]atomic.Int64
	micros  atomic.Int64 // sum
}

func (h *histogram) observe(d time.Duration) {
	h.buckets[lbconfig.BucketOf(d.Seconds())].Add(1)
	h.micros.Add(d.Microseconds())
}

// reading is a meter at one time.
type reading struct {
	counts [meterCounts]int64
	times  [lbconfig.Buckets]int64
	micros int64
}

func (m *meter) read() *reading {
	r := &reading{micros: m.times.micros.Load()}
	for i := range r.counts {
		r.counts[i] = m.counts[i].Load()
	}
	for i := range r.times {
		r.times[i] = m.times.buckets[i].Load()
	}
	return r
}

// since is what was counted between two readings. CloudWatch has a sample of 1 for each.
func (r *reading) since(before *reading) map[string]lbconfig.Sample {
	out := map[string]lbconfig.Sample{}
	for i, n := range r.counts {
		if n -= before.counts[i]; n > 0 {
			out[counted[i]] = lbconfig.Sample{Sum: float64(n), Min: 1, Max: 1, Count: n}
		}
	}
	if n, ok := out["ProcessedBytes"]; ok { // one sample
		out["ProcessedBytes"] = lbconfig.Sample{Sum: n.Sum, Min: n.Sum, Max: n.Sum, Count: 1}
	}
	s := lbconfig.Sample{Sum: float64(r.micros-before.micros) / 1e6, Buckets: map[int]int64{}, Min: math.Inf(1)}
	for i, n := range r.times {
		if n -= before.times[i]; n > 0 {
			s.Buckets[i] = n
			s.Count += n
			s.Min, s.Max = min(s.Min, lbconfig.BucketEnd(i-1)), lbconfig.BucketEnd(i)
		}
	}
	if s.Count > 0 {
		out["TargetResponseTime"] = s
	}
	return out
}
