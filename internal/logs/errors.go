package logs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/store"
)

// CloudWatch Logs' errors and fixed texts, as users of the real service have published them.
var (
	errGroupExists  = awsError("ResourceAlreadyExistsException", "The specified log group already exists")
	errStreamExists = awsError("ResourceAlreadyExistsException", "The specified log stream already exists")
	errNoGroup      = awsError("ResourceNotFoundException", "The specified log group does not exist.")
	errNoStream     = awsError("ResourceNotFoundException", "The specified log stream does not exist.")
	errToken        = invalid("The specified nextToken is invalid.")
	errProtected    = awsError("ValidationException", "The log group cannot be deleted while deletion protection is enabled.")
	errOtherWriter  = awsError("OperationAbortedException", "A running container writes this log stream; Lotse takes events from one writer per stream at a time.")
	errTooManyTags  = awsError("TooManyTagsException", "A resource can have no more than 50 tags.")
)

func awsError(code, message string) *awswire.Error {
	return &awswire.Error{Code: code, Message: message}
}

// invalid is a bad parameter.
func invalid(format string, a ...any) *awswire.Error {
	return awsError("InvalidParameterException", fmt.Sprintf(format, a...))
}

// constraint is a parameter that breaks the model's rules.
func constraint(value any, member, rule string) *awswire.Error {
	return invalid("1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: %s", value, member, rule)
}

// or replaces store.ErrNotFound.
func or(err error, missing *awswire.Error) error {
	if errors.Is(err, store.ErrNotFound) {
		return missing
	}
	return err
}

// onlyMembers refuses every member of in that is set and not named: a field that nobody acts on must not look accepted.
func onlyMembers(in any, names ...string) error {
	if extra := awswire.SetMembers(in, names...); len(extra) > 0 {
		return invalid("Lotse does not act on %s yet, so it does not accept it.", strings.Join(extra, ", "))
	}
	return nil
}
