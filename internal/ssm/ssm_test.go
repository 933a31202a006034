package ssm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
	"github.com/lotse-project/lotse/test/judge"
)

func TestPutParameter_VersionsAndSelectors(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.put(t, "/app/db", "one", types.ParameterTypeString)
	if v := l.put(t, "/app/db", "two", ""); v != 2 {
		t.Errorf("version %d", v)
	}
	must(l.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: aws.String("/app/db"), ParameterVersion: aws.Int64(1), Labels: []string{"prod", "1bad", "awsbad"}}))(t)
	l.put(t, "plain", "p", types.ParameterTypeStringList)
	for name, want := range map[string]string{
		"/app/db": "two", "/app/db:1": "one", "/app/db:2": "two", "/app/db:prod": "one", " /app/db ": "two",
		here.ARN("ssm", "parameter/app/db"): "two", here.ARN("ssm", "parameter/app/db:prod"): "one",
		"plain": "p", here.ARN("ssm", "parameter/plain"): "p",
	} {
		if got := l.get(t, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	p := must(l.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/app/db:prod")}))(t).Parameter
	if *p.ARN != here.ARN("ssm", "parameter/app/db") || *p.Name != "/app/db" || *p.Selector != ":prod" || p.Version != 1 || *p.DataType != "text" || p.Type != "String" {
		t.Errorf("%+v", p)
	}
	for name, want := range map[string][2]string{
		"/app/db:3": {"ParameterVersionNotFound", "could not find version 3 of /app/db"}, "/app/db:none": {"ParameterVersionNotFound", "could not find label none"},
		"/none": {"ParameterNotFound", "/none"}, "/a:1:2": {"ValidationException", "correct syntax"}, "a b": {"ValidationException", "Parameter name"},
		"arn:aws:ssm:us-east-1:123456789012:parameter/app/db": {"ParameterNotFound", ""}, "arn:aws:s3:::x": {"ValidationException", "ARN"},
	} {
		_, err := l.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name)})
		wantError(t, name, err, want[0], want[1])
	}
	out := must(l.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{"/app/db:1", "/none", "plain", "/app/db:9"}}))(t)
	if len(out.Parameters) != 2 || !slices.Equal(out.InvalidParameters, []string{"/none", "/app/db:9"}) {
		t.Errorf("%+v", out)
	}
	h := must(l.GetParameterHistory(ctx, &ssm.GetParameterHistoryInput{Name: aws.String("/app/db")}))(t).Parameters
	if len(h) != 2 || *h[0].Value != "one" || !slices.Equal(h[0].Labels, []string{"prod"}) || *h[1].LastModifiedUser != caller {
		t.Errorf("%+v", h)
	}
}

func TestPutParameter_Refused(t *testing.T) {
	l := newLab(t)
	l.put(t, "/there", "v", types.ParameterTypeString)
	must(l.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/adv"), Value: aws.String("v"), Type: "String", Tier: "Advanced"}))(t)
	before := must(l.s.o.DB.Rev(t.Context()))(t)
	valid := func() *ssm.PutParameterInput {
		return &ssm.PutParameterInput{Name: aws.String("/new"), Value: aws.String("s3cr3t-value"), Type: types.ParameterTypeString}
	}
	for what, tt := range map[string]struct {
		change     func(*ssm.PutParameterInput)
		code, text string
	}{
		"exists":   {func(in *ssm.PutParameterInput) { in.Name = aws.String("/there") }, "ParameterAlreadyExists", "set the overwrite option"},
		"no type":  {func(in *ssm.PutParameterInput) { in.Type = "" }, "ValidationException", "type is required"},
		"bad type": {func(in *ssm.PutParameterInput) { in.Type = "Text" }, "ValidationException", "Member must satisfy enum value set"},
		"empty":    {func(in *ssm.PutParameterInput) { in.Value = aws.String("") }, "ValidationException", "length greater than"},
		"nested":   {func(in *ssm.PutParameterInput) { in.Value = aws.String("{{ssm:x}}") }, "ValidationException", "nest"},
		"aws":      {func(in *ssm.PutParameterInput) { in.Name = aws.String("awsome") }, "ValidationException", "can't be prefixed"},
		"/aws/x":   {func(in *ssm.PutParameterInput) { in.Name = aws.String("/aws/x") }, "AccessDeniedException", "reserved"},
		"SSM":      {func(in *ssm.PutParameterInput) { in.Name = aws.String("/SSM/x") }, "ValidationException", "can't be prefixed"},
		"a/b":      {func(in *ssm.PutParameterInput) { in.Name = aws.String("a/b") }, "ValidationException", "fully qualified"},
		"name":     {func(in *ssm.PutParameterInput) { in.Name = aws.String("/a b") }, "ValidationException", "sub-path"},
		"colon":    {func(in *ssm.PutParameterInput) { in.Name = aws.String("/a:1") }, "ValidationException", "sub-path"},
		"long":     {func(in *ssm.PutParameterInput) { in.Name = aws.String("/" + strings.Repeat("a", 1000)) }, "ValidationException", "1011"},
		"levels":   {func(in *ssm.PutParameterInput) { in.Name = aws.String(strings.Repeat("/a", 16)) }, "HierarchyLevelLimitExceededException", "15"},
		"large":    {func(in *ssm.PutParameterInput) { in.Value = aws.String(strings.Repeat("a", 4097)) }, "ValidationException", "4096"},
		"very large": {func(in *ssm.PutParameterInput) {
			in.Value = aws.String(strings.Repeat("a", 8193))
			in.Tier = "Advanced"
		}, "ValidationException", "8192"},
		"downgrade": {func(in *ssm.PutParameterInput) {
			in.Name = aws.String("/adv")
			in.Overwrite = aws.Bool(true)
			in.Tier = "Standard"
		}, "ValidationException", "downgrade"},
		"pattern": {func(in *ssm.PutParameterInput) { in.AllowedPattern = aws.String(`\d+`) }, "ParameterPatternMismatchException", `cannot be validated against allowedPattern: \d+`},
		"items": {func(in *ssm.PutParameterInput) {
			in.AllowedPattern = aws.String(`\d+`)
			in.Type = "StringList"
			in.Value = aws.String("1,x")
		}, "ParameterPatternMismatchException", ""},
		"bad pattern":  {func(in *ssm.PutParameterInput) { in.AllowedPattern = aws.String(`(?=x)`) }, "InvalidAllowedPatternException", ""},
		"data type":    {func(in *ssm.PutParameterInput) { in.DataType = aws.String("aws:ec2:image") }, "ValidationException", "data type is not supported"},
		"key":          {func(in *ssm.PutParameterInput) { in.KeyId = aws.String("alias/mine"); in.Type = "SecureString" }, "InvalidKeyId", "KMS"},
		"key of plain": {func(in *ssm.PutParameterInput) { in.KeyId = aws.String(keyAlias) }, "InvalidKeyId", "SecureString"},
		"policies":     {func(in *ssm.PutParameterInput) { in.Policies = aws.String("[]") }, "ValidationException", "policies"},
		"tags":         {func(in *ssm.PutParameterInput) { in.Overwrite = aws.Bool(true); in.Tags = tagsOf("a", "b") }, "ValidationException", "tags and overwrite"},
		"aws: tag":     {func(in *ssm.PutParameterInput) { in.Tags = tagsOf("aws:x", "b") }, "ValidationException", "reserved"},
		"description":  {func(in *ssm.PutParameterInput) { in.Description = aws.String(strings.Repeat("d", 1025)) }, "ValidationException", "1024"},
	} {
		in := valid()
		tt.change(in)
		_, err := l.PutParameter(t.Context(), in)
		wantError(t, what, err, tt.code, tt.text)
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s tells the value: %v", what, err)
		}
	}
	if must(l.s.o.DB.Rev(t.Context()))(t) != before {
		t.Error("a refused request wrote something")
	}
	if strings.Contains(l.log.String(), "s3cr3t") {
		t.Error("the log tells a value")
	}
}

func tagsOf(k, v string) []types.Tag { return []types.Tag{{Key: aws.String(k), Value: aws.String(v)}} }

// What a version leaves out stays as it was; tiers are decided by the value.
func TestPutParameter_Keeps(t *testing.T) {
	l := newLab(t)
	put := func(in ssm.PutParameterInput) *ssm.PutParameterOutput {
		in.Name = aws.String("/p")
		return must(l.PutParameter(t.Context(), &in))(t)
	}
	put(ssm.PutParameterInput{Value: aws.String("12"), Type: "SecureString", Description: aws.String("d"), AllowedPattern: aws.String(`\d+`), Tags: tagsOf("a", "b"), KeyId: aws.String(keyAlias)})
	if out := put(ssm.PutParameterInput{Value: aws.String(strings.Repeat("1", 5000)), Overwrite: aws.Bool(true), Tier: "Intelligent-Tiering"}); out.Tier != "Advanced" {
		t.Errorf("%s", out.Tier)
	}
	if out := put(ssm.PutParameterInput{Value: aws.String("1"), Overwrite: aws.Bool(true)}); out.Tier != "Advanced" || out.Version != 3 {
		t.Errorf("%+v", out)
	}
	_, err := l.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/p"), Value: aws.String("x"), Overwrite: aws.Bool(true)})
	wantError(t, "the pattern that was given before", err, "ParameterPatternMismatchException", "")
	m := must(l.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{}))(t).Parameters
	if len(m) != 1 || *m[0].Description != "d" || m[0].Type != "SecureString" || *m[0].KeyId != keyAlias || m[0].Version != 3 || *m[0].AllowedPattern != `\d+` {
		t.Errorf("%+v", m)
	}
}

func TestPutParameter_HundredVersions(t *testing.T) {
	l := newLab(t)
	for range 101 {
		l.put(t, "/p", "v", types.ParameterTypeString)
	}
	_, err := l.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/p:1")})
	wantError(t, "the first of 101", err, "ParameterVersionNotFound", "")
	must(l.LabelParameterVersion(t.Context(), &ssm.LabelParameterVersionInput{Name: aws.String("/p"), ParameterVersion: aws.Int64(2), Labels: []string{"keep"}}))(t)
	_, err = l.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/p"), Value: aws.String("v"), Overwrite: aws.Bool(true)})
	wantError(t, "over a label", err, "ParameterMaxVersionLimitExceeded", "Version 2, the oldest version")
	var n int
	in := &ssm.GetParameterHistoryInput{Name: aws.String("/p"), MaxResults: aws.Int32(30)}
	for p := ssm.NewGetParameterHistoryPaginator(l, in); p.HasMorePages(); {
		n += len(must(p.NextPage(t.Context()))(t).Parameters)
	}
	if n != 100 {
		t.Errorf("%d versions", n)
	}
}

func TestGetParametersByPath(t *testing.T) {
	l := newLab(t)
	for _, n := range []string{"/a/x", "/a/y", "/a/b/z", "/ab", "/a", "top"} {
		l.put(t, n, "v", types.ParameterTypeString)
	}
	l.put(t, "/a/s", "hidden", types.ParameterTypeSecureString)
	must(l.LabelParameterVersion(t.Context(), &ssm.LabelParameterVersionInput{Name: aws.String("/a/x"), Labels: []string{"prod"}}))(t)
	l.put(t, "/a/x", "newer", "")
	names := func(in *ssm.GetParametersByPathInput) (out []string) {
		t.Helper()
		for p := ssm.NewGetParametersByPathPaginator(l, in); p.HasMorePages(); {
			for _, v := range must(p.NextPage(t.Context()))(t).Parameters {
				out = append(out, *v.Name+"="+*v.Value)
			}
		}
		return out
	}
	filter := func(k string, v ...string) []types.ParameterStringFilter {
		return []types.ParameterStringFilter{{Key: &k, Values: v}}
	}
	for what, tt := range map[string]struct {
		in   ssm.GetParametersByPathInput
		want []string
	}{
		"one level": {ssm.GetParametersByPathInput{Path: aws.String("/a"), WithDecryption: aws.Bool(true)}, []string{"/a/s=hidden", "/a/x=newer", "/a/y=v"}},
		"slash":     {ssm.GetParametersByPathInput{Path: aws.String("/a/b/")}, []string{"/a/b/z=v"}},
		"recursive": {ssm.GetParametersByPathInput{Path: aws.String("/a"), Recursive: aws.Bool(true), WithDecryption: aws.Bool(true), MaxResults: aws.Int32(1)}, []string{"/a/b/z=v", "/a/s=hidden", "/a/x=newer", "/a/y=v"}},
		"root":      {ssm.GetParametersByPathInput{Path: aws.String("/")}, []string{"/a=v", "/ab=v"}},
		"label":     {ssm.GetParametersByPathInput{Path: aws.String("/a"), ParameterFilters: filter("Label", "prod")}, []string{"/a/x=v"}},
		"type":      {ssm.GetParametersByPathInput{Path: aws.String("/a"), ParameterFilters: filter("Type", "SecureString"), WithDecryption: aws.Bool(true)}, []string{"/a/s=hidden"}},
	} {
		if d := cmp.Diff(tt.want, names(&tt.in)); d != "" {
			t.Errorf("%s: -want +got\n%s", what, d)
		}
	}
	for what, tt := range map[string]struct {
		in         ssm.GetParametersByPathInput
		code, text string
	}{
		"no slash": {ssm.GetParametersByPathInput{Path: aws.String("a")}, "ValidationException", "must begin with a forward slash"},
		"name":     {ssm.GetParametersByPathInput{Path: aws.String("/"), ParameterFilters: filter("Name", "a")}, "InvalidFilterKey", ""},
		"eleven":   {ssm.GetParametersByPathInput{Path: aws.String("/"), MaxResults: aws.Int32(11)}, "ValidationException", "less than or equal to 10"},
		"token":    {ssm.GetParametersByPathInput{Path: aws.String("/"), NextToken: aws.String("!")}, "InvalidNextToken", ""},
	} {
		_, err := l.GetParametersByPath(t.Context(), &tt.in)
		wantError(t, what, err, tt.code, tt.text)
	}
}

func TestDescribeParameters_Filters(t *testing.T) {
	l := newLab(t)
	for _, n := range []string{"/a/x", "/a/b/z", "top"} {
		l.put(t, n, "v", types.ParameterTypeString)
	}
	l.put(t, "/s", "v", types.ParameterTypeSecureString)
	must(l.AddTagsToResource(t.Context(), &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: aws.String("top"), Tags: tagsOf("env", "prod")}))(t)
	for _, tt := range []struct {
		key, option string
		values      []string
		want        []string
	}{
		{"Name", "Equals", []string{"top", "/s"}, []string{"/s", "top"}},
		{"Name", "BeginsWith", []string{"/a"}, []string{"/a/b/z", "/a/x"}},
		{"Name", "Contains", []string{"b"}, []string{"/a/b/z"}},
		{"Path", "", []string{"/a"}, []string{"/a/x"}},
		{"Path", "Recursive", []string{"/a"}, []string{"/a/b/z", "/a/x"}},
		{"Type", "", []string{"SecureString"}, []string{"/s"}},
		{"KeyId", "", []string{keyAlias}, []string{"/s"}},
		{"Tier", "", []string{"Advanced"}, nil},
		{"tag:env", "", []string{"prod"}, []string{"top"}},
		{"tag:env", "", nil, []string{"top"}},
		{"tag:env", "BeginsWith", []string{"x"}, nil},
	} {
		f := types.ParameterStringFilter{Key: &tt.key, Values: tt.values}
		if tt.option != "" {
			f.Option = &tt.option
		}
		var got []string
		for _, p := range must(l.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{f}}))(t).Parameters {
			got = append(got, *p.Name)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s %s %v: -want +got\n%s", tt.key, tt.option, tt.values, d)
		}
	}
	for _, tt := range []struct{ key, option, value, code string }{
		{"Colour", "Equals", "x", "ValidationException"}, {"Label", "Equals", "x", "InvalidFilterKey"}, {"Name", "Like", "x", "InvalidFilterOption"},
		{"Type", "Equals", "Text", "InvalidFilterValue"}, {"Path", "Equals", "/", "InvalidFilterOption"},
	} {
		_, err := l.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{{Key: &tt.key, Option: &tt.option, Values: []string{tt.value}}}})
		wantError(t, tt.key+tt.option, err, tt.code, "")
	}
}

func TestDeleteParameter(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	for _, n := range []string{"/a", "/b", "/ab"} {
		l.put(t, n, "v", types.ParameterTypeString)
		l.put(t, n, "w", "")
	}
	must(l.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String("/a")}))(t)
	_, err := l.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String("/a")})
	wantError(t, "again", err, "ParameterNotFound", "")
	if v := l.put(t, "/a", "fresh", types.ParameterTypeString); v != 1 {
		t.Errorf("version %d of a parameter made again", v)
	}
	out := must(l.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: []string{"/a", "/none", "/b"}}))(t)
	if !slices.Equal(out.DeletedParameters, []string{"/a", "/b"}) || !slices.Equal(out.InvalidParameters, []string{"/none"}) {
		t.Errorf("%+v", out)
	}
	if l.get(t, "/ab:1") != "v" {
		t.Error("/ab went with /a")
	}
	n := 0
	must(0, l.s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for range state.ParameterVersions.List(tx, "") {
			n++
		}
		return nil
	}))(t)
	if n != 2 {
		t.Errorf("%d versions are left, want /ab's 2", n)
	}
}

func TestLabelsAndTags(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.put(t, "/p", "1", types.ParameterTypeString)
	l.put(t, "/p", "2", "")
	label := func(version int64, labels ...string) (*ssm.LabelParameterVersionOutput, error) {
		return l.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: aws.String("/p"), ParameterVersion: &version, Labels: labels})
	}
	must(label(1, "prod"))(t)
	if out := must(label(2, "prod", "ssm-x", "9"))(t); out.ParameterVersion != 2 || !slices.Equal(out.InvalidLabels, []string{"ssm-x", "9"}) {
		t.Errorf("%+v", out)
	}
	if l.get(t, "/p:prod") != "2" {
		t.Error("the label didn't move")
	}
	_, err := label(7, "x")
	wantError(t, "no such version", err, "ParameterVersionNotFound", "")
	_, err = label(2, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
	wantError(t, "eleven labels", err, "ParameterVersionLabelLimitExceeded", "maximum 10")
	un := must(l.UnlabelParameterVersion(ctx, &ssm.UnlabelParameterVersionInput{Name: aws.String("/p"), ParameterVersion: aws.Int64(2), Labels: []string{"prod", "none"}}))(t)
	if !slices.Equal(un.RemovedLabels, []string{"prod"}) || !slices.Equal(un.InvalidLabels, []string{"none"}) {
		t.Errorf("%+v", un)
	}
	must(l.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/p"), Tags: append(tagsOf("b", "2"), tagsOf("a", "1")...)}))(t)
	must(l.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/p"), TagKeys: []string{"b"}}))(t)
	tags := must(l.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/p")}))(t).TagList
	if len(tags) != 1 || *tags[0].Key != "a" || *tags[0].Value != "1" {
		t.Errorf("%+v", tags)
	}
	_, err = l.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/none")})
	wantError(t, "tags of nothing", err, "InvalidResourceId", "")
	_, err = l.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: "Document", ResourceId: aws.String("/p"), Tags: tagsOf("a", "b")})
	wantError(t, "a document", err, "InvalidResourceType", "")
	var many []types.Tag
	for i := range 50 {
		many = append(many, tagsOf(fmt.Sprint(i), "")...)
	}
	_, err = l.AddTagsToResource(ctx, &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: aws.String("/p"), Tags: many})
	wantError(t, "51 tags", err, "TooManyTagsError", "")
}

// No value is in the store's files, nor a SecureString in an answer to who doesn't ask for decryption.
func TestSealed(t *testing.T) {
	l := newLab(t)
	for _, typ := range types.ParameterTypeString.Values() {
		l.put(t, "/"+string(typ), "hunter2-hunter2", typ)
	}
	if strings.Contains(l.files(t), "hunter2") {
		t.Error("a value is on the disk as it is")
	}
	if strings.Contains(l.log.String(), "hunter2") {
		t.Error("a value is in the log")
	}
	for _, typ := range types.ParameterTypeString.Values() {
		got := *must(l.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/" + string(typ))}))(t).Parameter.Value
		if (got == "hunter2-hunter2") != (typ != types.ParameterTypeSecureString) {
			t.Errorf("%s without decryption is %q", typ, got)
		}
		if got := l.get(t, "/"+string(typ)); got != "hunter2-hunter2" {
			t.Errorf("%s is %q", typ, got)
		}
	}
	// A value moved to another parameter's record doesn't open.
	must(0, l.s.o.DB.Update(t.Context(), func(tx *store.WriteTx) error {
		from, err := state.ParameterVersions.Get(tx, state.ParameterVersionKey(here, "/SecureString", 1))
		if err != nil {
			return err
		}
		to, err := state.ParameterVersions.Get(tx, state.ParameterVersionKey(here, "/String", 1))
		if err != nil {
			return err
		}
		to.Val.Sealed = from.Val.Sealed
		return state.ParameterVersions.Put(tx, &to)
	}))(t)
	_, err := l.GetParameter(t.Context(), &ssm.GetParameterInput{Name: aws.String("/String")})
	wantError(t, "a moved value", err, "InvalidKeyId", "can't be opened")
}

func TestValue(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.put(t, "/app/db", "one", types.ParameterTypeSecureString)
	l.put(t, "/app/db", "two", "")
	l.put(t, "top", "three", types.ParameterTypeString)
	for from, want := range map[string]string{"/app/db": "two", "/app/db:1": "one", here.ARN("ssm", "parameter/app/db"): "two", "top": "three", here.ARN("ssm", "parameter/top"): "three"} {
		if got, err := l.s.Value(ctx, here, from); got != want || err != nil {
			t.Errorf("Value(%s) = %q, %v", from, got, err)
		}
	}
	// An ARN tells the region.
	if got, err := l.s.Value(ctx, arn.Scope{Account: here.Account, Region: "us-east-1"}, here.ARN("ssm", "parameter/top")); got != "three" || err != nil {
		t.Errorf("from another region: %q, %v", got, err)
	}
	for _, from := range []string{"/none", "/app/db:7", "/app/db:none", "a b", "", "arn:aws:ssm:us-east-1:123456789012:parameter/app/db", "arn:aws:ssm:eu-central-1:999999999999:parameter/app/db"} {
		_, err := l.s.Value(ctx, here, from)
		var e *state.InitializationError
		if !errors.As(err, &e) || !e.Permanent || e.Message != pulling+"invalid ssm parameters: "+from {
			t.Errorf("Value(%s): %v", from, err)
		}
	}
}

// Members of the inputs that nobody acts on are refused.
func TestMembers(t *testing.T) {
	l := newLab(t)
	acts := map[string]string{
		"PutParameter": "Name Value Type Description KeyId Overwrite AllowedPattern Tags Tier DataType",
		"GetParameter": "Name WithDecryption", "GetParameters": "Names WithDecryption",
		"GetParametersByPath": "Path Recursive ParameterFilters WithDecryption MaxResults NextToken",
		"GetParameterHistory": "Name WithDecryption MaxResults NextToken",
		"DescribeParameters":  "ParameterFilters MaxResults NextToken Shared", "DeleteParameter": "Name", "DeleteParameters": "Names",
		"LabelParameterVersion": "Name ParameterVersion Labels", "UnlabelParameterVersion": "Name ParameterVersion Labels",
		"AddTagsToResource": "ResourceType ResourceId Tags", "RemoveTagsFromResource": "ResourceType ResourceId TagKeys", "ListTagsForResource": "ResourceType ResourceId",
	}
	refused := map[string]bool{"PutParameter.Policies": true, "DescribeParameters.Filters": true}
	for _, op := range l.s.API().Operations() {
		m, ok := reflect.TypeOf(l.Client).MethodByName(op)
		if !ok {
			t.Fatal(op)
		}
		in := m.Type.In(2).Elem()
		for i := range in.NumField() {
			f := in.Field(i)
			if !f.IsExported() || f.Type == reflect.TypeFor[middleware.Metadata]() || slices.Contains(strings.Fields(acts[op]), f.Name) {
				continue
			}
			if !refused[op+"."+f.Name] {
				t.Errorf("%s.%s is neither acted on nor refused", op, f.Name)
			}
		}
	}
	_, err := l.DescribeParameters(t.Context(), &ssm.DescribeParametersInput{Filters: []types.ParametersFilter{{Key: "Name", Values: []string{"x"}}}})
	wantError(t, "Filters", err, "ValidationException", "filters")
}

// The AWS CLI reads names in their right case, other than the SDK for Go.
func TestCLI(t *testing.T) {
	if testing.Short() {
		t.Skip("the CLI takes a second to start")
	}
	cli := judge.Path(t, "aws")
	l := newLab(t)
	run := func(args ...string) map[string]any {
		t.Helper()
		cmd := exec.Command(cli, append([]string{"--endpoint-url", l.url, "--region", here.Region, "--output", "json", "ssm"}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=x", "AWS_EC2_METADATA_DISABLED=true"}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		b, err := cmd.Output()
		if err != nil {
			return map[string]any{"error": stderr.String()}
		}
		out := map[string]any{}
		if len(bytes.TrimSpace(b)) > 0 {
			if err := json.Unmarshal(b, &out); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	if got := run("put-parameter", "--name", "/app/db", "--value", "hunter2", "--type", "SecureString", "--tags", "Key=a,Value=b"); got["Version"] != 1.0 || got["Tier"] != "Standard" {
		t.Errorf("put-parameter: %v", got)
	}
	p, _ := run("get-parameter", "--name", "/app/db", "--with-decryption")["Parameter"].(map[string]any)
	if p["Value"] != "hunter2" || p["ARN"] != here.ARN("ssm", "parameter/app/db") || p["DataType"] != "text" {
		t.Errorf("get-parameter: %v", p)
	}
	if got := run("get-parameter", "--name", "/none"); !strings.Contains(fmt.Sprint(got["error"]), "(ParameterNotFound) when calling the GetParameter operation") {
		t.Errorf("get-parameter of none: %v", got)
	}
	if got := run("get-parameters-by-path", "--path", "/app"); len(got["Parameters"].([]any)) != 1 {
		t.Errorf("get-parameters-by-path: %v", got)
	}
}
