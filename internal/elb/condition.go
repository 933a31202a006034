package elb

import (
	"net/netip"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
)

// The fields of conditions. Source: ELBv2 API, RuleCondition.
const (
	pathPattern   = "path-pattern"
	hostHeader    = "host-header"
	httpHeader    = "http-header"
	requestMethod = "http-request-method"
	queryString   = "query-string"
	sourceIP      = "source-ip"
)

// Limits of a rule's conditions. Source: ALB user guide, quotas and rule condition types.
const (
	maxConditionValues = 5   // in all conditions of a rule
	maxWildcards       = 6   // in all conditions of a rule; the conditions' page says 5, that of the quotas 6
	maxPattern         = 128 // characters
	maxHeaderName      = 40  // characters; of a method too
)

// Source: ALB user guide, rule condition types. AWS wants & written as &amp; in paths; plain is taken too.
var (
	hostRE   = lazyregexp.New(`^[A-Za-z0-9*?.-]*\.[A-Za-z*?]+$`)
	pathRE   = lazyregexp.New(`^[A-Za-z0-9_.$/~"'@:+&*?-]+$`)
	headerRE = lazyregexp.New("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 7230, token
	methodRE = lazyregexp.New(`^[A-Z_-]+$`)
	textRE   = lazyregexp.New(`^[ -~]+$`) // visible ASCII
)

// parseConditions takes a rule's conditions, in their old form (Values, RegexValues) or the new one.
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
		if p.Field != httpHeader && p.Field != queryString && slices.ContainsFunc(out, func(o state.Condition) bool { return o.Field == p.Field }) {
			return nil, invalid("A rule can have at most one '%s' condition", p.Field)
		}
		values += len(p.Values) + len(p.Regex) + len(p.Query)
		wildcards += wildcardsIn(p)
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

// givenCondition is what the configuration of a condition's field says, whatever its shape.
type givenCondition struct {
	member        string // of RuleCondition
	config        any    // nil: not given
	members       []string
	name          *string
	values, regex []string
	query         []types.QueryStringKeyValuePair
}

func configOf(in types.RuleCondition) (g givenCondition, ok bool) {
	switch aws.ToString(in.Field) {
	case pathPattern:
		g.member = "PathPatternConfig"
		if c := in.PathPatternConfig; c != nil {
			g.config, g.members, g.values, g.regex = *c, []string{"Values", "RegexValues"}, c.Values, c.RegexValues
		}
	case hostHeader:
		g.member = "HostHeaderConfig"
		if c := in.HostHeaderConfig; c != nil {
			g.config, g.members, g.values, g.regex = *c, []string{"Values", "RegexValues"}, c.Values, c.RegexValues
		}
	case httpHeader:
		g.member = "HttpHeaderConfig"
		if c := in.HttpHeaderConfig; c != nil {
			g.config, g.members, g.name, g.values, g.regex = *c, []string{"HttpHeaderName", "Values", "RegexValues"}, c.HttpHeaderName, c.Values, c.RegexValues
		}
	case requestMethod:
		g.member = "HttpRequestMethodConfig"
		if c := in.HttpRequestMethodConfig; c != nil {
			g.config, g.members, g.values = *c, []string{"Values"}, c.Values
		}
	case queryString:
		g.member = "QueryStringConfig"
		if c := in.QueryStringConfig; c != nil {
			g.config, g.members, g.query = *c, []string{"Values"}, c.Values
		}
	case sourceIP:
		g.member = "SourceIpConfig"
		if c := in.SourceIpConfig; c != nil {
			g.config, g.members, g.values = *c, []string{"Values"}, c.Values
		}
	default:
		return g, false
	}
	return g, true
}

func parseCondition(in types.RuleCondition) (state.Condition, error) {
	c := state.Condition{Field: aws.ToString(in.Field)}
	g, ok := configOf(in)
	if !ok {
		return c, invalid("Condition field '%s' must be one of '[path-pattern,host-header,http-header,http-request-method,query-string,source-ip]'", c.Field)
	}
	allowed := []string{"Field", g.member}
	if c.Field == pathPattern || c.Field == hostHeader {
		allowed = append(allowed, "Values")
	}
	if c.Field == pathPattern || c.Field == hostHeader || c.Field == httpHeader {
		allowed = append(allowed, "RegexValues")
	}
	if err := onlyMembers("a condition of the field '"+c.Field+"'", in, allowed...); err != nil {
		return c, err
	}
	if g.config != nil {
		if err := onlyMembers(g.member, g.config, g.members...); err != nil {
			return c, err
		}
	}
	c.Name = aws.ToString(g.name)
	var err error
	if c.Values, err = oneForm(c.Field, in.Values, g.values); err != nil {
		return c, err
	}
	if c.Regex, err = oneForm(c.Field, in.RegexValues, g.regex); err != nil {
		return c, err
	}
	for _, q := range g.query {
		c.Query = append(c.Query, state.QueryParameter{Key: aws.ToString(q.Key), Value: aws.ToString(q.Value)})
	}
	return c, checkCondition(c)
}

// oneForm is what is given in either place.
func oneForm(field string, old, config []string) ([]string, error) {
	if len(old) > 0 && len(config) > 0 && !slices.Equal(old, config) {
		return nil, invalid("Condition values of '%s' can't be given in two forms that differ", field)
	}
	if len(config) > 0 {
		return config, nil
	}
	return old, nil
}

func checkCondition(c state.Condition) error {
	if c.Field == httpHeader {
		switch {
		case c.Name == "":
			return invalid("An HTTP header name must be specified for an 'http-header' condition")
		case len(c.Name) > maxHeaderName:
			return invalid("The HTTP header name '%s' can have at most %d characters", c.Name, maxHeaderName)
		case !headerRE.MatchString(c.Name):
			return invalid("The HTTP header name '%s' contains a character that is not valid", c.Name)
		case strings.EqualFold(c.Name, "Host"):
			return invalid("The HTTP header name 'Host' is not valid: use a 'host-header' condition")
		}
	}
	if len(c.Values)+len(c.Regex)+len(c.Query) == 0 {
		return invalid("A condition value must be specified")
	}
	if len(c.Values) > 0 && len(c.Regex) > 0 {
		return invalid("Values and RegexValues of a condition cannot be specified at the same time")
	}
	for _, v := range c.Values {
		if err := checkPattern(c.Field, v); err != nil {
			return err
		}
	}
	for _, q := range c.Query {
		if len(q.Key) > maxPattern || q.Key != "" && !textRE.MatchString(q.Key) {
			return invalid("Condition key '%s' can have at most %d characters, of visible ASCII", q.Key, maxPattern)
		}
		if err := checkPattern(c.Field, q.Value); err != nil {
			return err
		}
	}
	for _, v := range c.Regex {
		if v == "" {
			return invalid("A condition value must be specified")
		}
		if err := checkRegex("Condition regular expression", v, maxPattern); err != nil {
			return err
		}
	}
	return nil
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
	case field == requestMethod && (len(v) > maxHeaderName || !methodRE.MatchString(v)):
		return invalid("Condition value '%s' is not a valid HTTP request method: A-Z, '-' and '_', at most %d characters", v, maxHeaderName)
	case (field == httpHeader || field == queryString) && !textRE.MatchString(v):
		return invalid("Condition value '%s' contains a character that is not visible ASCII", v)
	case field == sourceIP:
		return checkSource(v)
	}
	return nil
}

func checkSource(v string) error {
	if _, err := netip.ParsePrefix(v); err != nil {
		return invalid("Condition value '%s' must be in CIDR format", v)
	}
	if v == "255.255.255.255/32" {
		return invalid("Condition value '%s' is not a valid source IP address", v)
	}
	return nil
}

// checkRegex refuses what the balancer can't match with, which is what AWS's can't.
func checkRegex(what, v string, most int) error {
	if len(v) > most {
		return invalid("%s '%s' can have at most %d characters", what, v, most)
	}
	// As lbconfig.ParseRegex, which a snapshot's expressions must pass.
	if _, err := syntax.Parse(v, syntax.Perl&^syntax.UnicodeGroups); err != nil {
		return invalid("%s '%s' is not valid: %s", what, v, err)
	}
	return nil
}

// wildcardsIn counts them; one after a \ in a query string is none.
func wildcardsIn(c state.Condition) (n int) {
	count := func(s string) int { return strings.Count(s, "*") + strings.Count(s, "?") }
	if c.Field == requestMethod || c.Field == sourceIP {
		return 0
	}
	for _, v := range c.Values {
		n += count(v)
	}
	escaped := strings.NewReplacer(`\\`, "", `\*`, "", `\?`, "")
	for _, q := range c.Query {
		n += count(escaped.Replace(q.Key)) + count(escaped.Replace(q.Value))
	}
	return n
}

func conditionViews(in []state.Condition) []types.RuleCondition {
	out := []types.RuleCondition{}
	for _, c := range in {
		v := types.RuleCondition{Field: aws.String(c.Field)}
		switch c.Field {
		case hostHeader:
			v.Values, v.RegexValues = c.Values, c.Regex
			v.HostHeaderConfig = &types.HostHeaderConditionConfig{Values: c.Values, RegexValues: c.Regex}
		case pathPattern:
			v.Values, v.RegexValues = c.Values, c.Regex
			v.PathPatternConfig = &types.PathPatternConditionConfig{Values: c.Values, RegexValues: c.Regex}
		case httpHeader:
			v.RegexValues = c.Regex
			v.HttpHeaderConfig = &types.HttpHeaderConditionConfig{HttpHeaderName: aws.String(c.Name), Values: c.Values, RegexValues: c.Regex}
		case requestMethod:
			v.HttpRequestMethodConfig = &types.HttpRequestMethodConditionConfig{Values: c.Values}
		case sourceIP:
			v.SourceIpConfig = &types.SourceIpConditionConfig{Values: c.Values}
		case queryString:
			v.QueryStringConfig = &types.QueryStringConditionConfig{}
			for _, q := range c.Query {
				kv := types.QueryStringKeyValuePair{Value: aws.String(q.Value)}
				if q.Key != "" {
					kv.Key = aws.String(q.Key)
				}
				v.QueryStringConfig.Values = append(v.QueryStringConfig.Values, kv)
			}
		}
		out = append(out, v)
	}
	return out
}
