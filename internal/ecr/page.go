package ecr

import (
	"encoding/base64"
	"sort"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// pageSize is how many items a page has when nobody asks, and at most. Source: ECR service model, MaxResults.
const (
	pageSize    = 100
	pageSizeMax = 1000
)

// paginate cuts a list that ascends by key. The token is the last key of the page before, so that a list that
// changes in between neither repeats nor skips what stayed.
func paginate[T any](sorted []T, key func(T) string, token *string, maxResults *int32) (page []T, next *string, err error) {
	n := pageSize
	if maxResults != nil {
		if n = int(*maxResults); n < 1 || n > pageSizeMax {
			return nil, nil, invalid("maxResults", "must be between 1 and %d", pageSizeMax)
		}
	}
	start := 0
	if t := aws.ToString(token); t != "" {
		after, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			return nil, nil, invalid("nextToken", "must be a token of an answer to the same request")
		}
		start = sort.Search(len(sorted), func(i int) bool { return key(sorted[i]) > string(after) })
	}
	page = sorted[start:min(start+n, len(sorted))]
	if start+n < len(sorted) {
		next = aws.String(base64.RawURLEncoding.EncodeToString([]byte(key(page[len(page)-1]))))
	}
	return page, next, nil
}
