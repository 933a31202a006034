package ecs

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/awsauth"
)

func TestAccountSettings(t *testing.T) {
	b := newBench(t)
	const root, role = "arn:aws:iam::000000000000:root", "arn:aws:iam::000000000000:role/dev"
	dev := awsauth.WithCaller(t.Context(), awsauth.Caller{Account: here.Account, Region: here.Region, ARN: role})
	list := func(ctx context.Context, in ecs.ListAccountSettingsInput) string {
		t.Helper()
		var out []string
		for _, s := range must(b.s.ListAccountSettings(ctx, &in))(t).Settings {
			out = append(out, fmt.Sprintf("%s=%s", s.Name, *s.Value))
		}
		return strings.Join(out, " ")
	}
	trunking := ecs.ListAccountSettingsInput{EffectiveSettings: true, Name: types.SettingNameAwsvpcTrunking}
	if got := list(dev, ecs.ListAccountSettingsInput{}); got != "" {
		t.Errorf("own settings %s, want none", got)
	}
	all := must(b.s.ListAccountSettings(dev, &ecs.ListAccountSettingsInput{EffectiveSettings: true}))(t)
	if len(all.Settings) != 10 || all.NextToken == nil {
		t.Errorf("%d effective settings in a page, want 10 and a token", len(all.Settings))
	}
	must(b.s.PutAccountSettingDefault(b.ctx, &ecs.PutAccountSettingDefaultInput{Name: types.SettingNameAwsvpcTrunking, Value: aws.String("enabled")}))(t)
	if got := list(dev, trunking); got != "awsvpcTrunking=enabled" {
		t.Errorf("by default %s", got)
	}
	out := must(b.s.PutAccountSetting(b.ctx, &ecs.PutAccountSettingInput{Name: types.SettingNameAwsvpcTrunking, Value: aws.String("disabled"), PrincipalArn: aws.String(role)}))(t).Setting
	if *out.PrincipalArn != role || *out.Value != "disabled" || out.Type != types.SettingTypeUser {
		t.Errorf("%+v", out)
	}
	if got := list(dev, trunking) + " " + list(b.ctx, trunking) + " " + list(dev, ecs.ListAccountSettingsInput{}); got != "awsvpcTrunking=disabled awsvpcTrunking=enabled awsvpcTrunking=disabled" {
		t.Errorf("settings %s", got)
	}
	must(b.s.DeleteAccountSetting(dev, &ecs.DeleteAccountSettingInput{Name: types.SettingNameAwsvpcTrunking}))(t)
	must(b.s.DeleteAccountSetting(dev, &ecs.DeleteAccountSettingInput{Name: types.SettingNameAwsvpcTrunking}))(t)
	if got := list(dev, trunking); got != "awsvpcTrunking=enabled" {
		t.Errorf("after the deletion %s", got)
	}
	for _, tc := range []struct{ name, value, principal, text string }{
		{"containerInsights", "enabled", root, "The value 'enabled' of the setting containerInsights can't be met here: it is one of disabled."},
		{"taskLongArnFormat", "disabled", root, "The value 'disabled' of the setting taskLongArnFormat can't be met here: it is one of enabled."},
		{"guardDutyActivate", "on", root, "The setting guardDutyActivate is managed by AWS and can't be changed."},
		{"defaultLogDriverMode", "sometimes", root, "The value 'sometimes' of the setting defaultLogDriverMode can't be met here: it is one of non-blocking, blocking."},
		{"defaultLogDriverMode", "blocking", role, "The setting defaultLogDriverMode can be set for the whole account only: by its root, or as the default."},
		{"nonsense", "on", root, "The setting name is not valid. Specify a valid setting name and try again."},
		{"awsvpcTrunking", "enabled", "arn:aws:iam::111122223333:root", "The principal ARN is not valid: it must be a user, a role or the root of this account."},
	} {
		_, err := b.s.PutAccountSetting(b.ctx, &ecs.PutAccountSettingInput{Name: types.SettingName(tc.name), Value: &tc.value, PrincipalArn: &tc.principal})
		refused(t, err, "InvalidParameterException", tc.text)
	}
	_, err := b.s.ListAccountSettings(b.ctx, &ecs.ListAccountSettingsInput{Value: aws.String("x")})
	refused(t, err, "InvalidParameterException", "A setting value can be given only with the name of a setting.")
}
