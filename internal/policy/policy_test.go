package policy

import (
	"fmt"
	"strings"
	"testing"
)

const ecsTasks = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

func TestParse_Malformed(t *testing.T) {
	statement := func(s string) string { return `{"Version":"2012-10-17","Statement":` + s + `}` }
	const rest = `"Effect":"Allow","Action":"s3:Get*","Resource":"*"`
	for _, tt := range []struct{ doc, want string }{
		{``, "Syntax errors in policy."},
		{`{`, "Syntax errors in policy."},
		{`[]`, "Syntax errors in policy."},
		{`null`, "Syntax errors in policy."},
		{`{"Version":"2012-10-17"}`, "Syntax errors in policy."},
		{`{"Version":"2012-10-18","Statement":[{` + rest + `}]}`, "Syntax errors in policy."},
		{`{"Version":"","Statement":[{` + rest + `}]}`, "Syntax errors in policy."},
		{`{"version":"2012-10-17","Statement":[{` + rest + `}]}`, "Syntax errors in policy."},
		{`{"Version":20121017,"Statement":[{` + rest + `}]}`, "Syntax errors in policy."},
		{`{"Version":"2012-10-17","Version":"2012-10-17","Statement":[{` + rest + `}]}`, "Syntax errors in policy."},
		{statement(`[]`), "Syntax errors in policy."},
		{statement(`[1]`), "Syntax errors in policy."},
		{statement(`[{`+rest+`}]`) + `x`, "Syntax errors in policy."},
		{statement(`[{` + rest + `,"effect":"Allow"}]`), "Syntax errors in policy."},
		{statement(`[{` + rest + `,"NotAction":"*"}]`), "Syntax errors in policy."},
		{statement(`[{"Effect":"allow","Action":"*","Resource":"*"}]`), "Syntax errors in policy."},
		{statement(`[{"Effect":"Allow","Action":[1],"Resource":"*"}]`), "Syntax errors in policy."},
		{statement(`[{` + rest + `,"Condition":{"StringIs":{"a":"b"}}}]`), "Syntax errors in policy."},
		{statement(`[{` + rest + `,"Condition":{"StringLike":"b"}}]`), "Syntax errors in policy."},
		{statement(`[{` + rest + `,"Principal":"me"}]`), "Invalid principal in policy."},
		{statement(`[{` + rest + `,"Principal":{"Who":"me"}}]`), "Invalid principal in policy."},
		{statement(`[{` + rest + `,"Principal":{"Service":"ecs-tasks"}}]`), `Invalid principal in policy: "SERVICE":"ecs-tasks"`},
		{statement(`[{` + rest + `,"Principal":{"AWS":"123"}}]`), `Invalid principal in policy: "AWS":"123"`},
		{strings.Repeat(`[`, 100000), "Syntax errors in policy."},
	} {
		if _, err := Parse(tt.doc); fmt.Sprint(err) != tt.want {
			t.Errorf("Parse(%.120s) = %v, want %s", tt.doc, err, tt.want)
		}
	}
}

func TestCheckPermissions(t *testing.T) {
	for _, tt := range []struct{ doc, want string }{
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:*","*"],"Resource":["arn:aws:s3:::a/*","*"]}}`, "<nil>"},
		{`{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Deny","NotAction":"iam:*","NotResource":"arn:aws:iam::123456789012:role/x","Condition":{"Bool":{"aws:SecureTransport":true}}}]}`, "<nil>"},
		{`{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`, "Policy document must be version 2012-10-17 or greater."},
		{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*"}]}`, "Policy statement must contain actions."},
		{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*"}]}`, "Policy statement must contain resources."},
		{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"GetObject","Resource":"*"}]}`, "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."},
		{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:a:b","Resource":"*"}]}`, "Actions/Condition can contain only one colon."},
		{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s 3:a","Resource":"*"}]}`, "Vendor s 3 is not valid"},
		{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:a","Resource":"bucket"}]}`, `Resource bucket must be in ARN format or "*".`},
		{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:a","Resource":"arn:aws:s3::b"}]}`, "The policy failed legacy parsing"},
		{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:a","Resource":"*","Principal":"*"}]}`, "Policy document should not specify a principal."},
		{`{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"}]}`, "Statement IDs (SID) in a single policy must be unique."},
		{`{"Version":"2012-10-17","Statement":[{"Sid":"a b","Effect":"Allow","Action":"*","Resource":"*"}]}`, "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"},
	} {
		d, err := Parse(tt.doc)
		if err != nil {
			t.Errorf("Parse(%s) = %v", tt.doc, err)
			continue
		}
		if got := fmt.Sprint(d.CheckPermissions()); got != tt.want {
			t.Errorf("CheckPermissions(%s) = %s, want %s", tt.doc, got, tt.want)
		}
	}
}

func TestCheckTrust(t *testing.T) {
	for _, tt := range []struct{ doc, want string }{
		{ecsTasks, "<nil>"},
		{strings.Replace(ecsTasks, "2012", "2008", 1), "<nil>"},
		{strings.Replace(ecsTasks, `"Version":"2012-10-17",`, "", 1), "<nil>"},
		{strings.Replace(ecsTasks, "2008", "2012", 1), "<nil>"},
		{strings.Replace(ecsTasks, `"sts:AssumeRole"`, `["sts:AssumeRole","sts:TagSession"]`, 1), "<nil>"},
		{strings.Replace(ecsTasks, `"Service":"ecs-tasks.amazonaws.com"`, `"AWS":"arn:aws:iam::123456789012:role/a/b","Federated":"cognito-identity.amazonaws.com"`, 1), "<nil>"},
		{strings.Replace(ecsTasks, `sts:AssumeRole`, `ecs:RunTask`, 1), "AssumeRole policy may only specify STS AssumeRole actions."},
		{strings.Replace(ecsTasks, `"Action":`, `"NotAction":`, 1), "AssumeRole policy may only specify STS AssumeRole actions."},
		{strings.Replace(ecsTasks, `,"Action"`, `,"Resource":"*","Action"`, 1), "Has prohibited field Resource"},
		{strings.Replace(ecsTasks, `"Principal":{"Service":"ecs-tasks.amazonaws.com"},`, ``, 1), "Missing required field Principal"},
		{strings.Replace(ecsTasks, `"Principal"`, `"NotPrincipal"`, 1), "Allow with NotPrincipal is not allowed."},
	} {
		d, err := Parse(tt.doc)
		if err != nil {
			t.Errorf("Parse(%s) = %v", tt.doc, err)
			continue
		}
		if got := fmt.Sprint(d.CheckTrust()); got != tt.want {
			t.Errorf("CheckTrust(%s) = %s, want %s", tt.doc, got, tt.want)
		}
	}
}

func TestTrusts(t *testing.T) {
	request := Request{"aws:SourceAccount": "123456789012", "aws:SourceArn": "arn:aws:ecs:*:123456789012:*"}
	allow := func(more string) string {
		return `{"Statement":[{"Effect":"Allow","Principal":{"Service":["ec2.amazonaws.com","ecs-tasks.amazonaws.com"]},"Action":"sts:AssumeRole"` + more + `}]}`
	}
	deny := func(more string) string {
		return strings.TrimSuffix(allow(""), `]}`) + `,{"Effect":"Deny","Action":"sts:AssumeRole",` + more + `}]}`
	}
	condition := func(c string) string { return allow(`,"Condition":{` + c + `}`) }
	for _, tt := range []struct {
		doc  string
		want bool
	}{
		{ecsTasks, true},
		{allow(""), true},
		{strings.Replace(ecsTasks, "ecs-tasks", "ecs", 1), false},
		{strings.Replace(ecsTasks, "sts:AssumeRole", "sts:TagSession", 1), false},
		{strings.Replace(ecsTasks, "sts:AssumeRole", "STS:assumerole", 1), true},
		{strings.Replace(ecsTasks, `{"Service":"ecs-tasks.amazonaws.com"}`, `"*"`, 1), true},
		{strings.Replace(ecsTasks, `"Service":"ecs-tasks.amazonaws.com"`, `"AWS":"*"`, 1), true},
		{strings.Replace(ecsTasks, `"Service":"ecs-tasks.amazonaws.com"`, `"AWS":"123456789012"`, 1), false},
		{strings.Replace(ecsTasks, `Allow`, `Deny`, 1), false},
		{deny(`"Principal":"*"`), false},
		{deny(`"Principal":{"Service":"ec2.amazonaws.com"}`), true},
		{deny(`"NotPrincipal":{"Service":"ec2.amazonaws.com"}`), false},
		{deny(`"NotPrincipal":{"Service":"ecs-tasks.amazonaws.com"}`), true},
		{deny(`"Principal":"*","Condition":{"StringNotEquals":{"aws:SourceAccount":"123456789012"}}`), true},
		{condition(`"StringEquals":{"aws:sourceaccount":"123456789012"}`), true},
		{condition(`"StringEquals":{"aws:SourceAccount":["1","2"]}`), false},
		{condition(`"StringEquals":{"aws:SourceAccount":["1","123456789012"]}`), true},
		{condition(`"ArnLike":{"aws:SourceArn":"arn:aws:ecs:us-east-1:123456789012:*"}`), true},
		{condition(`"ArnLike":{"aws:SourceArn":"arn:aws:ecs:us-east-1:999999999999:*"}`), false},
		{condition(`"StringLike":{"aws:SourceArn":"arn:aws:ecs:us-east-1:123456789012:*"}`), true},
		{condition(`"StringLike":{"aws:SourceAccount":"1234*"},"ArnLike":{"aws:SourceArn":"arn:aws:s3:*:*:*"}`), false},
		{condition(`"StringEquals":{"sts:ExternalId":"x"}`), false},
		{condition(`"StringEqualsIfExists":{"sts:ExternalId":"x"}`), true},
		{condition(`"StringNotEquals":{"sts:ExternalId":"x"}`), true},
		{condition(`"Null":{"sts:ExternalId":"true"}`), true},
		{condition(`"Null":{"aws:SourceAccount":"true"}`), false},
		{condition(`"ForAnyValue:StringNotLike":{"aws:TagKeys":"x"}`), false},
		{condition(`"ForAllValues:StringLike":{"aws:TagKeys":"x"}`), true},
		{condition(`"Bool":{"aws:MultiFactorAuthPresent":"true"}`), false},
	} {
		d, err := Parse(tt.doc)
		if err != nil {
			t.Errorf("Parse(%s) = %v", tt.doc, err)
			continue
		}
		if got := d.TrustsIn("ecs-tasks.amazonaws.com", request); got != tt.want {
			t.Errorf("TrustsIn(%s) = %t, want %t", tt.doc, got, tt.want)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"*", "", true}, {"?", "", false}, {"a*c", "abc", true}, {"a*c", "abcd", false},
		{"*ab*ab", "abxababab", true}, {"a?c", "abc", true}, {"**", "x", true}, {"a", "ab", false},
	} {
		if got := glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("glob(%q, %q) = %t, want %t", tt.pattern, tt.s, got, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ecsTasks)
	f.Add(`{"Statement":{"Effect":"Deny","NotPrincipal":"*","Action":[],"Condition":{"ForAnyValue:ArnLikeIfExists":{"a":["b",1,true]}}}}`)
	f.Fuzz(func(t *testing.T, doc string) {
		d, err := Parse(doc)
		if err != nil {
			return
		}
		d.CheckPermissions()
		if d.CheckTrust() == nil && !strings.Contains(doc, "Service") && !strings.Contains(doc, "*") && !strings.Contains(doc, `\u`) && d.Trusts("a.amazonaws.com") {
			t.Error("trusts a service that it doesn't name")
		}
	})
}
