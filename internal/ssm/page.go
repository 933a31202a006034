package ssm

import (
	"encoding/base64"
	"sort"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// pageSize is a page's limit, 1 to most, which is also the default.
func pageSize(limit *int32, most int) (int, error) {
	switch n := int(aws.ToInt32(limit)); {
	case limit == nil:
		return most, nil
	case n < 1:
		return 0, constraint(n, "maxResults", "Member must have value greater than or equal to 1")
	case n > most:
		return 0, validation("1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to %d", n, most)
	default:
		return n, nil
	}
}

// page cuts a list in order of its keys. The token is the last item's key on the page before, so that a list that changes in
// between neither repeats nor skips what stayed.
func page[T any](items []T, token *string, size int, key func(T) string) ([]T, *string, error) {
	start := 0
	if t := aws.ToString(token); t != "" {
		last, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			return nil, nil, errToken
		}
		start = sort.Search(len(items), func(i int) bool { return key(items[i]) > string(last) })
	}
	end := min(start+size, len(items))
	if end == len(items) {
		return items[start:], nil, nil
	}
	return items[start:end], aws.String(base64.RawURLEncoding.EncodeToString([]byte(key(items[end-1])))), nil
}
