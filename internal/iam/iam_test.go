package iam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/seal"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	trustECS  = `{"Version":"2012-10-17", "Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	readAll   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}]}`
	execution = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
)

func TestRole_FromCreateToDelete(t *testing.T) {
	s, ctx := newService(t)
	made := must(s.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("ecsTaskExecutionRole"), Path: aws.String("/app/"),
		AssumeRolePolicyDocument: aws.String(trustECS), Description: aws.String("pulls"), Tags: []types.Tag{tag("b", "2"), tag("A", "")}})).Role
	if !strings.HasPrefix(*made.RoleId, "AROA") || len(*made.RoleId) != 21 {
		t.Errorf("RoleId = %q, want AROA and 17 characters", *made.RoleId)
	}
	got := must(s.GetRole(ctx, &iam.GetRoleInput{RoleName: made.RoleName})).Role
	want := &types.Role{Arn: aws.String("arn:aws:iam::000000000000:role/app/ecsTaskExecutionRole"), RoleName: aws.String("ecsTaskExecutionRole"),
		RoleId: made.RoleId, Path: aws.String("/app/"), CreateDate: made.CreateDate, Description: aws.String("pulls"), MaxSessionDuration: aws.Int32(3600),
		AssumeRolePolicyDocument: got.AssumeRolePolicyDocument, Tags: []types.Tag{tag("A", ""), tag("b", "2")}, RoleLastUsed: &types.RoleLastUsed{}}
	if diff := cmp.Diff(want, got, ignore); diff != "" {
		t.Errorf("GetRole: -want +got\n%s", diff)
	}
	if doc, _ := url.PathUnescape(*got.AssumeRolePolicyDocument); doc != trustECS || strings.ContainsAny(*got.AssumeRolePolicyDocument, `+ {":/`) {
		t.Errorf("AssumeRolePolicyDocument = %s, want it URL-encoded", *got.AssumeRolePolicyDocument)
	}

	for range 2 { // attaching twice is no error
		must(s.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: made.RoleName, PolicyArn: aws.String(execution)}))
	}
	must(s.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: made.RoleName, PolicyName: aws.String("read"), PolicyDocument: aws.String(readAll)}))
	attached := must(s.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: made.RoleName})).AttachedPolicies
	if diff := cmp.Diff([]types.AttachedPolicy{{PolicyArn: aws.String(execution), PolicyName: aws.String("AmazonECSTaskExecutionRolePolicy")}}, attached, ignore); diff != "" {
		t.Errorf("ListAttachedRolePolicies: -want +got\n%s", diff)
	}
	if n := len(must(s.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: made.RoleName, PathPrefix: aws.String("/other/")})).AttachedPolicies); n != 0 {
		t.Errorf("%d policies under /other/, want 0", n)
	}
	if p := must(s.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: aws.String(execution)})).Policy; *p.AttachmentCount != 1 || *p.DefaultVersionId != "v1" || *p.Path != "/service-role/" {
		t.Errorf("GetPolicy = %+v", p)
	}
	inline := must(s.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: made.RoleName, PolicyName: aws.String("read")}))
	if doc, _ := url.PathUnescape(*inline.PolicyDocument); doc != readAll {
		t.Errorf("GetRolePolicy = %s", doc)
	}
	if diff := cmp.Diff([]string{"read"}, must(s.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: made.RoleName})).PolicyNames); diff != "" {
		t.Errorf("ListRolePolicies: -want +got\n%s", diff)
	}

	del := func() error { _, err := s.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: made.RoleName}); return err }
	wantError(t, del(), "DeleteConflict 409 Cannot delete entity, must detach all policies first.")
	must(s.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: made.RoleName, PolicyArn: aws.String(execution)}))
	wantError(t, del(), "DeleteConflict 409 Cannot delete entity, must delete policies first.")
	must(s.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: made.RoleName, PolicyName: aws.String("read")}))
	must(s.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: made.RoleName}))
	if err := del(); err != nil {
		t.Fatal(err)
	}
	wantError(t, del(), "NoSuchEntity 404 The role with name ecsTaskExecutionRole cannot be found.")
}

func TestRole_IsGlobalAndOfOneAccount(t *testing.T) {
	s, ctx := newService(t)
	createRole(t, s, ctx, "Web")
	elsewhere := awsauth.WithCaller(ctx, awsauth.Caller{Account: "000000000000", Region: "eu-west-1"})
	must(s.GetRole(elsewhere, &iam.GetRoleInput{RoleName: aws.String("Web")}))
	others := awsauth.WithCaller(ctx, awsauth.Caller{Account: "111111111111", Region: "us-east-1"})
	_, err := s.GetRole(others, &iam.GetRoleInput{RoleName: aws.String("Web")})
	wantError(t, err, "NoSuchEntity 404 The role with name Web cannot be found.")
	if n := len(must(s.ListRoles(others, &iam.ListRolesInput{})).Roles); n != 0 {
		t.Errorf("another account sees %d roles", n)
	}
}

func TestRole_Refusals(t *testing.T) {
	s, ctx := newService(t)
	createRole(t, s, ctx, "Web")
	must(s.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("ecs.amazonaws.com")}))
	create := func(change func(*iam.CreateRoleInput)) func() error {
		in := &iam.CreateRoleInput{RoleName: aws.String("New"), AssumeRolePolicyDocument: aws.String(trustECS)}
		change(in)
		return func() error { _, err := s.CreateRole(ctx, in); return err }
	}
	web, linked := aws.String("Web"), aws.String("AWSServiceRoleForECS")
	attach := func(role *string, resource string) error {
		_, err := s.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: aws.String(resource)})
		return err
	}
	long := strings.Repeat("x", 65)
	tests := []struct {
		name string
		call func() error
		want string
	}{
		{"same name", create(func(in *iam.CreateRoleInput) { in.RoleName = aws.String("wEB") }), "EntityAlreadyExists 409 Role with name wEB already exists."},
		{"name", create(func(in *iam.CreateRoleInput) { in.RoleName = aws.String("a b") }),
			`ValidationError 400 1 validation error detected: Value 'a b' at 'roleName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]+`},
		{"name and session", create(func(in *iam.CreateRoleInput) { in.RoleName, in.MaxSessionDuration = &long, aws.Int32(60) }),
			`ValidationError 400 2 validation errors detected: Value '` + long + `' at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64; Value '60' at 'maxSessionDuration' failed to satisfy constraint: Member must have value greater than or equal to 3600`},
		{"no document", create(func(in *iam.CreateRoleInput) { in.AssumeRolePolicyDocument = nil }),
			"ValidationError 400 1 validation error detected: Value null at 'assumeRolePolicyDocument' failed to satisfy constraint: Member must not be null"},
		{"path", create(func(in *iam.CreateRoleInput) { in.Path = aws.String("app") }),
			`ValidationError 400 1 validation error detected: Value 'app' at 'path' failed to satisfy constraint: Member must satisfy regular expression pattern: (\u002F)|(\u002F[\u0021-\u007E]+\u002F)`},
		{"reserved path", create(func(in *iam.CreateRoleInput) { in.Path = aws.String("/aws-service-role/x/") }), "InvalidInput 400 The path /aws-service-role/ is reserved"},
		{"boundary", create(func(in *iam.CreateRoleInput) { in.PermissionsBoundary = aws.String(execution) }), "ValidationError 400 Lotse does not act on permissionsBoundary yet"},
		{"no JSON", create(func(in *iam.CreateRoleInput) { in.AssumeRolePolicyDocument = aws.String("{") }), "MalformedPolicyDocument 400 Syntax errors in policy."},
		{"no trust", create(func(in *iam.CreateRoleInput) { in.AssumeRolePolicyDocument = aws.String(readAll) }), "MalformedPolicyDocument 400 Has prohibited field Resource"},
		{"long trust", create(func(in *iam.CreateRoleInput) {
			in.AssumeRolePolicyDocument = aws.String(strings.Replace(trustECS, `"Effect"`, `"Sid":"`+strings.Repeat("x", 2048)+`","Effect"`, 1))
		}),
			"LimitExceeded 409 Cannot exceed quota for ACLSizePerRole: 2048"},
		{"tag twice", create(func(in *iam.CreateRoleInput) { in.Tags = []types.Tag{tag("a", "1"), tag("A", "2")} }), "InvalidInput 400 Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{"reserved tag", create(func(in *iam.CreateRoleInput) { in.Tags = []types.Tag{tag("aws:x", "1")} }), "InvalidInput 400 The tag key aws:x is invalid"},
		{"tag text", create(func(in *iam.CreateRoleInput) { in.Tags = []types.Tag{tag("a", "<")} }),
			"ValidationError 400 1 validation error detected: Value '<' at 'tags.1.member.value' failed to satisfy constraint: Member must satisfy regular expression pattern:"},
		{"unknown managed policy", func() error { return attach(web, "arn:aws:iam::aws:policy/Nope") }, "NoSuchEntity 404 Policy arn:aws:iam::aws:policy/Nope does not exist or is not attachable."},
		{"own managed policy", func() error { return attach(web, "arn:aws:iam::000000000000:policy/Mine") }, "NoSuchEntity 404 Policy arn:aws:iam::000000000000:policy/Mine does not exist or is not attachable."},
		{"a service's policy", func() error {
			return attach(web, "arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy")
		}, "PolicyNotAttachable 400 Cannot attach a Service Role Policy to a customer role."},
		{"no policy", func() error { return attach(web, "arn:aws:s3:::a-bucket-name") }, "InvalidInput 400 ARN arn:aws:s3:::a-bucket-name is not valid."},
		{"nobody's role", func() error { return attach(aws.String("No"), execution) }, "NoSuchEntity 404 The role with name No cannot be found."},
		{"not attached", func() error {
			_, err := s.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: web, PolicyArn: aws.String(execution)})
			return err
		}, "NoSuchEntity 404 Policy " + execution + " was not found."},
		{"no such inline policy", func() error {
			_, err := s.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: web, PolicyName: aws.String("p")})
			return err
		}, "NoSuchEntity 404 The role policy with name p cannot be found."},
		{"inline policy malformed", func() error {
			_, err := s.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: web, PolicyName: aws.String("p"), PolicyDocument: aws.String(trustECS)})
			return err
		}, "MalformedPolicyDocument 400 Policy document should not specify a principal."},
		{"inline policies too long", func() error {
			doc := strings.Replace(readAll, "s3:Get*", "s3:"+strings.Repeat("x", inlineSize), 1)
			_, err := s.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: web, PolicyName: aws.String("p"), PolicyDocument: aws.String(doc)})
			return err
		}, "LimitExceeded 409 Maximum policy size of 10240 bytes exceeded for role Web"},
		{"deleting a service's role", func() error { _, err := s.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: linked}); return err },
			"UnmodifiableEntity 400 Cannot perform the operation on the protected role 'AWSServiceRoleForECS'"},
		{"changing a service's role", func() error { return attach(linked, execution) }, "UnmodifiableEntity 400 "},
		{"a service's role twice", func() error {
			_, err := s.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("ecs.amazonaws.com")})
			return err
		}, "InvalidInput 400 Service role name AWSServiceRoleForECS has been taken in this account, please try a different suffix."},
		{"marker", func() error { _, err := s.ListRoles(ctx, &iam.ListRolesInput{Marker: aws.String("?")}); return err }, "ValidationError 400 Invalid Marker."},
		{"page of none", func() error { _, err := s.ListRoles(ctx, &iam.ListRolesInput{MaxItems: aws.Int32(0)}); return err },
			"ValidationError 400 1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"policy version", func() error {
			_, err := s.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: aws.String(execution), VersionId: aws.String("v9")})
			return err
		}, "NoSuchEntity 404 Policy " + execution + " version v9 does not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, tt.call(), tt.want) })
	}
}

func TestRole_TenPolicies(t *testing.T) {
	s, ctx := newService(t)
	createRole(t, s, ctx, "Web")
	n := 0
	for resource, p := range managed {
		if p.Path == linkedPath {
			continue
		}
		_, err := s.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("Web"), PolicyArn: &resource})
		if n++; n <= policiesPerRole && err != nil {
			t.Fatal(err)
		}
		if n > policiesPerRole {
			wantError(t, err, "LimitExceeded 409 Cannot exceed quota for PoliciesPerRole: 10")
			break
		}
	}
	var got []string
	in := &iam.ListAttachedRolePoliciesInput{RoleName: aws.String("Web"), MaxItems: aws.Int32(4)}
	for pages := iam.NewListAttachedRolePoliciesPaginator(lister{s}, in); pages.HasMorePages(); {
		for _, p := range must(pages.NextPage(ctx)).AttachedPolicies {
			got = append(got, *p.PolicyArn)
		}
	}
	if len(got) != policiesPerRole {
		t.Errorf("pages hold %d policies: %v", len(got), got)
	}
}

// lister lets the SDK's own paginator read our pages.
type lister struct{ s *Service }

func (l lister) ListAttachedRolePolicies(ctx context.Context, in *iam.ListAttachedRolePoliciesInput, _ ...func(*iam.Options)) (*iam.ListAttachedRolePoliciesOutput, error) {
	return l.s.ListAttachedRolePolicies(ctx, in)
}

func TestListRoles_PagesAndPaths(t *testing.T) {
	s, ctx := newService(t)
	for i := range 7 {
		path := []string{"/", "/a/", "/a/b/"}[i%3]
		must(s.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String(fmt.Sprint("R", i)), Path: &path, AssumeRolePolicyDocument: aws.String(trustECS), Tags: []types.Tag{tag("a", "b")}}))
	}
	list := func(prefix string) (names []string) {
		in := &iam.ListRolesInput{MaxItems: aws.Int32(2)}
		if prefix != "" {
			in.PathPrefix = &prefix
		}
		for {
			out := must(s.ListRoles(ctx, in))
			for _, r := range out.Roles {
				names = append(names, *r.RoleName)
				if r.Tags != nil {
					t.Errorf("ListRoles gives the tags of %s; AWS doesn't", *r.RoleName)
				}
			}
			if in.Marker = out.Marker; !out.IsTruncated {
				return names
			}
		}
	}
	for prefix, want := range map[string][]string{"": {"R0", "R1", "R2", "R3", "R4", "R5", "R6"}, "/a/": {"R1", "R2", "R4", "R5"}, "/x": nil} {
		if diff := cmp.Diff(want, list(prefix)); diff != "" {
			t.Errorf("ListRoles under %q: -want +got\n%s", prefix, diff)
		}
	}
}

func TestRole_Changes(t *testing.T) {
	s, ctx := newService(t)
	name := createRole(t, s, ctx, "Web")
	other := strings.Replace(trustECS, "ecs-tasks", "ec2", 1)
	must(s.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: &other}))
	must(s.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: name, MaxSessionDuration: aws.Int32(7200), Description: aws.String("one")}))
	must(s.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: name}))
	must(s.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: []types.Tag{tag("Team", "a"), tag("x", "1")}}))
	must(s.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: []types.Tag{tag("team", "b")}}))
	must(s.UntagRole(ctx, &iam.UntagRoleInput{RoleName: name, TagKeys: []string{"X", "none"}}))
	got := must(s.GetRole(ctx, &iam.GetRoleInput{RoleName: name})).Role
	if *got.Description != "one" || *got.MaxSessionDuration != 7200 || *got.AssumeRolePolicyDocument != encode(other) {
		t.Errorf("GetRole = %s, %d, %s", *got.Description, *got.MaxSessionDuration, *got.AssumeRolePolicyDocument)
	}
	if v := must(s.UpdateRoleDescription(ctx, &iam.UpdateRoleDescriptionInput{RoleName: name, Description: aws.String("two")})).Role; *v.Description != "two" {
		t.Errorf("UpdateRoleDescription = %s", *v.Description)
	}
	tags := must(s.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: name})).Tags
	if diff := cmp.Diff([]types.Tag{tag("team", "b")}, tags, ignore); diff != "" {
		t.Errorf("ListRoleTags: -want +got\n%s", diff)
	}
}

// All documents that AWS itself publishes must be permissions to us too.
func TestManaged_DocumentsAreValid(t *testing.T) {
	s, ctx := newService(t)
	for resource, p := range managed {
		d, err := policy.Parse(string(p.Document))
		if err == nil {
			err = d.CheckPermissions()
		}
		if err != nil {
			t.Errorf("%s: %v", resource, err)
		}
		v := must(s.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: &resource, VersionId: &p.Version})).PolicyVersion
		if doc, err := url.PathUnescape(*v.Document); err != nil || !strings.Contains(doc, `"2012-10-17"`) {
			t.Errorf("%s: document %s, %v", resource, doc, err)
		}
	}
	for service, l := range linked {
		if _, err := s.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String(service)}); err != nil {
			t.Error(err)
		}
		if a := must(s.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String(l.role)})).AttachedPolicies; len(a) != 1 || managed[*a[0].PolicyArn].Name != l.policy {
			t.Errorf("%s has the policies %v", l.role, a)
		}
	}
}

func TestGetCallerIdentity(t *testing.T) {
	s, ctx := newService(t)
	got := must(s.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}))
	if *got.Account != "000000000000" || *got.UserId != "000000000000" || *got.Arn != "arn:aws:iam::000000000000:root" {
		t.Errorf("GetCallerIdentity = %s %s %s", *got.Account, *got.UserId, *got.Arn)
	}
}

// Helpers

var ignore = cmpopts.IgnoreUnexported(types.Role{}, types.Tag{}, types.RoleLastUsed{}, types.AttachedPolicy{})

func newService(t *testing.T) (*Service, context.Context) {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "lotse.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c := awsauth.Caller{Account: "000000000000", Region: "us-east-1", ARN: "arn:aws:iam::000000000000:root", UserID: "000000000000", Root: true}
	key, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{DB: db, Key: key, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}), awsauth.WithCaller(context.Background(), c)
}

func createRole(t *testing.T, s *Service, ctx context.Context, name string) *string {
	t.Helper()
	if _, err := s.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trustECS)}); err != nil {
		t.Fatal(err)
	}
	return &name
}

func tag(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// wantError compares "Code status text", the text up to want's end.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	var e *awswire.Error
	if !errors.As(err, &e) {
		t.Errorf("error = %v, want %s", err, want)
		return
	}
	if got := fmt.Sprint(e.Code, " ", e.Status, " ", e.Message); !strings.HasPrefix(got, want) {
		t.Errorf("error = %s\nwant    %s", got, want)
	}
}
