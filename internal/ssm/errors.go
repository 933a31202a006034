package ssm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/store"
)

// Parameter Store's errors and fixed texts, as users of the real service have published them. No text tells a value.
var (
	errExists = awsError("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	errNoType = validation("A parameter type is required when you create a parameter.")
	errTags   = validation("Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. " +
		"To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	errNested    = validation(`Parameter value can't nest another parameter. Do not use "{{}}" in the value.`)
	errDowngrade = validation("This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier. " +
		"If necessary, you can delete the advanced parameter and recreate it as a standard parameter.")
	errLevels       = awsError("HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of 15 levels.")
	errQualified    = validation("Parameter name must be a fully qualified name.")
	errSelector     = validation("Invalid parameter name. Please use correct syntax for referencing a version/label  <name>:<version/label>")
	errPrefix       = validation(`Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive).`)
	errName         = validation(`Parameter name: can't be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_`)
	errPath         = validation(`The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "/". It can't be prefixed with "aws" or "ssm" (case-insensitive). It must use only letters, numbers, or the following symbols: . (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if specified, must use the forward slash symbol "/". Valid example: /get/parameters2-/by1./path0_.`)
	errToken        = awsError("InvalidNextToken", "The specified token isn't valid.")
	errTooManyTags  = awsError("TooManyTagsError", "The Targets parameter includes too many tags: a parameter can have no more than 50.")
	errResourceType = awsError("InvalidResourceType", "Lotse has tags on resources of the type Parameter only.")
	errResourceID   = awsError("InvalidResourceId", "The resource ID isn't valid. Verify that you entered the correct ID and try again.")
	errKey          = awsError("InvalidKeyId", "Lotse has no KMS: SecureString parameters are sealed with the server's own key, which goes by the name alias/aws/ssm. Leave KeyId out.")
	errLabels       = awsError("ParameterVersionLabelLimitExceeded", "A parameter version can have maximum 10 labels. Move one or more labels to another version and try again.")
)

func awsError(code, message string) *awswire.Error {
	return &awswire.Error{Code: code, Message: message}
}

func validation(format string, a ...any) *awswire.Error {
	return awsError("ValidationException", fmt.Sprintf(format, a...))
}

// constraint is a member that breaks the model's rules. It is not for values.
func constraint(value any, member, rule string) *awswire.Error {
	return validation("1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: %s", value, member, rule)
}

func errNoParameter(name string) *awswire.Error {
	return awsError("ParameterNotFound", "Parameter "+name+" not found.")
}

func errNoVersion(name string, version int64) *awswire.Error {
	return awsError("ParameterVersionNotFound", fmt.Sprintf("Systems Manager could not find version %d of %s. Verify the version and try again.", version, name))
}

func errNoLabel(name, label string) *awswire.Error {
	return awsError("ParameterVersionNotFound", fmt.Sprintf("Systems Manager could not find label %s for parameter %s. Verify the label and try again.", label, name))
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
		return validation("Lotse does not act on %s yet, so it does not accept it.", strings.Join(extra, ", "))
	}
	return nil
}
