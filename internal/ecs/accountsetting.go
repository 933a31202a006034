package ecs

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awslogs"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// A settingRule is what an account setting may be. The first value is the default. A setting with
// one value says how things are here: AWS's other ones are refused, since nobody would act on them.
type settingRule struct {
	name   types.SettingName
	values []string
}

// settings. Source: ECS developer guide, "Access Amazon ECS features with account settings".
var settings = []settingRule{
	{types.SettingNameAwsvpcTrunking, []string{"disabled", "enabled"}}, // for container instances, of which there are none
	{types.SettingNameContainerInsights, []string{"disabled"}},
	{types.SettingNameContainerInstanceLongArnFormat, []string{"enabled"}},
	{types.SettingNameDefaultLogDriverMode, []string{awslogs.NonBlocking, awslogs.Blocking}}, // of containers whose options have no mode
	{types.SettingNameFargateEventWindows, []string{"disabled"}},
	{types.SettingNameFargateFipsMode, []string{"disabled"}},
	{types.SettingNameFargateTaskRetirementWaitPeriod, []string{"7", "0", "14"}}, // days; no task is ever retired
	{types.SettingNameGuardDutyActivate, []string{"off"}},
	{types.SettingNameServiceLongArnFormat, []string{"enabled"}},
	{types.SettingNameTagResourceAuthorization, []string{"on"}},
	{types.SettingNameTaskLongArnFormat, []string{"enabled"}},
}

// PutAccountSetting sets an account setting for the caller, or for another principal of the account.
func (s *Service) PutAccountSetting(ctx context.Context, in *ecs.PutAccountSettingInput) (*ecs.PutAccountSettingOutput, error) {
	if err := onlyMembers("", in, "Name", "Value", "PrincipalArn"); err != nil {
		return nil, err
	}
	principal, err := principalOf(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	v, err := s.putSetting(ctx, in.Name, in.Value, principal)
	return &ecs.PutAccountSettingOutput{Setting: v}, err
}

// PutAccountSettingDefault sets it for all who have none of their own.
func (s *Service) PutAccountSettingDefault(ctx context.Context, in *ecs.PutAccountSettingDefaultInput) (*ecs.PutAccountSettingDefaultOutput, error) {
	if err := onlyMembers("", in, "Name", "Value"); err != nil {
		return nil, err
	}
	v, err := s.putSetting(ctx, in.Name, in.Value, rootOf(ctx))
	return &ecs.PutAccountSettingDefaultOutput{Setting: v}, err
}

// DeleteAccountSetting takes a principal's own setting away: the default holds again.
func (s *Service) DeleteAccountSetting(ctx context.Context, in *ecs.DeleteAccountSettingInput) (*ecs.DeleteAccountSettingOutput, error) {
	if err := onlyMembers("", in, "Name", "PrincipalArn"); err != nil {
		return nil, err
	}
	principal, err := principalOf(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	rule := ruleOf(in.Name)
	if rule.name == "" {
		return nil, errNoSetting
	}
	value := rule.values[0]
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.AccountSettings.Get(tx, scope(ctx).Key(principal, string(in.Name)))
		if err != nil {
			return absent(err, nil) // there was none
		}
		value = o.Val.Value
		return state.AccountSettings.Delete(tx, o.Key, o.Rev)
	})
	return &ecs.DeleteAccountSettingOutput{Setting: &types.Setting{Name: in.Name, Value: &value, PrincipalArn: &principal, Type: settingType(in.Name)}}, err
}

// ListAccountSettings shows a principal's own settings, or with effectiveSettings those that hold.
func (s *Service) ListAccountSettings(ctx context.Context, in *ecs.ListAccountSettingsInput) (*ecs.ListAccountSettingsOutput, error) {
	if err := onlyMembers("", in, "EffectiveSettings", "MaxResults", "Name", "NextToken", "PrincipalArn", "Value"); err != nil {
		return nil, err
	}
	if in.Value != nil && in.Name == "" {
		return nil, invalid("A setting value can be given only with the name of a setting.")
	}
	principal, err := principalOf(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	found := map[string]types.Setting{}
	var names []string
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for _, rule := range settings {
			value, own := "", false
			for _, who := range []string{principal, rootOf(ctx)} {
				o, err := state.AccountSettings.Get(tx, scope(ctx).Key(who, string(rule.name)))
				if err == nil {
					value, own = o.Val.Value, who == principal
					break
				} else if absent(err, nil) != nil {
					return err
				}
			}
			if value == "" {
				value = rule.values[0]
			}
			if !own && !in.EffectiveSettings || in.Name != "" && in.Name != rule.name || in.Value != nil && *in.Value != value {
				continue
			}
			names = append(names, string(rule.name))
			found[string(rule.name)] = types.Setting{Name: rule.name, Value: &value, PrincipalArn: &principal, Type: settingType(rule.name)}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var most *int32
	if in.MaxResults != 0 {
		most = &in.MaxResults
	}
	slices.Sort(names)
	page, next, err := paginate(names, in.NextToken, most, 10)
	out := &ecs.ListAccountSettingsOutput{NextToken: next}
	for _, n := range page {
		out.Settings = append(out.Settings, found[n])
	}
	return out, err
}

// Private

var errNoSetting = invalid("The setting name is not valid. Specify a valid setting name and try again.")

func (s *Service) putSetting(ctx context.Context, name types.SettingName, value *string, principal string) (*types.Setting, error) {
	rule, v := ruleOf(name), aws.ToString(value)
	switch {
	case rule.name == "":
		return nil, errNoSetting
	case settingType(name) == types.SettingTypeAwsManaged:
		return nil, invalid("The setting %s is managed by AWS and can't be changed.", name)
	case name == types.SettingNameDefaultLogDriverMode && principal != rootOf(ctx): // tasks don't know who asked for them
		return nil, invalid("The setting %s can be set for the whole account only: by its root, or as the default.", name)
	case !slices.Contains(rule.values, v):
		return nil, invalid("The value '%s' of the setting %s can't be met here: it is one of %s.", v, name, strings.Join(rule.values, ", "))
	}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		key := scope(ctx).Key(principal, string(name))
		o, err := state.AccountSettings.Get(tx, key)
		if absent(err, nil) != nil {
			return err
		}
		o.Key, o.Val = key, state.AccountSetting{Value: v}
		return state.AccountSettings.Put(tx, &o)
	})
	return &types.Setting{Name: name, Value: &v, PrincipalArn: &principal, Type: settingType(name)}, err
}

func ruleOf(name types.SettingName) settingRule {
	for _, r := range settings {
		if r.name == name {
			return r
		}
	}
	return settingRule{}
}

// settingType. Source: as settings.
func settingType(name types.SettingName) types.SettingType {
	if name == types.SettingNameGuardDutyActivate {
		return types.SettingTypeAwsManaged
	}
	return types.SettingTypeUser
}

// rootOf is the account's root, who stands for all others.
func rootOf(ctx context.Context) string {
	return "arn:aws:iam::" + awsauth.CallerFrom(ctx).Account + ":root"
}

func principalOf(ctx context.Context, given *string) (string, error) {
	if aws.ToString(given) == "" {
		return awsauth.CallerFrom(ctx).ARN, nil
	}
	if !strings.HasPrefix(*given, "arn:aws:iam::"+awsauth.CallerFrom(ctx).Account+":") {
		return "", invalid("The principal ARN is not valid: it must be a user, a role or the root of this account.")
	}
	return *given, nil
}
