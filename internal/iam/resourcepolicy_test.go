package iam

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// A repository's policy gives what a role's doesn't, takes what it does, and widens no narrowed session.
func TestPermit_RepositoryPolicy(t *testing.T) {
	s, ctx := newService(t)
	must(s.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("ci"), AssumeRolePolicyDocument: aws.String(trustECS)}))
	must(s.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("ci"), PolicyName: aws.String("p"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecr:PutImage","Resource":"*"}}`)}))
	home := arn.Scope{Account: "000000000000", Region: "us-east-1"}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o := store.Object[state.Repository]{Key: home.Key("app"), Val: state.Repository{Scope: home, Name: "app", Policy: `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:role/ci"},"Action":"ecr:BatchGetImage"},
			{"Effect":"Deny","Principal":"*","Action":"ecr:PutImage"}]}`}}
		return state.Repositories.Put(tx, &o)
	})
	if err != nil {
		t.Fatal(err)
	}
	c := awsauth.Caller{Account: home.Account, Region: home.Region, Role: "ci", ARN: "arn:aws:sts::000000000000:assumed-role/ci/s"}
	narrowed := c
	narrowed.SessionPolicy = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecr:PutImage","Resource":"*"}}`
	for _, test := range []struct {
		name, action, repository string
		who                      awsauth.Caller
		want                     string // of the refusal; "" for none
	}{
		{"Given", "ecr:BatchGetImage", "app", c, ""},
		{"Taken", "ecr:PutImage", "app", c, "with an explicit deny in a resource-based policy"},
		{"SpeaksOfOneRepository", "ecr:PutImage", "other", c, ""},
		{"NotGiven", "ecr:ListImages", "app", c, "because no identity-based policy allows the ecr:ListImages action"},
		{"Narrowed", "ecr:BatchGetImage", "app", narrowed, "because no"},
		{"Root", "ecr:PutImage", "app", awsauth.Caller{Account: home.Account, Root: true}, ""},
	} {
		err := s.Permit(ctx, test.who, test.action, "arn:aws:ecr:us-east-1:000000000000:repository/"+test.repository)
		var denied *awswire.Error
		if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &denied) || !strings.Contains(denied.Message, test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}
