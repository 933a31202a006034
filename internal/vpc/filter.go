package vpc

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// fields are the filters of an operation: what a resource says to each of them. A resource
// matches a filter when any of what it says is any of the filter's values, and has to match all
// filters. Values may hold * and ?; a backslash takes their meaning away.
// Source: EC2 API reference, filters.
type fields[T any] map[string]func(T) []string

// nothing is a filter that EC2 has and no resource here can match, such as one for IPv6.
func nothing[T any](T) []string { return nil }

// match makes a predicate of filters. Tags may be nil where an operation has no such filters.
func (f fields[T]) match(filters []types.Filter, tags func(T) map[string]string) (func(T) bool, error) {
	var all []func(T) bool
	for _, in := range filters {
		name := aws.ToString(in.Name)
		get := f.get(name, tags)
		switch {
		case get == nil:
			return nil, invalid("The filter '%s' is invalid", name)
		case len(in.Values) == 0:
			return nil, missing("Filter." + name + ".Value")
		case len(in.Values) > 200:
			return nil, awsError("FilterLimitExceeded", "The maximum number of filter values specified on a single call is 200")
		}
		all = append(all, func(t T) bool {
			return slices.ContainsFunc(get(t), func(s string) bool {
				return slices.ContainsFunc(in.Values, func(pattern string) bool { return wildcard(pattern, s) })
			})
		})
	}
	return func(t T) bool {
		for _, ok := range all {
			if !ok(t) {
				return false
			}
		}
		return true
	}, nil
}

// get finds a filter by name, tag:KEY and tag-key among them; nil if there is none.
func (f fields[T]) get(name string, tags func(T) map[string]string) func(T) []string {
	if get := f[name]; get != nil {
		return get
	}
	if tags == nil {
		return nil
	}
	if key, ok := strings.CutPrefix(name, "tag:"); ok && key != "" {
		return func(t T) []string {
			if v, ok := tags(t)[key]; ok {
				return []string{v}
			}
			return nil
		}
	}
	if name == "tag-key" {
		return func(t T) []string {
			var keys []string
			for k := range tags(t) {
				keys = append(keys, k)
			}
			return keys
		}
	}
	return nil
}

// wildcard matches s against a pattern of * (any characters), ? (one) and \ (the next as it is).
// It goes back to the last * only, so it takes at most len(pattern)·len(s) steps.
func wildcard(pattern, s string) bool {
	p, t := []rune(pattern), []rune(s)
	i, j, star, mark := 0, 0, -1, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
			continue
		case i < len(p) && p[i] == '\\' && i+1 < len(p) && p[i+1] == t[j]:
			i, j = i+2, j+1
			continue
		case i < len(p) && p[i] != '\\' && (p[i] == '?' || p[i] == t[j]):
			i, j = i+1, j+1
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		i, j = star+1, mark
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

func boolean(b bool) []string {
	if b {
		return []string{"true"}
	}
	return []string{"false"}
}
