package secrets

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/store"
)

// Secrets Manager's errors and fixed texts, as users of the real service have published them. No text tells a value.
var (
	errNoSecret    = awsError("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	errMarked      = request("You can't perform this operation on the secret because it was marked for deletion.")
	errScheduled   = request("You can't create this secret because a secret with this name is already scheduled for deletion.")
	errStage       = request("You provided a VersionStage that is not associated to the provided VersionId.")
	errNoValue     = request("You must provide either SecretString or SecretBinary.")
	errTwoValues   = invalid("You can't specify both a binary secret value and a string secret value in the same secret.")
	errName        = awsError("ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	errToken       = invalid("ClientRequestToken must be 32-64 characters long.")
	errNextToken   = awsError("InvalidNextTokenException", "The NextToken value is invalid.")
	errWindow      = invalid("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	errForce       = invalid("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	errCurrent     = invalid("You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	errManyLabels  = awsError("LimitExceededException", "A version can have no more than 20 staging labels.")
	errKey         = invalid("Lotse has no KMS: secrets are sealed with the server's own key, which goes by the name alias/aws/secretsmanager. Leave KmsKeyId out.")
	errTags        = invalid("A secret can have no more than 50 tags.")
	errBatch       = invalid("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	errBatchMax    = invalid("'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	errShort       = invalid("Password length is too short based on the required types.")
	errNoCharacter = invalid("There are no characters left to make a password of.")
)

func awsError(code, message string) *awswire.Error {
	return &awswire.Error{Code: code, Message: message}
}

func invalid(format string, a ...any) *awswire.Error {
	return awsError("InvalidParameterException", fmt.Sprintf(format, a...))
}

func request(format string, a ...any) *awswire.Error {
	return awsError("InvalidRequestException", fmt.Sprintf(format, a...))
}

// constraint is a member that breaks the model's rules. It is not for values.
func constraint(value any, member, rule string) *awswire.Error {
	return awsError("ValidationException", fmt.Sprintf("1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: %s", value, member, rule))
}

func errNoVersion(kind, id string) *awswire.Error {
	return awsError("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for "+kind+": "+id)
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
