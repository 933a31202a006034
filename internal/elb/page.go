package elb

import (
	"encoding/base64"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// maxPage is the largest page, and the one without a PageSize. Source: ELBv2 API, PageSize.
const maxPage = 400

// paginate cuts a list that ascends by key. The marker is the key of the last item of the page
// before, so that a list that changes in between neither repeats nor skips what stayed.
func paginate[T any](items []T, key func(T) string, marker *string, size *int32) (page []T, next *string, err error) {
	n := maxPage
	if size != nil {
		if n = int(*size); n < 1 || n > maxPage {
			return nil, nil, invalid("1 validation error detected: Value '%d' at 'pageSize' failed to satisfy constraint: Member must have value between 1 and %d", n, maxPage)
		}
	}
	page = items
	if m := aws.ToString(marker); m != "" {
		after, err := base64.RawURLEncoding.DecodeString(m)
		if err != nil {
			return nil, nil, invalid("The marker '%s' is not valid", m)
		}
		for len(page) > 0 && key(page[0]) <= string(after) {
			page = page[1:]
		}
	}
	if len(page) <= n {
		return page, nil, nil
	}
	return page[:n], aws.String(base64.RawURLEncoding.EncodeToString([]byte(key(page[n-1])))), nil
}
