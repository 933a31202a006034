package vpc

import (
	"encoding/base64"
	"slices"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// query is the part that EC2's Describe operations have in common.
type query[T any] struct {
	kind    kind
	ids     []string // asked for; each must be there
	filters []types.Filter
	max     *int32
	token   *string

	id     func(T) string
	tags   func(T) map[string]string
	fields fields[T]
}

// run chooses among all resources and cuts a page. The token is the last id of the page before,
// so that resources that come or go in between neither repeat nor skip the others.
func (q query[T]) run(all []T) (page []T, next *string, err error) {
	match, err := q.fields.match(q.filters, q.tags)
	if err != nil {
		return nil, nil, err
	}
	if all, err = q.named(all); err != nil {
		return nil, nil, err
	}
	var found []T
	for _, t := range all {
		if match(t) {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b T) int { return strings.Compare(q.id(a), q.id(b)) })
	return q.cut(found)
}

// named picks the resources asked for by id.
func (q query[T]) named(all []T) ([]T, error) {
	if len(q.ids) == 0 {
		return all, nil
	}
	if q.max != nil {
		return nil, awsError("InvalidParameterCombination", "The parameter %sIds cannot be used with the parameter maxResults", q.kind.resource)
	}
	byID := map[string]T{}
	for _, t := range all {
		byID[q.id(t)] = t
	}
	var out []T
	var lost []string
	for _, id := range slices.Compact(slices.Sorted(slices.Values(q.ids))) {
		if err := q.kind.check(id); err != nil {
			return nil, err
		}
		if t, ok := byID[id]; ok {
			out = append(out, t)
		} else {
			lost = append(lost, id)
		}
	}
	if len(lost) > 0 {
		return nil, q.kind.notFound(lost...)
	}
	return out, nil
}

func (q query[T]) cut(found []T) ([]T, *string, error) {
	start, n := 0, len(found)
	if q.max != nil {
		// Source: API reference of each operation: between 5 and 1000.
		if n = int(*q.max); n < 5 || n > 1000 {
			return nil, nil, invalid("Value ( %d ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.", n)
		}
	}
	if t := aws.ToString(q.token); t != "" {
		last, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			return nil, nil, errNextToken
		}
		start = sort.Search(len(found), func(i int) bool { return q.id(found[i]) > string(last) })
	}
	page := found[start:min(start+n, len(found))]
	if start+n >= len(found) {
		return page, nil, nil
	}
	return page, aws.String(base64.RawURLEncoding.EncodeToString([]byte(q.id(page[len(page)-1])))), nil
}
