package elb

import (
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
)

// defaultHealth is the health check of a new target group of a protocol version.
// Source: ALB user guide, target group health checks.
func defaultHealth(version string) state.HealthCheck {
	if version == "GRPC" {
		return state.HealthCheck{Protocol: "HTTP", Port: "traffic-port", Path: "/AWS.ALB/healthcheck", Matcher: "12", Interval: 30, Timeout: 5, Healthy: 5, Unhealthy: 2}
	}
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
func (g givenHealth) apply(h *state.HealthCheck, version string) error {
	if g.enabled != nil && !*g.enabled {
		return unfit("Health checks cannot be disabled for target groups of type 'ip'")
	}
	switch g.protocol {
	case "":
	case types.ProtocolEnumHttp, types.ProtocolEnumHttps:
		h.Protocol = string(g.protocol)
	default:
		return invalid("Health check protocol '%s' must be one of 'HTTP, HTTPS'", g.protocol)
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
		code, err := matcherOf(*g.matcher, version)
		if err != nil {
			return err
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

// matcherOf is the codes that a matcher asks for, of gRPC for a target group of that version and else of HTTP.
func matcherOf(m types.Matcher, version string) (string, error) {
	if version != "GRPC" {
		if m.GrpcCode != nil {
			return "", unfit("Matcher GrpcCode can only be specified for target groups of the protocol version 'GRPC'")
		}
		if code := aws.ToString(m.HttpCode); validMatcher(code, 3, 200, 499) {
			return code, nil
		}
		return "", invalid("HttpCode must be like 200 | 200-399 | 200,201 ...")
	}
	if m.HttpCode != nil {
		return "", unfit("Matcher HttpCode cannot be specified for target groups of the protocol version 'GRPC'")
	}
	if code := aws.ToString(m.GrpcCode); validMatcher(code, 2, 0, 99) {
		return code, nil
	}
	return "", invalid("GrpcCode must be like 0 | 0-5 | 0,1 ...")
}

// validMatcher: codes of at most so many digits and ranges of them, with commas between. Source: ELBv2 API, Matcher.
func validMatcher(s string, digits, low, high int) bool {
	for _, part := range strings.Split(s, ",") {
		lo, hi, found := strings.Cut(part, "-")
		if !found {
			hi = lo
		}
		a, errA := strconv.Atoi(lo)
		b, errB := strconv.Atoi(hi)
		if errA != nil || errB != nil || len(lo) > digits || len(hi) > digits || a < low || b > high || a > b {
			return false
		}
	}
	return true
}
