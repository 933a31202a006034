package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
	"github.com/lotse-project/lotse/test/judge"
)

func TestSecret_Versions(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	arn := l.create(t, "prod/db", "one")
	if !regexp.MustCompile(`^arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db-[A-Za-z0-9]{6}$`).MatchString(arn) {
		t.Fatal(arn)
	}
	first := *must(l.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn}))(t).VersionId
	second := l.put(t, "prod/db", "two")
	pending := l.put(t, arn, "three", "AWSPENDING")
	for _, tt := range []struct{ id, stage, version, want string }{
		{"prod/db", "", "", "two"}, {arn, "", "", "two"}, {arn[:len(arn)-7], "", "", "two"},
		{arn, "AWSPREVIOUS", "", "one"}, {arn, "AWSPENDING", "", "three"}, {arn, "", first, "one"}, {arn, "AWSCURRENT", second, "two"},
	} {
		if got := l.get(t, tt.id, tt.stage, tt.version); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
	for _, tt := range []struct{ id, stage, version, code, text string }{
		{"none", "", "", "ResourceNotFoundException", "Secrets Manager can't find the specified secret."},
		{arn[:len(arn)-1] + "_", "", "", "ResourceNotFoundException", ""},
		{strings.Replace(arn, "eu-central-1", "us-east-1", 1), "", "", "ResourceNotFoundException", ""},
		{arn, "NONE", "", "ResourceNotFoundException", "for staging label: NONE"}, {arn, "", strings.Repeat("0", 32), "ResourceNotFoundException", "for VersionId: 000"},
		{arn, "AWSCURRENT", first, "InvalidRequestException", "not associated"}, {"a b", "", "", "ValidationException", "Invalid name"},
	} {
		_, err := l.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &tt.id, VersionStage: optional(tt.stage), VersionId: optional(tt.version)})
		wantError(t, fmt.Sprint(tt), err, tt.code, tt.text)
	}
	// Moving AWSCURRENT back makes the other one AWSPREVIOUS.
	stage := func(name string, from, to string) error {
		_, err := l.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: &arn, VersionStage: &name, RemoveFromVersionId: optional(from), MoveToVersionId: optional(to)})
		return err
	}
	must(0, stage("AWSCURRENT", second, first))(t)
	d := must(l.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &arn}))(t)
	if diff := cmp.Diff(map[string][]string{first: {"AWSCURRENT"}, second: {"AWSPREVIOUS"}, pending: {"AWSPENDING"}}, d.VersionIdsToStages); diff != "" {
		t.Error(diff)
	}
	wantError(t, "from nowhere", stage("AWSCURRENT", "", second), "InvalidParameterException", "currently attached to version "+first)
	wantError(t, "to nowhere", stage("AWSCURRENT", first, ""), "InvalidParameterException", "can't be completely removed")
	wantError(t, "from another", stage("AWSPENDING", first, second), "InvalidParameterException", "not found in version")
	wantError(t, "to no version", stage("mine", "", strings.Repeat("0", 32)), "InvalidParameterException", "Not a valid version")
	wantError(t, "neither", stage("mine", "", ""), "InvalidParameterException", "")
	must(0, stage("AWSPENDING", pending, ""))(t)
	ids := func(all bool) (out []string) {
		for p := secretsmanager.NewListSecretVersionIdsPaginator(l, &secretsmanager.ListSecretVersionIdsInput{SecretId: &arn, IncludeDeprecated: &all, MaxResults: aws.Int32(1)}); p.HasMorePages(); {
			for _, v := range must(p.NextPage(ctx))(t).Versions {
				out = append(out, *v.VersionId)
			}
		}
		slices.Sort(out)
		return out
	}
	if got, want := ids(false), slices.Sorted(slices.Values([]string{first, second})); !slices.Equal(got, want) {
		t.Errorf("versions %v, want %v", got, want)
	}
	if got := ids(true); len(got) != 3 {
		t.Errorf("all versions: %v", got)
	}
}

func TestSecret_Idempotency(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	token, other := strings.Repeat("a", 32), strings.Repeat("b", 32)
	create := func(token, text string) (*secretsmanager.CreateSecretOutput, error) {
		return l.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("s"), ClientRequestToken: &token, SecretString: &text})
	}
	put := func(token, text string) (*secretsmanager.PutSecretValueOutput, error) {
		return l.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("s"), ClientRequestToken: &token, SecretString: &text})
	}
	first := must(create(token, "v"))(t)
	if again := must(create(token, "v"))(t); *again.ARN != *first.ARN || *again.VersionId != token {
		t.Errorf("%+v", again)
	}
	_, err := create(token, "hunter2")
	wantError(t, "create with another value", err, "ResourceExistsException", "You can't use ClientRequestToken "+token)
	_, err = create(other, "v")
	wantError(t, "create with another token", err, "ResourceExistsException", "The operation failed because the secret s already exists.")
	must(put(other, "w"))(t)
	rev := must(l.s.o.DB.Rev(ctx))(t)
	if out := must(put(other, "w"))(t); !slices.Equal(out.VersionStages, []string{"AWSCURRENT"}) {
		t.Errorf("%+v", out)
	}
	// An old version, asked for again, doesn't become the current one.
	if out := must(put(token, "v"))(t); !slices.Equal(out.VersionStages, []string{"AWSPREVIOUS"}) || l.get(t, "s", "", "") != "w" {
		t.Errorf("%+v", out)
	}
	if now := must(l.s.o.DB.Rev(ctx))(t); now > rev+2 { // only the day of the read
		t.Errorf("repeating wrote %d records", now-rev)
	}
	_, err = put(other, "hunter2")
	wantError(t, "put with another value", err, "ResourceExistsException", "")
	_, err = l.UpdateSecret(ctx, &secretsmanager.UpdateSecretInput{SecretId: aws.String("s"), ClientRequestToken: &token, SecretString: aws.String("hunter2")})
	wantError(t, "update with another value", err, "ResourceExistsException", "")
	if strings.Contains(l.log.String(), "hunter2") {
		t.Error("the log tells a value")
	}
}

func TestSecret_Refused(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	for what, tt := range map[string]struct {
		in         secretsmanager.CreateSecretInput
		code, text string
	}{
		"name":    {secretsmanager.CreateSecretInput{Name: aws.String("a b")}, "ValidationException", "Invalid name"},
		"colon":   {secretsmanager.CreateSecretInput{Name: aws.String("a:b")}, "ValidationException", "Invalid name"},
		"both":    {secretsmanager.CreateSecretInput{Name: aws.String("a"), SecretString: aws.String("x"), SecretBinary: []byte("x")}, "InvalidParameterException", "both"},
		"empty":   {secretsmanager.CreateSecretInput{Name: aws.String("a"), SecretString: aws.String("")}, "ValidationException", "between 1 and 65536"},
		"large":   {secretsmanager.CreateSecretInput{Name: aws.String("a"), SecretString: aws.String(strings.Repeat("x", 65537))}, "ValidationException", "between 1 and 65536"},
		"token":   {secretsmanager.CreateSecretInput{Name: aws.String("a"), ClientRequestToken: aws.String("short")}, "InvalidParameterException", "32-64"},
		"key":     {secretsmanager.CreateSecretInput{Name: aws.String("a"), KmsKeyId: aws.String("alias/mine")}, "InvalidParameterException", "KMS"},
		"regions": {secretsmanager.CreateSecretInput{Name: aws.String("a"), AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("us-east-1")}}}, "InvalidParameterException", "addReplicaRegions"},
		"type":    {secretsmanager.CreateSecretInput{Name: aws.String("a"), Type: aws.String("x")}, "InvalidParameterException", "type"},
		"tag":     {secretsmanager.CreateSecretInput{Name: aws.String("a"), Tags: []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}}}, "InvalidParameterException", "reserved"},
	} {
		_, err := l.CreateSecret(ctx, &tt.in)
		wantError(t, what, err, tt.code, tt.text)
	}
	if rev := must(l.s.o.DB.Rev(ctx))(t); rev != 0 {
		t.Error("a refused request wrote something")
	}
	l.create(t, "a", "x")
	_, err := l.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("a")})
	wantError(t, "put nothing", err, "InvalidRequestException", "You must provide either SecretString or SecretBinary.")
	_, err = l.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("a"), SecretString: aws.String("x"), RotationToken: aws.String(strings.Repeat("x", 36))})
	wantError(t, "rotation", err, "InvalidParameterException", "rotationToken")
}

func TestSecret_DeleteAndRestore(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	arn := l.create(t, "s", "v")
	del := func(days int64, force bool) (*secretsmanager.DeleteSecretOutput, error) {
		in := &secretsmanager.DeleteSecretInput{SecretId: aws.String("s")}
		if days != 0 {
			in.RecoveryWindowInDays = &days
		}
		if force {
			in.ForceDeleteWithoutRecovery = &force
		}
		return l.DeleteSecret(ctx, in)
	}
	_, err := del(6, false)
	wantError(t, "6 days", err, "InvalidParameterException", "between 7 and 30 days")
	_, err = del(7, true)
	wantError(t, "7 days by force", err, "InvalidParameterException", "in conjunction")
	if out := must(del(7, false))(t); !out.DeletionDate.Equal(l.now.Add(7 * day)) {
		t.Errorf("%v", out.DeletionDate)
	}
	_, err = l.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	wantError(t, "get", err, "InvalidRequestException", "marked for deletion")
	_, err = l.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: aws.String("w")})
	wantError(t, "put", err, "InvalidRequestException", "marked for deletion")
	_, err = l.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("s")})
	wantError(t, "create", err, "InvalidRequestException", "already scheduled for deletion")
	_, err = del(0, false)
	wantError(t, "delete", err, "InvalidRequestException", "marked for deletion")
	if d := must(l.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &arn}))(t); d.DeletedDate == nil {
		t.Error("no DeletedDate")
	}
	list := func(marked bool) int {
		return len(must(l.ListSecrets(ctx, &secretsmanager.ListSecretsInput{IncludePlannedDeletion: &marked}))(t).SecretList)
	}
	if list(false) != 0 || list(true) != 1 {
		t.Error("listed wrongly")
	}
	must(l.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: &arn}))(t)
	if l.get(t, "s", "", "") != "v" {
		t.Error("not restored")
	}
	// At the end of the window it is gone, for everybody, and its name is free.
	must(del(0, false))(t)
	l.pass(30 * day)
	_, err = l.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: &arn})
	wantError(t, "restore", err, "ResourceNotFoundException", "")
	if again := l.create(t, "s", "fresh"); again == arn || l.get(t, "s", "", "") != "fresh" {
		t.Errorf("made again: %s", again)
	}
	_, err = l.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	wantError(t, "by the old ARN", err, "ResourceNotFoundException", "")
	must(del(0, false))(t)
	l.pass(30 * day)
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	from := must(l.s.o.DB.Rev(ctx))(t)
	go func() { done <- l.s.Run(running) }()
	for range l.s.o.DB.Changes(ctx, from) { // two records go, in one transaction
		break
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := l.records(t); n != 0 {
		t.Errorf("%d records are left", n)
	}
	must(del(0, true))(t) // of none: no error
	_, err = del(0, false)
	wantError(t, "delete none", err, "ResourceNotFoundException", "")
	l.create(t, "s", "x")
	must(del(0, true))(t)
	if n := l.records(t); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// records counts what is stored.
func (l *lab) records(t testing.TB) (n int) {
	t.Helper()
	must(0, l.s.o.DB.View(t.Context(), func(tx *store.ReadTx) error {
		for range state.Secrets.List(tx, "") {
			n++
		}
		for range state.SecretVersions.List(tx, "") {
			n++
		}
		return nil
	}))(t)
	return n
}

func TestSecret_KeepsHundredVersions(t *testing.T) {
	l := newLab(t)
	l.create(t, "s", "0")
	for i := range 110 {
		l.put(t, "s", fmt.Sprint(i))
	}
	if n := l.records(t); n != 112 {
		t.Errorf("%d records; versions of a day are kept", n)
	}
	l.pass(25 * time.Hour)
	l.put(t, "s", "last")
	if n := l.records(t); n != 101 {
		t.Errorf("%d records, want the secret and 100 versions", n)
	}
	if l.get(t, "s", "AWSPREVIOUS", "") != "109" {
		t.Error("AWSPREVIOUS went")
	}
}

func TestListSecrets(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	for i, n := range []string{"prod/db", "prod/api", "test/db"} {
		must(l.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &n, SecretString: aws.String("v"), Description: aws.String(fmt.Sprintf("The %s Password %d", n[:4], i)),
			Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String(n[:4])}}}))(t)
		l.pass(time.Second)
	}
	list := func(in secretsmanager.ListSecretsInput) (out []string) {
		t.Helper()
		in.MaxResults = aws.Int32(1)
		for p := secretsmanager.NewListSecretsPaginator(l, &in); p.HasMorePages(); {
			for _, s := range must(p.NextPage(ctx))(t).SecretList {
				out = append(out, *s.Name)
			}
		}
		return out
	}
	f := func(k types.FilterNameStringType, v ...string) secretsmanager.ListSecretsInput {
		return secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: k, Values: v}}}
	}
	for _, tt := range []struct {
		in   secretsmanager.ListSecretsInput
		want []string
	}{
		{secretsmanager.ListSecretsInput{}, []string{"prod/db", "prod/api", "test/db"}},
		{secretsmanager.ListSecretsInput{SortOrder: "desc"}, []string{"test/db", "prod/api", "prod/db"}},
		{secretsmanager.ListSecretsInput{SortBy: "name"}, []string{"prod/api", "prod/db", "test/db"}},
		{f("name", "prod"), []string{"prod/db", "prod/api"}}, {f("name", "!prod"), []string{"test/db"}}, {f("name", "Prod"), nil},
		{f("tag-key", "en"), []string{"prod/db", "prod/api", "test/db"}}, {f("tag-value", "test", "x"), []string{"test/db"}},
		{f("description", "passw"), []string{"prod/db", "prod/api", "test/db"}}, {f("description", "2 test"), []string{"test/db"}},
		{f("all", "api"), []string{"prod/api"}}, {f("owning-service", "rds"), nil},
	} {
		if d := cmp.Diff(tt.want, list(tt.in)); d != "" {
			t.Errorf("%+v: -want +got\n%s", tt.in, d)
		}
	}
	_, err := l.ListSecrets(ctx, &secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: "colour", Values: []string{"x"}}}})
	wantError(t, "a bad key", err, "ValidationException", "enum value set")
	_, err = l.ListSecrets(ctx, &secretsmanager.ListSecretsInput{NextToken: aws.String("!")})
	wantError(t, "a bad token", err, "InvalidNextTokenException", "")
	b := must(l.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"prod/db", "none"}}))(t)
	if len(b.SecretValues) != 1 || *b.SecretValues[0].SecretString != "v" || len(b.Errors) != 1 || *b.Errors[0].ErrorCode != "ResourceNotFoundException" {
		t.Errorf("%+v", b)
	}
	b = must(l.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{Filters: f("name", "prod").Filters, MaxResults: aws.Int32(1)}))(t)
	if len(b.SecretValues) != 1 || b.NextToken == nil {
		t.Errorf("%+v", b)
	}
	_, err = l.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{})
	wantError(t, "a batch of nothing", err, "InvalidParameterException", "but not both")
	must(l.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: aws.String("prod/db"), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}}))(t)
	must(l.UntagResource(ctx, &secretsmanager.UntagResourceInput{SecretId: aws.String("prod/db"), TagKeys: []string{"env"}}))(t)
	must(l.UpdateSecret(ctx, &secretsmanager.UpdateSecretInput{SecretId: aws.String("prod/db"), Description: aws.String("new")}))(t)
	d := must(l.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("prod/db")}))(t)
	if len(d.Tags) != 1 || *d.Tags[0].Key != "a" || *d.Description != "new" || !d.LastAccessedDate.Equal(l.now.Truncate(day)) {
		t.Errorf("%+v", d)
	}
	if p := must(l.GetResourcePolicy(ctx, &secretsmanager.GetResourcePolicyInput{SecretId: aws.String("prod/db")}))(t); p.ResourcePolicy != nil {
		t.Errorf("%+v", p)
	}
}

func TestSealed(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.create(t, "s", "hunter2-hunter2")
	must(l.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("s"), SecretBinary: []byte("hunter2\x00\xff")}))(t)
	if v := must(l.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")}))(t); string(v.SecretBinary) != "hunter2\x00\xff" || v.SecretString != nil {
		t.Errorf("%+v", v)
	}
	if files := l.files(t); strings.Contains(files, "hunter2") || strings.Contains(l.log.String(), "hunter2") {
		t.Error("a value is on the disk, or in the log, as it is")
	}
	// A value moved to another secret's record doesn't open.
	l.create(t, "other", "x")
	must(0, l.s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		a, _ := state.Secrets.Get(tx, here.Key("s"))
		b, _ := state.Secrets.Get(tx, here.Key("other"))
		from, err := versionOf(tx, a.Val, "", "AWSPREVIOUS")
		if err != nil {
			return err
		}
		to, err := versionOf(tx, b.Val, "", "")
		if err != nil {
			return err
		}
		to.Val.Sealed = from.Val.Sealed
		return state.SecretVersions.Put(tx, &to)
	}))(t)
	_, err := l.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("other")})
	wantError(t, "a moved value", err, "DecryptionFailure", "can't decrypt")
}

func TestValue(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	a := l.create(t, "prod/db", `{"user":"ann","port":5432,"big":10000000,"deep":{"k": [1, 2]},"on":true}`)
	old := *must(l.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &a}))(t).VersionId
	l.put(t, a, `{"user":"bob"}`)
	for from, want := range map[string]string{
		a: `{"user":"bob"}`, a[:len(a)-7]: `{"user":"bob"}`, a + ":user::": "bob", a + ":user:AWSPREVIOUS:": "ann", a + ":user::" + old: "ann",
		a + ":port:AWSPREVIOUS:": "5432", a + ":big:AWSPREVIOUS:": "10000000", a + ":deep:AWSPREVIOUS:": `{"k":[1,2]}`, a + ":on:AWSPREVIOUS:" + old: "true",
		a + "::AWSCURRENT:": `{"user":"bob"}`,
	} {
		if got, err := l.s.Value(ctx, here, from); got != want || err != nil {
			t.Errorf("Value(%s) = %q, %v", from, got, err)
		}
	}
	if got, err := l.s.Value(ctx, arn.Scope{Account: here.Account, Region: "us-east-1"}, a+":user::"); got != "bob" || err != nil {
		t.Errorf("from another region: %q, %v", got, err)
	}
	plain := l.create(t, "plain", "hunter2")
	missing := here.ARN("secretsmanager", "secret:none")
	for from, want := range map[string]string{
		missing:               "failed to fetch secret " + missing + " from secrets manager: ResourceNotFoundException: Secrets Manager can't find the specified secret.",
		a + ":none::":         "retrieved secret from Secrets Manager did not contain json key none",
		plain + ":k::":        "retrieved secret from Secrets Manager is not a JSON object, so it has no json key k",
		a + ":user:NONE:":     "failed to fetch secret " + a + " from secrets manager: ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: NONE",
		"prod/db":             "failed to fetch secret prod/db from secrets manager: ValidationException: Invalid ARN: prod/db",
		a + ":user":           "failed to fetch secret " + a + ":user from secrets manager: ValidationException: Invalid ARN: " + a + ":user",
		"arn:aws:ssm:x:y:z/a": "failed to fetch secret arn:aws:ssm:x:y:z/a from secrets manager: ValidationException: Invalid ARN: arn:aws:ssm:x:y:z/a",
	} {
		_, err := l.s.Value(ctx, here, from)
		var e *state.InitializationError
		if !errors.As(err, &e) || !e.Permanent || e.Message != pulling+want || strings.Contains(e.Error(), "hunter2") {
			t.Errorf("Value(%s):\n%v, want\n%s", from, err, pulling+want)
		}
	}
}

func TestGetRandomPassword(t *testing.T) {
	l := newLab(t)
	get := func(in secretsmanager.GetRandomPasswordInput) string {
		t.Helper()
		return *must(l.GetRandomPassword(t.Context(), &in))(t).RandomPassword
	}
	if p := get(secretsmanager.GetRandomPasswordInput{}); len(p) != 32 || p == get(secretsmanager.GetRandomPasswordInput{}) {
		t.Errorf("%q", p)
	}
	for range 50 {
		p := get(secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(4)})
		if !strings.ContainsAny(p, letters[:26]) || !strings.ContainsAny(p, letters[26:52]) || !strings.ContainsAny(p, letters[52:]) || !strings.ContainsAny(p, punctuation) {
			t.Errorf("%q has not all types", p)
		}
		p = get(secretsmanager.GetRandomPasswordInput{ExcludePunctuation: aws.Bool(true), ExcludeNumbers: aws.Bool(true), ExcludeUppercase: aws.Bool(true), ExcludeCharacters: aws.String("abcdefghij")})
		if strings.Trim(p, "klmnopqrstuvwxyz") != "" {
			t.Errorf("%q", p)
		}
	}
	for code, in := range map[string]*secretsmanager.GetRandomPasswordInput{
		"ValidationException": {PasswordLength: aws.Int64(4097)}, "InvalidParameterException": {PasswordLength: aws.Int64(3)},
	} {
		_, err := l.GetRandomPassword(t.Context(), in)
		wantError(t, code, err, code, "")
	}
	_, err := l.GetRandomPassword(t.Context(), &secretsmanager.GetRandomPasswordInput{ExcludeLowercase: aws.Bool(true), ExcludeUppercase: aws.Bool(true), ExcludeNumbers: aws.Bool(true), ExcludePunctuation: aws.Bool(true)})
	wantError(t, "nothing left", err, "InvalidParameterException", "")
}

// Members of the inputs that nobody acts on are refused.
func TestMembers(t *testing.T) {
	l := newLab(t)
	acts := map[string]string{
		"CreateSecret": "Name ClientRequestToken Description KmsKeyId SecretBinary SecretString Tags", "UpdateSecret": "SecretId ClientRequestToken Description KmsKeyId SecretBinary SecretString",
		"PutSecretValue": "SecretId ClientRequestToken SecretBinary SecretString VersionStages", "GetSecretValue": "SecretId VersionId VersionStage",
		"BatchGetSecretValue": "SecretIdList Filters MaxResults NextToken", "DescribeSecret": "SecretId", "ListSecrets": "Filters IncludePlannedDeletion MaxResults NextToken SortBy SortOrder",
		"ListSecretVersionIds": "SecretId IncludeDeprecated MaxResults NextToken", "UpdateSecretVersionStage": "SecretId VersionStage RemoveFromVersionId MoveToVersionId",
		"DeleteSecret": "SecretId RecoveryWindowInDays ForceDeleteWithoutRecovery", "RestoreSecret": "SecretId", "TagResource": "SecretId Tags", "UntagResource": "SecretId TagKeys",
		"GetResourcePolicy": "SecretId",
		"GetRandomPassword": "PasswordLength ExcludeCharacters ExcludeNumbers ExcludePunctuation ExcludeUppercase ExcludeLowercase IncludeSpace RequireEachIncludedType",
	}
	refused := strings.Fields("CreateSecret.AddReplicaRegions CreateSecret.ForceOverwriteReplicaSecret CreateSecret.Type UpdateSecret.Type PutSecretValue.RotationToken")
	for _, op := range l.s.API().Operations() {
		m, ok := reflect.TypeOf(l.Client).MethodByName(op)
		if !ok {
			t.Fatal(op)
		}
		in := m.Type.In(2).Elem()
		for i := range in.NumField() {
			f := in.Field(i)
			if f.IsExported() && f.Type != reflect.TypeFor[middleware.Metadata]() && !slices.Contains(strings.Fields(acts[op]), f.Name) && !slices.Contains(refused, op+"."+f.Name) {
				t.Errorf("%s.%s is neither acted on nor refused", op, f.Name)
			}
		}
	}
}

// The AWS CLI reads names in their right case, other than the SDK for Go.
func TestCLI(t *testing.T) {
	if testing.Short() {
		t.Skip("the CLI takes a second to start")
	}
	cli := judge.Path(t, "aws")
	l := newLab(t)
	run := func(args ...string) (map[string]any, string) {
		t.Helper()
		cmd := exec.Command(cli, append([]string{"--endpoint-url", l.url, "--region", here.Region, "--output", "json", "secretsmanager"}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=x", "AWS_EC2_METADATA_DISABLED=true"}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		b, err := cmd.Output()
		out := map[string]any{}
		if err == nil {
			err = json.Unmarshal(b, &out)
		}
		if err != nil && stderr.Len() == 0 {
			t.Fatal(err)
		}
		return out, stderr.String()
	}
	created, _ := run("create-secret", "--name", "s", "--secret-string", "hunter2", "--tags", "Key=a,Value=b")
	got, _ := run("get-secret-value", "--secret-id", fmt.Sprint(created["ARN"]))
	if got["SecretString"] != "hunter2" || got["Name"] != "s" || got["VersionId"] != created["VersionId"] {
		t.Errorf("get-secret-value: %v", got)
	}
	if _, text := run("get-secret-value", "--secret-id", "none"); !strings.Contains(text, "(ResourceNotFoundException) when calling the GetSecretValue operation: Secrets Manager can't find the specified secret.") {
		t.Errorf("get-secret-value of none: %s", text)
	}
	if all, _ := run("list-secrets"); len(all["SecretList"].([]any)) != 1 {
		t.Errorf("list-secrets: %v", all)
	}
}
