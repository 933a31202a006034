package elb

import (
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
)

// Limits of actions. Source: ELBv2 API, Action and its configurations.
const (
	maxForwardGroups = 5
	maxWeight        = 999
	maxFixedBody     = 1024
	maxRedirectPart  = 128
	maxOrder         = 50000
	maxSticky        = 604800 // seconds
)

var (
	fixedStatusRE = lazyregexp.New(`^[245]\d\d$`)
	contentTypes  = []string{"text/plain", "text/css", "text/html", "application/javascript", "application/json"}
)

// parseActions takes a rule's actions: just one of forward, fixed-response and redirect, as long
// as there are no others that would come before it.
func parseActions(in []types.Action) ([]state.Action, error) {
	if len(in) == 0 {
		return nil, invalid("An action must be specified")
	}
	if len(in) > 1 {
		return nil, awsError("TooManyActions", "Exactly one of the actions 'forward', 'fixed-response' and 'redirect' can be specified, and Lotse has no others yet")
	}
	a, err := parseAction(in[0])
	if err != nil {
		return nil, err
	}
	return []state.Action{a}, nil
}

// Private

func parseAction(in types.Action) (state.Action, error) {
	a := state.Action{Type: string(in.Type), Order: int(aws.ToInt32(in.Order))}
	if in.Order != nil && (*in.Order < 1 || *in.Order > maxOrder) {
		return a, invalid("Action order '%d' must be between 1 and %d", *in.Order, maxOrder)
	}
	var err error
	switch in.Type {
	case types.ActionTypeEnumForward:
		if err := onlyMembers("a forward action", in, "Type", "Order", "TargetGroupArn", "ForwardConfig"); err != nil {
			return a, err
		}
		if a.Groups, err = parseForward(in); err == nil && in.ForwardConfig != nil {
			a.Sticky, err = parseGroupStickiness(in.ForwardConfig.TargetGroupStickinessConfig)
		}
	case types.ActionTypeEnumFixedResponse:
		if err := onlyMembers("a fixed-response action", in, "Type", "Order", "FixedResponseConfig"); err != nil {
			return a, err
		}
		a.Fixed, err = parseFixed(in.FixedResponseConfig)
	case types.ActionTypeEnumRedirect:
		if err := onlyMembers("a redirect action", in, "Type", "Order", "RedirectConfig"); err != nil {
			return a, err
		}
		a.Redirect, err = parseRedirect(in.RedirectConfig)
	case types.ActionTypeEnumAuthenticateOidc, types.ActionTypeEnumAuthenticateCognito, types.ActionTypeEnumJwtValidation:
		return a, awsError("InvalidLoadBalancerAction", "Lotse has no actions of type '%s' yet: its load balancers don't ask who a client is.", in.Type)
	default:
		return a, invalid("1 validation error detected: Value '%s' at 'actions.1.member.type' failed to satisfy constraint: Member must satisfy enum value set: [forward, fixed-response, redirect]", in.Type)
	}
	return a, err
}

func parseForward(in types.Action) ([]state.WeightedGroup, error) {
	single := aws.ToString(in.TargetGroupArn)
	c := in.ForwardConfig
	if c == nil {
		if single == "" {
			return nil, invalid("A target group ARN must be specified for a forward action")
		}
		return []state.WeightedGroup{{ARN: single, Weight: 1}}, nil
	}
	if err := onlyMembers("ForwardConfig", *c, "TargetGroups", "TargetGroupStickinessConfig"); err != nil {
		return nil, err
	}
	if n := len(c.TargetGroups); n < 1 || n > maxForwardGroups {
		return nil, awsError("InvalidLoadBalancerAction", "A forward action has 1 to %d target groups, not %d", maxForwardGroups, n)
	}
	var out []state.WeightedGroup
	for _, g := range c.TargetGroups {
		w := state.WeightedGroup{ARN: aws.ToString(g.TargetGroupArn), Weight: 1}
		if g.Weight != nil {
			w.Weight = int(*g.Weight)
		}
		switch {
		case w.ARN == "":
			return nil, invalid("A target group ARN must be specified for a forward action")
		case w.Weight < 0 || w.Weight > maxWeight:
			return nil, invalid("Target group weight '%d' must be between 0 and %d", w.Weight, maxWeight)
		case slices.ContainsFunc(out, func(o state.WeightedGroup) bool { return o.ARN == w.ARN }):
			return nil, invalid("Target group '%s' was provided multiple times", w.ARN)
		}
		out = append(out, w)
	}
	if single != "" && (len(out) != 1 || out[0].ARN != single) {
		return nil, invalid("The TargetGroupArn of a forward action must be the only one in its ForwardConfig")
	}
	return out, nil
}

func parseGroupStickiness(c *types.TargetGroupStickinessConfig) (state.GroupStickiness, error) {
	if c == nil {
		return state.GroupStickiness{}, nil
	}
	out := state.GroupStickiness{Enabled: aws.ToBool(c.Enabled), Seconds: int(aws.ToInt32(c.DurationSeconds))}
	switch {
	case c.DurationSeconds == nil && out.Enabled:
		return out, invalid("A duration must be specified for target group stickiness")
	case c.DurationSeconds != nil && (out.Seconds < 1 || out.Seconds > maxSticky):
		return out, invalid("Target group stickiness duration '%d' must be between 1 and %d", out.Seconds, maxSticky)
	}
	return out, nil
}

func parseFixed(c *types.FixedResponseActionConfig) (state.FixedResponse, error) {
	var out state.FixedResponse
	if c == nil {
		return out, withoutConfig(types.ActionTypeEnumFixedResponse, "FixedResponseConfig")
	}
	if c.StatusCode == nil {
		return out, invalid("A status code must be specified for a fixed-response action")
	}
	if !fixedStatusRE.MatchString(*c.StatusCode) {
		return out, invalid("The status code '%s' of a fixed-response action must be 2XX, 4XX or 5XX", *c.StatusCode)
	}
	out.Status, _ = strconv.Atoi(*c.StatusCode)
	out.ContentType, out.Body = aws.ToString(c.ContentType), aws.ToString(c.MessageBody)
	if out.ContentType != "" && !slices.Contains(contentTypes, out.ContentType) {
		return out, invalid("The content type '%s' of a fixed-response action must be one of '%s'", out.ContentType, strings.Join(contentTypes, ", "))
	}
	if len(out.Body) > maxFixedBody {
		return out, invalid("The message body of a fixed-response action can have at most %d bytes", maxFixedBody)
	}
	return out, nil
}

// parseRedirect fills in AWS's defaults. One that leads where it came from is refused.
func parseRedirect(c *types.RedirectActionConfig) (state.Redirect, error) {
	var out state.Redirect
	if c == nil {
		return out, withoutConfig(types.ActionTypeEnumRedirect, "RedirectConfig")
	}
	or := func(s *string, def string) string {
		if s == nil {
			return def
		}
		return *s
	}
	out = state.Redirect{Protocol: or(c.Protocol, "#{protocol}"), Host: or(c.Host, "#{host}"), Port: or(c.Port, "#{port}"),
		Path: or(c.Path, "/#{path}"), Query: or(c.Query, "#{query}")}
	switch c.StatusCode {
	case types.RedirectActionStatusCodeEnumHttp301:
		out.Status = 301
	case types.RedirectActionStatusCodeEnumHttp302:
		out.Status = 302
	default:
		return out, invalid("The status code '%s' of a redirect action must be one of 'HTTP_301, HTTP_302'", c.StatusCode)
	}
	if err := checkRedirect(out); err != nil { // a typed nil must not become an error
		return out, err
	}
	return out, nil
}

// withoutConfig: text as users have published it: aws-sdk-js, issue 2204.
func withoutConfig(typ types.ActionTypeEnum, member string) error {
	return awsError("InvalidLoadBalancerAction", "For actions of type '%s', you must specify the following fields: '%s'", typ, member)
}

func checkRedirect(r state.Redirect) *awswire.Error {
	if !slices.Contains([]string{"HTTP", "HTTPS", "#{protocol}"}, r.Protocol) {
		return invalid("The protocol '%s' of a redirect action must be one of 'HTTP, HTTPS, #{protocol}'", r.Protocol)
	}
	if n, err := strconv.Atoi(r.Port); r.Port != "#{port}" && (err != nil || n < 1 || n > 65535) {
		return invalid("The port '%s' of a redirect action must be between 1 and 65535, or #{port}", r.Port)
	}
	if !strings.HasPrefix(r.Path, "/") {
		return invalid("The path '%s' of a redirect action must begin with '/'", r.Path)
	}
	if r.Host == "" {
		return invalid("The host of a redirect action must have at least one character")
	}
	if r.Query == "" { // on AWS the location has none then: terraform-provider-aws, issue 19475
		return invalid("Lotse's redirects have a query: leave it out to keep that of the request, which is '#{query}'.")
	}
	if strings.HasPrefix(r.Query, "?") {
		return invalid("The query '%s' of a redirect action must not begin with '?'", r.Query)
	}
	for _, part := range []string{r.Host, r.Path, r.Query} {
		if len(part) > maxRedirectPart || strings.ContainsAny(part, " \t\r\n") {
			return invalid("Host, path and query of a redirect action can have at most %d characters, and no spaces", maxRedirectPart)
		}
	}
	// Listeners speak HTTP, so the protocol HTTP changes nothing.
	if r.Protocol != "HTTPS" && r.Host == "#{host}" && r.Port == "#{port}" && r.Path == "/#{path}" {
		return errLoop
	}
	return nil
}

// actionViews: a single target group reads back in both forms.
func actionViews(in []state.Action) []types.Action {
	var out []types.Action
	for _, a := range in {
		v := types.Action{Type: types.ActionTypeEnum(a.Type)}
		if a.Order > 0 {
			v.Order = aws.Int32(int32(a.Order))
		}
		switch v.Type {
		case types.ActionTypeEnumForward:
			sticky := &types.TargetGroupStickinessConfig{Enabled: aws.Bool(a.Sticky.Enabled)}
			if a.Sticky.Seconds > 0 {
				sticky.DurationSeconds = aws.Int32(int32(a.Sticky.Seconds))
			}
			v.ForwardConfig = &types.ForwardActionConfig{TargetGroupStickinessConfig: sticky}
			for _, g := range a.Groups {
				v.ForwardConfig.TargetGroups = append(v.ForwardConfig.TargetGroups, types.TargetGroupTuple{TargetGroupArn: aws.String(g.ARN), Weight: aws.Int32(int32(g.Weight))})
			}
			if len(a.Groups) == 1 {
				v.TargetGroupArn = aws.String(a.Groups[0].ARN)
			}
		case types.ActionTypeEnumFixedResponse:
			v.FixedResponseConfig = &types.FixedResponseActionConfig{StatusCode: aws.String(strconv.Itoa(a.Fixed.Status))}
			if a.Fixed.ContentType != "" {
				v.FixedResponseConfig.ContentType = aws.String(a.Fixed.ContentType)
			}
			if a.Fixed.Body != "" {
				v.FixedResponseConfig.MessageBody = aws.String(a.Fixed.Body)
			}
		case types.ActionTypeEnumRedirect:
			r := a.Redirect
			v.RedirectConfig = &types.RedirectActionConfig{Protocol: &r.Protocol, Host: &r.Host, Port: &r.Port, Path: &r.Path, Query: &r.Query,
				StatusCode: types.RedirectActionStatusCodeEnum("HTTP_" + strconv.Itoa(r.Status))}
		}
		out = append(out, v)
	}
	return out
}
