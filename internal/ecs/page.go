package ecs

import (
	"encoding/base64"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// tokenMark begins every token, so that what isn't one is refused.
const tokenMark = "after:"

// paginate cuts an ascending list. The token is the last item of the page before, so that a
// list that changes in between neither repeats nor skips what stayed.
func paginate(sorted []string, token *string, maxResults *int32, most int) (page []string, next *string, err error) {
	return cut(sorted, token, maxResults, most, func(item, after string) bool { return item > after })
}

// paginateDesc is paginate for a descending list.
func paginateDesc(sorted []string, token *string, maxResults *int32, most int) (page []string, next *string, err error) {
	return cut(sorted, token, maxResults, most, func(item, after string) bool { return item < after })
}

func cut(sorted []string, token *string, maxResults *int32, most int, beyond func(item, after string) bool) (page []string, next *string, err error) {
	n := most
	if maxResults != nil {
		if n = int(*maxResults); n < 1 || n > 100 {
			return nil, nil, invalid("maxResults must be between 1 and 100.")
		}
	}
	start := 0
	if t := aws.ToString(token); t != "" {
		b, err := base64.RawURLEncoding.DecodeString(t)
		after, ours := strings.CutPrefix(string(b), tokenMark)
		if err != nil || !ours {
			return nil, nil, invalid("Invalid token.")
		}
		start = sort.Search(len(sorted), func(i int) bool { return beyond(sorted[i], after) })
	}
	page = sorted[start:min(start+n, len(sorted))]
	if page == nil {
		page = []string{}
	}
	if start+n < len(sorted) {
		next = aws.String(base64.RawURLEncoding.EncodeToString([]byte(tokenMark + page[len(page)-1])))
	}
	return page, next, nil
}
