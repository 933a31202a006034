package logs

import (
	"encoding/base64"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// Source: CloudWatch Logs service model, LogGroupName and LogStreamName.
var (
	groupName  = lazyregexp.New(`^[.\-_/#A-Za-z0-9]{1,512}$`)
	streamName = lazyregexp.New(`^[^:*]{1,512}$`)
)

func checkGroupName(name string) error {
	if !groupName.MatchString(name) {
		return constraint(name, "logGroupName", `Member must have length between 1 and 512 and satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+`)
	}
	if strings.HasPrefix(name, "aws/") {
		return invalid("Log groups starting with AWS/ are reserved for AWS.")
	}
	return nil
}

func checkStreamName(name string) error {
	if !streamName.MatchString(name) {
		return constraint(name, "logStreamName", "Member must have length between 1 and 512 and satisfy regular expression pattern: [^:*]*")
	}
	return nil
}

// groupOf is the group that name or identifier (a name, or an ARN without ":*") tells; one of them is given.
func groupOf(sc arn.Scope, name, identifier *string) (string, error) {
	n, id := aws.ToString(name), aws.ToString(identifier)
	switch {
	case n != "" && id != "":
		return "", invalid("LogGroupName and LogGroupIdentifier are mutually exclusive parameters.")
	case n == "" && id == "":
		return "", invalid("Either LogGroupName or LogGroupIdentifier must be specified.")
	case n != "":
		return n, checkGroupName(n)
	case arn.IsARN(id):
		return groupOfARN(sc, id)
	}
	return id, checkGroupName(id)
}

// groupOfARN reads a group's ARN, with or without ":*".
func groupOfARN(sc arn.Scope, s string) (string, error) {
	a, err := arn.Parse(strings.TrimSuffix(s, ":*"))
	if err != nil || a.Service != "logs" || !strings.HasPrefix(a.Resource, "log-group:") {
		return "", invalid("The specified ARN is not valid: %s", s)
	}
	if a.Account != sc.Account || a.Region != sc.Region {
		return "", errNoGroup
	}
	name := strings.TrimPrefix(a.Resource, "log-group:")
	return name, checkGroupName(name)
}

// pageSize is a page's limit, 1 to most, which is also the default.
func pageSize(limit *int32, most int) (int, error) {
	if limit == nil {
		return most, nil
	}
	if n := int(*limit); n >= 1 && n <= most {
		return n, nil
	}
	if *limit < 1 {
		return 0, constraint(*limit, "limit", "Member must have value greater than or equal to 1")
	}
	return 0, invalid("1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value less than or equal to %d", *limit, most)
}

// page cuts a list whose items come in the order of before. The token is the last item's key on the page before, so
// that a list that changes in between neither repeats nor skips what stayed.
func page[T any](items []T, token *string, size int, key func(T) string, before func(a, b string) bool) ([]T, *string, error) {
	start := 0
	if t := aws.ToString(token); t != "" {
		last, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			return nil, nil, errToken
		}
		start = sort.Search(len(items), func(i int) bool { return before(string(last), key(items[i])) })
	}
	end := min(start+size, len(items))
	out := items[start:end]
	if end < len(items) {
		token = aws.String(base64.RawURLEncoding.EncodeToString([]byte(key(out[len(out)-1]))))
		return out, token, nil
	}
	return out, nil, nil
}
