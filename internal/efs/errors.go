package efs

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/store"
)

// EFS's errors, their statuses from its API reference, their texts as users of the real service have published them.

func badRequest(format string, a ...any) *awswire.Error {
	return &awswire.Error{Code: "BadRequest", Message: fmt.Sprintf(format, a...)}
}

func constraint(value any, member, text string) *awswire.Error {
	return &awswire.Error{Code: "ValidationException", Message: fmt.Sprintf("1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: %s", value, member, text)}
}

func noFileSystem(id string) *awswire.Error {
	return &awswire.Error{Code: "FileSystemNotFound", Status: http.StatusNotFound, Message: fmt.Sprintf("File system '%s' does not exist.", id)}
}

func noMountTarget(id string) *awswire.Error {
	return &awswire.Error{Code: "MountTargetNotFound", Status: http.StatusNotFound, Message: fmt.Sprintf("Mount target '%s' does not exist.", id)}
}

func noAccessPoint(id string) *awswire.Error {
	return &awswire.Error{Code: "AccessPointNotFound", Status: http.StatusNotFound, Message: fmt.Sprintf("Access point '%s' does not exist.", id)}
}

// or gives a record that isn't there the API's error.
func or(err error, missing *awswire.Error) error {
	if errors.Is(err, store.ErrNotFound) {
		return missing
	}
	return err
}

// onlyMembers refuses members that nothing here acts on.
func onlyMembers(in any, names ...string) error {
	if extra := awswire.SetMembers(in, names...); len(extra) > 0 {
		return badRequest("Lotse does not act on %s, so it does not accept it.", strings.Join(extra, ", "))
	}
	return nil
}

// page cuts a list in order of its keys. The token is the last item's key on the page before.
func page[T any](items []T, token *string, limit *int32, key func(T) string) ([]T, *string, error) {
	size := 100 // Source: API reference, MaxItems and MaxResults
	if limit != nil {
		if *limit < 1 {
			return nil, nil, constraint(*limit, "maxItems", "Member must have value greater than or equal to 1")
		}
		size = int(*limit)
	}
	start := 0
	if t := aws.ToString(token); t != "" {
		last, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			return nil, nil, badRequest("The marker is not one that this service gave.")
		}
		start = sort.Search(len(items), func(i int) bool { return key(items[i]) > string(last) })
	}
	if len(items)-start <= size {
		return items[start:], nil, nil
	}
	return items[start : start+size], aws.String(base64.RawURLEncoding.EncodeToString([]byte(key(items[start+size-1])))), nil
}
