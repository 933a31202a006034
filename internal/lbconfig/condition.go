package lbconfig

import (
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// maxHeaderName is the longest name of a header in a condition. Source: ALB user guide, rule condition types.
const maxHeaderName = 40

// withRegex are the fields that may be compared with regular expressions. Source: ELBv2 API, RuleCondition.
var withRegex = []string{PathPattern, HostHeader, HTTPHeader}

// ParseRegex compiles a regular expression of a condition or a rewrite. What AWS's expressions don't have is refused:
// Unicode classes here, look-around, back references, atomic groups and possessive repetition by Go.
// Source: ALB user guide, listener rules.
func ParseRegex(s string) (*regexp.Regexp, error) {
	if _, err := syntax.Parse(s, syntax.Perl&^syntax.UnicodeGroups); err != nil {
		return nil, err
	}
	return regexp.Compile(s)
}

// Private

func (v *validator) condition(arn string, c *Condition) {
	switch c.Field {
	case PathPattern, HostHeader, RequestMethod, SourceIP, QueryString:
		if c.Name != "" {
			v.bad(arn, "condition %s has the name %q", c.Field, c.Name)
		}
	case HTTPHeader:
		if c.Name == "" || len(c.Name) > maxHeaderName {
			v.bad(arn, "condition http-header has a name of %d bytes: must be 1 to %d", len(c.Name), maxHeaderName)
		}
	default:
		v.bad(arn, "condition field %q is not known", c.Field)
	}
	if len(c.Values)+len(c.Regex)+len(c.Query) == 0 {
		v.bad(arn, "condition %s has no value", c.Field)
	}
	if len(c.Query) > 0 != (c.Field == QueryString) || c.Field == QueryString && len(c.Values) > 0 {
		v.bad(arn, "condition %s: parameters are for %s, and it has nothing else", c.Field, QueryString)
	}
	if len(c.Regex) > 0 && (len(c.Values) > 0 || !slices.Contains(withRegex, c.Field)) {
		v.bad(arn, "condition %s: regular expressions go with %s, and not with values", c.Field, strings.Join(withRegex, ", "))
	}
	for _, q := range c.Query {
		if len(q.Key) > MaxPattern {
			v.bad(arn, "condition key of %d bytes: must be at most %d", len(q.Key), MaxPattern)
		}
		v.value(arn, q.Value, nil)
	}
	for _, p := range c.Values {
		v.value(arn, p, func(p string) (err error) {
			if c.Field == SourceIP {
				_, err = netip.ParsePrefix(p)
			}
			return err
		})
	}
	for _, p := range c.Regex {
		v.value(arn, p, func(p string) error {
			_, err := ParseRegex(p)
			return err
		})
	}
}

func (v *validator) value(arn, p string, check func(string) error) {
	if p == "" || len(p) > MaxPattern {
		v.bad(arn, "condition value of %d bytes: must be 1 to %d", len(p), MaxPattern)
	} else if check != nil {
		if err := check(p); err != nil {
			v.bad(arn, "%w", fmt.Errorf("condition value %q: %w", p, err))
		}
	}
}
