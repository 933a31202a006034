package iam

import (
	"encoding/base64"
	"sort"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// A page is which part of a list to give.
type page struct {
	marker string
	most   int
}

// cut takes a page out of an ascending list. The marker is the last item of the page before, so
// that a list that changes in between neither repeats nor skips what stayed.
func (p page) cut(sorted []string) (items []string, truncated bool, marker *string, err error) {
	start := 0
	if p.marker != "" {
		after, err := base64.RawURLEncoding.DecodeString(p.marker)
		if err != nil {
			return nil, false, nil, validation("Invalid Marker.")
		}
		start = sort.Search(len(sorted), func(i int) bool { return sorted[i] > string(after) })
	}
	end := min(start+p.most, len(sorted))
	items = sorted[start:end]
	if end < len(sorted) {
		return items, true, aws.String(base64.RawURLEncoding.EncodeToString([]byte(items[len(items)-1]))), nil
	}
	return items, false, nil, nil
}
