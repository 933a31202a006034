package policy

import (
	"slices"
	"strings"
)

// operators are the comparisons, without the prefixes ForAnyValue: and ForAllValues: and the
// suffix IfExists. The ones that are false compare what a Request never holds (numbers, dates,
// addresses), so that they never hold for a key that is there.
// Source: IAM User Guide, "IAM JSON policy elements: Condition operators".
var operators = map[string]bool{
	"StringEquals": true, "StringNotEquals": true, "StringEqualsIgnoreCase": true, "StringNotEqualsIgnoreCase": true,
	"StringLike": true, "StringNotLike": true,
	"ArnEquals": true, "ArnLike": true, "ArnNotEquals": true, "ArnNotLike": true,
	"Null":          true,
	"NumericEquals": false, "NumericNotEquals": false, "NumericLessThan": false, "NumericLessThanEquals": false,
	"NumericGreaterThan": false, "NumericGreaterThanEquals": false,
	"DateEquals": false, "DateNotEquals": false, "DateLessThan": false, "DateLessThanEquals": false,
	"DateGreaterThan": false, "DateGreaterThanEquals": false,
	"Bool": false, "BinaryEquals": false, "IpAddress": false, "NotIpAddress": false,
}

func knownOperator(op string) bool {
	_, base, _ := splitOperator(op)
	_, ok := operators[base]
	return ok
}

func (c Conditions) hold(r Request) bool {
	for op, keys := range c {
		for key, values := range keys {
			if !holds(op, key, values, r) {
				return false
			}
		}
	}
	return true
}

func holds(op, key string, values []string, r Request) bool {
	set, base, ifExists := splitOperator(op)
	got, there := r.get(key)
	if base == "Null" {
		return slices.Contains(values, map[bool]string{true: "false", false: "true"}[there])
	}
	negated := strings.Contains(base, "Not")
	if !there {
		// An absent key: negated comparisons hold, others don't. Source: as above.
		return ifExists || set == "ForAllValues" || negated && set != "ForAnyValue"
	}
	if !operators[base] {
		return false
	}
	one := slices.ContainsFunc(values, func(want string) bool { return compare(base, want, got) })
	return one != negated
}

func compare(base, want, got string) bool {
	switch {
	case strings.HasPrefix(base, "Arn"), strings.HasSuffix(base, "Like") && strings.HasPrefix(want, "arn:"):
		return arnLike(want, got)
	case strings.HasSuffix(base, "Like"):
		return glob(want, got)
	case strings.HasSuffix(base, "IgnoreCase"):
		return strings.EqualFold(want, got)
	}
	return want == got
}

// get finds a key; keys have no case.
func (r Request) get(key string) (string, bool) {
	for k, v := range r {
		if strings.EqualFold(k, key) {
			return v, true
		}
	}
	return "", false
}

func splitOperator(op string) (set, base string, ifExists bool) {
	if before, after, ok := strings.Cut(op, ":"); ok && (before == "ForAnyValue" || before == "ForAllValues") {
		set, op = before, after
	}
	base, ifExists = strings.CutSuffix(op, "IfExists")
	return set, base, ifExists
}

// arnLike compares part by part, so that a * in one part doesn't reach into the next.
func arnLike(pattern, arn string) bool {
	p, a := strings.SplitN(pattern, ":", 6), strings.SplitN(arn, ":", 6)
	if len(p) != 6 || len(a) != 6 {
		return false
	}
	for i := range p {
		if a[i] != "*" && !glob(p[i], a[i]) {
			return false
		}
	}
	return true
}

// glob matches * (any run) and ? (any one character).
func glob(pattern, s string) bool {
	star, back := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, back = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			back++
			p, i = star+1, back
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
