package policy

import "testing"

func TestDecide(t *testing.T) {
	const service = "arn:aws:ecs:us-east-1:000000000000:service/shop/web"
	st := func(s string) string { return `{"Version":"2012-10-17","Statement":[` + s + `]}` }
	for name, tc := range map[string]struct {
		docs []string
		want Decision
	}{
		"no policy":                    {nil, Silent},
		"the action on all":            {[]string{st(`{"Effect":"Allow","Action":"ecs:UpdateService","Resource":"*"}`)}, Allow},
		"actions have no case":         {[]string{st(`{"Effect":"Allow","Action":"ECS:updateservice","Resource":"*"}`)}, Allow},
		"a pattern of actions":         {[]string{st(`{"Effect":"Allow","Action":"ecs:Update*","Resource":"*"}`)}, Allow},
		"another action":               {[]string{st(`{"Effect":"Allow","Action":"ecs:DeleteService","Resource":"*"}`)}, Silent},
		"another service's":            {[]string{st(`{"Effect":"Allow","Action":"ecr:*","Resource":"*"}`)}, Silent},
		"all but one action":           {[]string{st(`{"Effect":"Allow","NotAction":"ecs:UpdateService","Resource":"*"}`)}, Silent},
		"the resource":                 {[]string{st(`{"Effect":"Allow","Action":"ecs:*","Resource":"` + service + `"}`)}, Allow},
		"a pattern of resources":       {[]string{st(`{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:*:*:service/shop/*"}`)}, Allow},
		"another cluster":              {[]string{st(`{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:*:*:service/other/*"}`)}, Silent},
		"all but the resource":         {[]string{st(`{"Effect":"Allow","Action":"ecs:*","NotResource":"` + service + `"}`)}, Silent},
		"a variable":                   {[]string{st(`{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:*:${aws:PrincipalAccount}:service/*"}`)}, Allow},
		"a variable without a value":   {[]string{st(`{"Effect":"Allow","Action":"ecs:*","Resource":"*${aws:username}"}`)}, Silent},
		"a condition that holds":       {[]string{st(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:us-east-1:000000000000:cluster/shop"}}}`)}, Allow},
		"a condition that doesn't":     {[]string{st(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:us-east-1:000000000000:cluster/x"}}}`)}, Silent},
		"a condition on what's absent": {[]string{st(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:SourceIp":"1.2.3.4"}}}`)}, Silent},
		"a deny after an allow": {[]string{st(`{"Effect":"Allow","Action":"*","Resource":"*"}`),
			st(`{"Effect":"Deny","Action":"ecs:UpdateService","Resource":"*"}`)}, Deny},
		"a deny before an allow": {[]string{st(`{"Effect":"Deny","Action":"ecs:UpdateService","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}`)}, Deny},
		"a deny of another":      {[]string{st(`{"Effect":"Deny","Action":"ecs:DeleteService","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}`)}, Allow},
	} {
		t.Run(name, func(t *testing.T) {
			var docs []Document
			for _, text := range tc.docs {
				d, err := Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				docs = append(docs, d)
			}
			r := Request{"aws:PrincipalAccount": "000000000000", "ecs:cluster": "arn:aws:ecs:us-east-1:000000000000:cluster/shop"}
			if got := Decide(docs, "ecs:UpdateService", service, r); got != tc.want {
				t.Errorf("Decide = %d, want %d", got, tc.want)
			}
		})
	}
}

func TestPrincipal(t *testing.T) {
	const me = "arn:aws:sts::000000000000:assumed-role/web/t"
	names := []string{me, "arn:aws:iam::000000000000:role/web"}
	for text, want := range map[string]Decision{
		`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:role/web"},"Action":"sts:AssumeRole"}`:                                                                     Allow,
		`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:role/other"},"Action":"sts:AssumeRole"}`:                                                                   Silent,
		`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}`:                                                                                                      Allow,
		`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:TagSession"}`:                                                                                                      Silent,
		`{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}`:                                                                            Silent,
		`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"x"}}}`:                                                  Silent,
		`{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"},{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::000000000000:role/web"},"Action":"sts:AssumeRole"}`: Deny,
	} {
		d, err := Parse(`{"Version":"2012-10-17","Statement":[` + text + `]}`)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Principal(names, nil); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}
