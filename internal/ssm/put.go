package ssm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Limits of a parameter. Source: PutParameter, Tier; and "Working with parameter versions" of the user guide.
const (
	maxStandard = 4096 // bytes of a value
	maxAdvanced = 8192
	maxVersions = 100
)

const (
	standard = string(types.ParameterTierStandard)
	advanced = string(types.ParameterTierAdvanced)
)

var nested = lazyregexp.New(`\{\{.*\}\}`)

// PutParameter makes a parameter, or a new version of one.
func (s *Service) PutParameter(ctx context.Context, in *ssm.PutParameterInput) (*ssm.PutParameterOutput, error) {
	if err := onlyMembers(in, "Name", "Value", "Type", "Description", "KeyId", "Overwrite", "AllowedPattern", "Tags", "Tier", "DataType"); err != nil {
		return nil, err
	}
	sc, name := scope(ctx), strings.TrimSpace(aws.ToString(in.Name))
	tags := tagMap(in.Tags)
	if err := errors.Join(checkNewName(sc, name), checkPut(in), checkTags(in.Tags)); err != nil {
		return nil, first(err)
	}
	out := &ssm.PutParameterOutput{}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.Parameters.Get(tx, sc.Key(name))
		exists := err == nil
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if exists && !aws.ToBool(in.Overwrite) {
			return errExists
		}
		var old state.ParameterVersion
		if exists {
			if old, err = versionOf(tx, o.Val, o.Val.Version); err != nil {
				return err
			}
		} else {
			o.Val = state.Parameter{Scope: sc, Name: name, Oldest: 1, Tags: tags}
		}
		v, err := next(in, old)
		if err != nil {
			return err
		}
		o.Val.Version++
		v.Version, v.ModifiedAt, v.ModifiedBy = o.Val.Version, tx.Now(), awsauth.CallerFrom(ctx).ARN
		if err := s.sealInto(tx, o.Val, v, aws.ToString(in.Value)); err != nil {
			return err
		}
		if err := makeRoom(tx, &o.Val); err != nil {
			return err
		}
		out.Version, out.Tier = v.Version, types.ParameterTier(v.Tier)
		return state.Parameters.Put(tx, &o)
	})
	return out, err
}

// Private

// checkPut checks what needs no record.
func checkPut(in *ssm.PutParameterInput) error {
	value := aws.ToString(in.Value)
	switch {
	case value == "":
		return validation("1 validation error detected: Value at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1.")
	case !utf8.ValidString(value):
		return validation("The parameter's value is not UTF-8.")
	case nested.MatchString(value):
		return errNested
	case utf8.RuneCountInString(aws.ToString(in.Description)) > 1024:
		return validation("1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 1024")
	case len(aws.ToString(in.AllowedPattern)) > 1024:
		return validation("1 validation error detected: Value at 'allowedPattern' failed to satisfy constraint: Member must have length less than or equal to 1024")
	case len(in.Tags) > 0 && aws.ToBool(in.Overwrite):
		return errTags
	}
	if t := aws.ToString(in.DataType); t != "" && t != "text" {
		return validation("The following data type is not supported: %s (Data type names are all lowercase.)", t)
	}
	if k := aws.ToString(in.KeyId); k != "" && k != keyAlias {
		return errKey
	}
	return nil
}

// next is the version that in asks for; what in leaves out stays as in old.
func next(in *ssm.PutParameterInput, old state.ParameterVersion) (state.ParameterVersion, error) {
	v := state.ParameterVersion{
		Type: cmp.Or(string(in.Type), old.Type), DataType: "text",
		Description: old.Description, AllowedPattern: old.AllowedPattern,
	}
	if in.Description != nil {
		v.Description = *in.Description
	}
	if in.AllowedPattern != nil {
		v.AllowedPattern = *in.AllowedPattern
	}
	if v.Type == "" {
		return v, errNoType
	}
	if !secure(v) && aws.ToString(in.KeyId) != "" {
		return v, awsError("InvalidKeyId", "KeyId is for parameters of the type SecureString.")
	}
	var err error
	if v.Tier, err = tier(string(in.Tier), old.Tier, len(aws.ToString(in.Value))); err != nil {
		return v, err
	}
	return v, checkPattern(v, aws.ToString(in.Value))
}

// tier decides the tier of a value of n bytes.
func tier(asked, old string, n int) (string, error) {
	switch {
	case n > maxAdvanced:
		return "", validation("Advanced tier parameters support a maximum parameter value of %d characters.", maxAdvanced)
	case asked == standard && old == advanced:
		return "", errDowngrade
	case asked == advanced || old == advanced:
		return advanced, nil
	case n <= maxStandard:
		return standard, nil
	case asked == string(types.ParameterTierIntelligentTiering):
		return advanced, nil
	}
	return "", validation("Standard tier parameters support a maximum parameter value of %d characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html", maxStandard)
}

// checkPattern: the whole value has to match, of a StringList each item.
func checkPattern(v state.ParameterVersion, value string) error {
	if v.AllowedPattern == "" {
		return nil
	}
	re, err := regexp.Compile(`^(?:` + v.AllowedPattern + `)$`)
	if err != nil {
		return awsError("InvalidAllowedPatternException", fmt.Sprintf("The request does not meet the regular expression requirement. Lotse knows RE2's syntax: no look-around, no back-references. The pattern: %s", v.AllowedPattern))
	}
	items := []string{value}
	if v.Type == string(types.ParameterTypeStringList) {
		items = strings.Split(value, ",")
	}
	for _, item := range items {
		if !re.MatchString(item) {
			return awsError("ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: "+v.AllowedPattern)
		}
	}
	return nil
}

func (s *Service) sealInto(tx *store.WriteTx, p state.Parameter, v state.ParameterVersion, value string) (err error) {
	if v.Sealed, err = s.o.Key.Seal([]byte(value), recordOf(p, v.Version)); err != nil {
		return err
	}
	o := store.Object[state.ParameterVersion]{Key: state.ParameterVersionKey(p.Scope, p.Name, v.Version), Val: v}
	return state.ParameterVersions.Put(tx, &o)
}

// makeRoom deletes the oldest version when there are too many; a label holds it.
func makeRoom(tx *store.WriteTx, p *state.Parameter) error {
	if p.Version-p.Oldest < maxVersions {
		return nil
	}
	if len(labelsOf(*p, p.Oldest)) > 0 {
		return awsError("ParameterMaxVersionLimitExceeded", fmt.Sprintf("You attempted to create a new version of %s by calling the PutParameter API with the overwrite flag. "+
			"Version %d, the oldest version, can't be deleted because it has a label associated with it. Move the label to another version of the parameter, and try again.", p.Name, p.Oldest))
	}
	err := state.ParameterVersions.Delete(tx, state.ParameterVersionKey(p.Scope, p.Name, p.Oldest), 0)
	p.Oldest++
	return err
}

// first is the first of joined errors: AWS tells one.
func first(err error) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()[0]
	}
	return err
}
