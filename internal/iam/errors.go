package iam

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/lotse-project/lotse/internal/awswire"
)

// IAM's errors, with the texts that users of the real service have published.
// Statuses: IAM service model.
var (
	errDetachFirst = iamError("DeleteConflict", http.StatusConflict, "Cannot delete entity, must detach all policies first.")
	errDeleteFirst = iamError("DeleteConflict", http.StatusConflict, "Cannot delete entity, must delete policies first.")
	errNotForRoles = iamError("PolicyNotAttachable", http.StatusBadRequest, "Cannot attach a Service Role Policy to a customer role.")
	errTagTwice    = invalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
)

func iamError(code string, status int, format string, a ...any) *awswire.Error {
	return &awswire.Error{Code: code, Status: status, Message: fmt.Sprintf(format, a...)}
}

func noSuchEntity(format string, a ...any) *awswire.Error {
	return iamError("NoSuchEntity", http.StatusNotFound, format, a...)
}

func noSuchRole(name string) *awswire.Error {
	return noSuchEntity("The role with name %s cannot be found.", name)
}

func alreadyExists(name string) *awswire.Error {
	return iamError("EntityAlreadyExists", http.StatusConflict, "Role with name %s already exists.", name)
}

// limitExceeded names the quota. Source: IAM User Guide, "IAM and AWS STS quotas".
func limitExceeded(quota string, most int) *awswire.Error {
	return iamError("LimitExceeded", http.StatusConflict, "Cannot exceed quota for %s: %d", quota, most)
}

func invalidInput(format string, a ...any) *awswire.Error {
	return iamError("InvalidInput", http.StatusBadRequest, format, a...)
}

func malformedPolicy(err error) *awswire.Error {
	return iamError("MalformedPolicyDocument", http.StatusBadRequest, "%s", err)
}

func unmodifiable(name string) *awswire.Error {
	return iamError("UnmodifiableEntity", http.StatusBadRequest, "Cannot perform the operation on the protected role '%s' - this role is only modifiable by AWS", name)
}

func validation(format string, a ...any) *awswire.Error {
	return iamError("ValidationError", http.StatusBadRequest, format, a...)
}

// onlyMembers refuses every member of in that is set and not named: a field that nobody acts
// on must not look accepted.
func onlyMembers(in any, names ...string) error {
	if extra := awswire.SetMembers(in, names...); len(extra) > 0 {
		return validation("Lotse does not act on %s yet, so it does not accept it.", strings.Join(extra, ", "))
	}
	return nil
}
