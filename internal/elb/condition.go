package elb

import (
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/state"
)

const (
	pathPattern = "path-pattern"
	hostHeader  = "host-header"
)

// Limits of a rule's conditions. Source: ALB user guide, quotas and rule condition types.
const (
	maxConditionValues = 5   // in all conditions of a rule
	maxWildcards       = 6   // in all conditions of a rule; the conditions' page says 5, that of the quotas 6
	maxPattern         = 128 // characters
)

// Source: ALB user guide, rule condition types. AWS wants & written as &amp; in paths; plain is taken too.
var (
	hostRE = regexp.MustCompile(`^[A-Za-z0-9*?.-]*\.[A-Za-z*?]+$`)
	pathRE = regexp.MustCompile(`^[A-Za-z0-9_.$/~"'@:+&*?-]+$`)
)

// parseConditions takes a rule's conditions, in their old form (Values) or the new one.
func parseConditions(in []types.RuleCondition) ([]state.Condition, error) {
	if len(in) == 0 {
		return nil, invalid("A condition must be specified")
	}
	var out []state.Condition
	values, wildcards := 0, 0
	for _, c := range in {
		p, err := parseCondition(c)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o state.Condition) bool { return o.Field == p.Field }) {
			return nil, invalid("A rule can have at most one '%s' condition", p.Field)
		}
		values += len(p.Values)
		for _, v := range p.Values {
			wildcards += strings.Count(v, "*") + strings.Count(v, "?")
		}
		out = append(out, p)
	}
	if values > maxConditionValues {
		return nil, invalid("A rule can have at most '%d' condition values", maxConditionValues)
	}
	if wildcards > maxWildcards {
		return nil, invalid("A rule can have at most '%d' wildcards", maxWildcards)
	}
	return out, nil
}

// Private

func parseCondition(in types.RuleCondition) (state.Condition, error) {
	c := state.Condition{Field: aws.ToString(in.Field)}
	var config []string
	switch c.Field {
	case pathPattern:
		if err := onlyMembers("a path-pattern condition", in, "Field", "Values", "PathPatternConfig"); err != nil {
			return c, err
		}
		if in.PathPatternConfig != nil {
			if err := onlyMembers("PathPatternConfig", *in.PathPatternConfig, "Values"); err != nil {
				return c, err
			}
			config = in.PathPatternConfig.Values
		}
	case hostHeader:
		if err := onlyMembers("a host-header condition", in, "Field", "Values", "HostHeaderConfig"); err != nil {
			return c, err
		}
		if in.HostHeaderConfig != nil {
			if err := onlyMembers("HostHeaderConfig", *in.HostHeaderConfig, "Values"); err != nil {
				return c, err
			}
			config = in.HostHeaderConfig.Values
		}
	case "http-header", "http-request-method", "query-string", "source-ip":
		return c, unfit("Lotse does not act on conditions of the field '%s' yet.", c.Field)
	default:
		return c, invalid("Condition field '%s' must be one of '[path-pattern,host-header,http-header,http-request-method,query-string,source-ip]'", c.Field)
	}
	c.Values = in.Values
	if len(config) > 0 {
		if len(c.Values) > 0 && !slices.Equal(c.Values, config) {
			return c, invalid("Condition values of '%s' can't be given in two forms that differ", c.Field)
		}
		c.Values = config
	}
	if len(c.Values) == 0 {
		return c, invalid("A condition value must be specified")
	}
	for _, v := range c.Values {
		if err := checkPattern(c.Field, v); err != nil {
			return c, err
		}
	}
	return c, nil
}

func checkPattern(field, v string) error {
	switch {
	case v == "":
		return invalid("A condition value must be specified")
	case len(v) > maxPattern:
		return invalid("Condition value '%s' can have at most %d characters", v, maxPattern)
	case field == pathPattern && !pathRE.MatchString(v):
		return invalid("Condition value '%s' contains a character that is not valid in a path pattern", v)
	case field == hostHeader && !hostRE.MatchString(v):
		return invalid("Condition value '%s' is not valid in a host header: letters, digits, '-', '.', '*', '?', at least one '.', and only letters after the last", v)
	}
	return nil
}

func conditionViews(in []state.Condition) []types.RuleCondition {
	out := []types.RuleCondition{}
	for _, c := range in {
		v := types.RuleCondition{Field: aws.String(c.Field), Values: c.Values}
		if c.Field == hostHeader {
			v.HostHeaderConfig = &types.HostHeaderConditionConfig{Values: c.Values}
		} else {
			v.PathPatternConfig = &types.PathPatternConditionConfig{Values: c.Values}
		}
		out = append(out, v)
	}
	return out
}
