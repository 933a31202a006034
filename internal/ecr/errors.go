package ecr

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/oci"
)

// ECR's errors, in the words that users of the real service have published.

func textNoRepository(name, account string) string {
	return fmt.Sprintf("The repository with name '%s' does not exist in the registry with id '%s'", name, account)
}

func errNoRepository(name, account string) *awswire.Error {
	return awsError("RepositoryNotFoundException", textNoRepository(name, account))
}

func errRepositoryExists(name, account string) *awswire.Error {
	return awsError("RepositoryAlreadyExistsException", fmt.Sprintf("The repository with name '%s' already exists in the registry with id '%s'", name, account))
}

func errRepositoryNotEmpty(name, account string) *awswire.Error {
	return awsError("RepositoryNotEmptyException", fmt.Sprintf("The repository with name '%s' in registry with id '%s' cannot be deleted because it still contains images", name, account))
}

func errNoImage(digest, tag *string, name, account string) *awswire.Error {
	return awsError("ImageNotFoundException", fmt.Sprintf("The image with imageId {imageDigest:%s, imageTag:%s} does not exist within the repository with name '%s' in the registry with id '%s'", quoted(digest), quoted(tag), name, account))
}

func errImageExists(digest, tag, name, account string) *awswire.Error {
	return awsError("ImageAlreadyExistsException", fmt.Sprintf("Image with digest '%s' and tag '%s' already exists in the repository with name '%s' in registry with id '%s'", digest, tag, name, account))
}

// errTagTaken refuses a push to a tag that may not move. Docker shows the text.
func errTagTaken(name, tag string) *oci.Error {
	return &oci.Error{Status: 400, Code: "TAG_INVALID", Message: fmt.Sprintf("The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable.", tag, name)}
}

func errDenied(user, action, resource string) *awswire.Error {
	return awsError("AccessDeniedException", textDenied(user, action, resource))
}

func textDenied(user, action, resource string) string {
	return fmt.Sprintf("User: %s is not authorized to perform: ecr:%s on resource: %s because no resource-based policy allows the ecr:%[2]s action", user, action, resource)
}

func awsError(code, message string) *awswire.Error {
	return &awswire.Error{Code: code, Message: message}
}

// noRoom says in the API's words what a quota or the disk refuses; nil if e is something else.
func noRoom(e *oci.Error) error {
	switch {
	case e.Code != "DENIED":
		return nil
	case e.Status == http.StatusInsufficientStorage:
		return &awswire.Error{Code: "InsufficientStorage", Status: e.Status, Message: e.Message}
	}
	return awsError("LimitExceededException", e.Message)
}

// invalid is a bad parameter.
func invalid(parameter, constraint string, a ...any) *awswire.Error {
	return awsError("InvalidParameterException", fmt.Sprintf("Invalid parameter at '%s' failed to satisfy constraint: '%s'", parameter, fmt.Sprintf(constraint, a...)))
}

// refused is something that AWS has and Lotse hasn't.
func refused(format string, a ...any) *awswire.Error {
	return awsError("InvalidParameterException", fmt.Sprintf(format, a...))
}

// onlyMembers refuses every member of in that is set and not named: a field that nobody acts
// on must not look accepted.
func onlyMembers(in any, names ...string) error {
	extra := awswire.SetMembers(in, names...)
	if len(extra) == 0 {
		return nil
	}
	return refused("Lotse does not act on %s yet, so it does not accept it.", strings.Join(extra, ", "))
}

func quoted(s *string) string {
	if s == nil {
		return "'null'"
	}
	return "'" + *s + "'"
}
