package iam

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// A shape is what the service model says about a string member: its length in characters and
// its pattern, as AWS prints it.
type shape struct {
	min, max int // 0 max: unlimited
	re       *lazyregexp.Regexp
	pattern  string
}

// Shapes of the IAM service model, by its names.
var (
	roleName    = newShape(1, 64, `[\w+=,.@-]+`, ``)
	policyName  = newShape(1, 128, `[\w+=,.@-]+`, ``)
	serviceName = newShape(1, 128, `[\w+=,.@-]+`, ``)
	suffix      = newShape(1, 64, `[\w+=,.@-]+`, ``)
	path        = newShape(1, 512, `(/)|(/[!-\x7E]+/)`, `(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`)
	pathPrefix  = newShape(1, 512, `/[!-\x7F]*`, `\u002F[\u0021-\u007F]*`)
	policyPath  = newShape(1, 512, `((/[A-Za-z0-9\.,\+@=_-]+)*)/`, ``)
	document    = newShape(1, 131072, `[\t\n\r -\x{FF}]+`, `[\u0009\u000A\u000D\u0020-\u00FF]+`)
	description = newShape(0, 1000, `[\t\n\r -~\x{A1}-\x{FF}]*`, `[\u0009\u000A\u000D\u0020-\u007E\u00A1-\u00FF]*`)
	policyARN   = shape{min: 20, max: 2048}
	versionID   = newShape(0, 0, `v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`, ``)
	tagKey      = newShape(1, 128, `[\p{L}\p{Z}\p{N}_.:/=+\-@]+`, ``)
	tagValue    = newShape(0, 256, `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`, ``)
)

func newShape(min, max int, re, pattern string) shape {
	if pattern == "" {
		pattern = re
	}
	return shape{min, max, lazyregexp.New(`^(?:` + re + `)$`), pattern}
}

// A check collects what is wrong with the members of an input; AWS reports all at once.
type check struct{ problems []string }

// required checks a member that must be there.
func (c *check) required(member string, v *string, s shape) string {
	if v == nil {
		c.add("null", member, "Member must not be null")
		return ""
	}
	return c.optional(member, v, s)
}

// optional checks a member if it is there.
func (c *check) optional(member string, v *string, s shape) string {
	if v == nil {
		return ""
	}
	quoted, n := "'"+*v+"'", utf8.RuneCountInString(*v)
	if s.re != nil && !s.re.MatchString(*v) {
		c.add(quoted, member, "Member must satisfy regular expression pattern: "+s.pattern)
	}
	if n < s.min {
		c.add(quoted, member, fmt.Sprintf("Member must have length greater than or equal to %d", s.min))
	}
	if s.max > 0 && n > s.max {
		c.add(quoted, member, fmt.Sprintf("Member must have length less than or equal to %d", s.max))
	}
	return *v
}

// number checks an integer if it is there, and gives otherwise's value if not.
func (c *check) number(member string, v *int32, min, max, otherwise int) int {
	if v == nil {
		return otherwise
	}
	if n := int(*v); n < min {
		c.add(fmt.Sprintf("'%d'", n), member, fmt.Sprintf("Member must have value greater than or equal to %d", min))
	} else if n > max {
		c.add(fmt.Sprintf("'%d'", n), member, fmt.Sprintf("Member must have value less than or equal to %d", max))
	}
	return int(*v)
}

// page checks the members that all lists have. Default: 100 items. Source: IAM API reference, ListRoles.
func (c *check) page(marker *string, maxItems *int32) page {
	return page{marker: aws.ToString(marker), most: c.number("maxItems", maxItems, 1, 1000, 100)}
}

func (c *check) add(value, member, constraint string) {
	c.problems = append(c.problems, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", value, member, constraint))
}

// err is nil if nothing is wrong.
func (c *check) err() error {
	switch n := len(c.problems); n {
	case 0:
		return nil
	case 1:
		return validation("1 validation error detected: %s", c.problems[0])
	default:
		return validation("%d validation errors detected: %s", n, strings.Join(c.problems, "; "))
	}
}
