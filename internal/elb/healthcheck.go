package elb

import (
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
)

// defaultHealth is the health check of a new target group of the protocol HTTP.
// Source: ALB user guide, target group health checks.
func defaultHealth() state.HealthCheck {
	return state.HealthCheck{Protocol: "HTTP", Port: "traffic-port", Path: "/", Matcher: "200", Interval: 30, Timeout: 5, Healthy: 5, Unhealthy: 2}
}

// healthPathRE admits what can stand in a request line. Source: RFC 3986, path and query.
var healthPathRE = lazyregexp.New(`^/[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*$`)

// givenHealth is the health check as CreateTargetGroup and ModifyTargetGroup give it; nil and "" keep what is there.
type givenHealth struct {
	enabled            *bool
	protocol           types.ProtocolEnum
	port, path         *string
	interval, timeout  *int32
	healthy, unhealthy *int32
	matcher            *types.Matcher
}

// apply changes h, which the caller throws away on an error.
func (g givenHealth) apply(h *state.HealthCheck) error {
	if g.enabled != nil && !*g.enabled {
		return unfit("Health checks cannot be disabled for target groups of type 'ip'")
	}
	if g.protocol != "" && g.protocol != types.ProtocolEnumHttp {
		return unfit("Lotse's health checks have the protocol 'HTTP', not '%s', yet.", g.protocol)
	}
	if p := aws.ToString(g.port); p != "" {
		if n, err := strconv.Atoi(p); p != "traffic-port" && (err != nil || n < 1 || n > 65535) {
			return invalid("Health check port '%s' must be 'traffic-port' or a number between '1-65535' inclusive", p)
		}
		h.Port = p
	}
	if p := aws.ToString(g.path); p != "" {
		if len(p) > 1024 || !healthPathRE.MatchString(p) {
			return invalid("Health check path '%s' must begin with '/', can have at most 1024 characters and only those of a URL", p)
		}
		h.Path = p
	}
	if g.matcher != nil {
		if err := onlyMembers("Matcher", *g.matcher, "HttpCode"); err != nil {
			return err
		}
		code := aws.ToString(g.matcher.HttpCode)
		if !validMatcher(code) {
			return invalid("HttpCode must be like 200 | 200-399 | 200,201 ...")
		}
		h.Matcher = code
	}
	for _, n := range []struct {
		name      string
		given     *int32
		low, high int
		to        *int
	}{
		{"Health check interval", g.interval, 5, 300, &h.Interval},
		{"Health check timeout", g.timeout, 2, 120, &h.Timeout},
		{"Healthy threshold count", g.healthy, 2, 10, &h.Healthy},
		{"Unhealthy threshold count", g.unhealthy, 2, 10, &h.Unhealthy},
	} {
		if n.given == nil {
			continue
		}
		if *n.to = int(*n.given); *n.to < n.low || *n.to > n.high {
			return invalid("%s '%d' must be between '%d-%d' inclusive", n.name, *n.to, n.low, n.high)
		}
	}
	if h.Timeout >= h.Interval {
		return invalid("Health check timeout '%d' must be smaller than the interval '%d'", h.Timeout, h.Interval)
	}
	return nil
}

// Private

// validMatcher: codes from 200 to 499 and ranges of them, with commas between.
// Source: ELBv2 API, Matcher.
func validMatcher(s string) bool {
	for _, part := range strings.Split(s, ",") {
		lo, hi, found := strings.Cut(part, "-")
		if !found {
			hi = lo
		}
		a, errA := strconv.Atoi(lo)
		b, errB := strconv.Atoi(hi)
		if errA != nil || errB != nil || len(lo) != 3 || len(hi) != 3 || a < 200 || b > 499 || a > b {
			return false
		}
	}
	return true
}
