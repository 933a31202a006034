package lifecycle

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// one is a policy of one rule, with some text replaced.
func one(replace ...string) string {
	return strings.NewReplacer(replace...).Replace(
		`{"rules":[{"rulePriority":1,"description":"d","selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":3},"action":{"type":"expire"}}]}`)
}

// many is a policy of several rules, each of them priority and selection.
func many(rules ...string) string {
	var out []string
	for _, r := range rules {
		priority, selection, _ := strings.Cut(r, " ")
		out = append(out, `{"rulePriority":`+priority+`,"selection":{`+selection+`,"countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}`)
	}
	return `{"rules":[` + strings.Join(out, ",") + `]}`
}

func TestParse(t *testing.T) {
	got, err := Parse(`{"rules":[
		{"rulePriority":30,"selection":{"tagStatus":"any","countType":"sinceImagePushed","countUnit":"days","countNumber":14,"storageClass":"standard"},"action":{"type":"expire"}},
		{"rulePriority":2,"description":"releases","selection":{"tagStatus":"tagged","tagPrefixList":["v","r"],"countType":"imageCountMoreThan","countNumber":5},"action":{"type":"expire"}},
		{"rulePriority":7,"selection":{"tagStatus":"tagged","tagPatternList":["*test*1*2*3"],"countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := Policy{[]Rule{
		{Priority: 2, Description: "releases", TagStatus: Tagged, Prefixes: []string{"v", "r"}, CountType: CountMoreThan, CountNumber: 5},
		{Priority: 7, TagStatus: Tagged, Patterns: []string{"*test*1*2*3"}, CountType: CountMoreThan, CountNumber: 1},
		{Priority: 30, TagStatus: Any, CountType: SincePushed, CountNumber: 14},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParse_Refusals(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`{`, "Could not map policyString into LifecyclePolicy."},
		{`[]`, "Could not map policyString into LifecyclePolicy."},
		{one() + "x", "Could not map policyString into LifecyclePolicy."},
		{`{}`, `object has missing required properties (["rules"])`},
		{`{"rules":{}}`, `instance type (object) does not match any allowed primitive type (allowed: ["array"])`},
		{`{"rules":[]}`, "array is too short"},
		{`{"rules":[` + strings.Repeat("1,", 50) + `1]}`, "array is too long: must have at most 50 elements but instance has 51 elements"},
		{`{"rules":["x"]}`, `instance type (string) does not match any allowed primitive type (allowed: ["object"])`},
		{`{"rules":[{}]}`, `object has missing required properties (["action","rulePriority","selection"])`},
		{`{"rules":[],"Version":"1"}`, `object instance has properties which are not allowed by the schema: (["Version"])`},
		{one(`"description"`, `"name"`), `not allowed by the schema: (["name"])`},
		{one(`"description":"d"`, `"description":null`), `instance type (null) does not match any allowed primitive type (allowed: ["string"])`},
		{one(`:1,`, `:0,`), "numeric instance is lower than the required minimum (minimum: 1, found: 0)"},
		{one(`:1,`, `:1.5,`), `instance type (number) does not match any allowed primitive type (allowed: ["integer"])`},
		{one(`:1,`, `:"1",`), `instance type (string) does not match any allowed primitive type (allowed: ["integer"])`},
		{one(`:1,`, `:99999999999,`), "greater than the required maximum"},
		{one(`:3}`, `:0}`), "(minimum: 1, found: 0)"},
		{one(`"expire"`, `"delete"`), `instance value ("delete") not found in enum (possible values: ["expire","transition"])`},
		{one(`"type":"expire"`, `"type":"expire","targetStorageClass":"archive"`), `(["targetStorageClass"])`},
		{one(`{"type":"expire"}`, `{}`), `object has missing required properties (["type"])`},
		{one(`untagged`, `none`), `instance value ("none") not found in enum (possible values: ["any","tagged","untagged"])`},
		{one(`imageCountMoreThan`, `sinceYesterday`), `instance value ("sinceYesterday") not found in enum`},
		{one(`imageCountMoreThan`, `sinceImagePushed`), "instance failed to match exactly one schema (matched 0 out of 2)"},
		{one(`:3}`, `:3,"countUnit":"days"}`), "instance failed to match exactly one schema (matched 0 out of 2)"},
		{one(`imageCountMoreThan`, `sinceImagePushed`, `:3}`, `:3,"countUnit":"hours"}`), `instance value ("hours") not found in enum (possible values: ["days"])`},
		{one(`imageCountMoreThan`, `sinceImagePulled`, `:3}`, `:3,"countUnit":"days"}`), "sinceImagePulled can only be used with the action type transition"},
		{one(`:3}`, `:3,"storageClass":"cold"}`), `instance value ("cold") not found in enum (possible values: ["archive","standard"])`},
		{one(`untagged`, `tagged`), "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED."},
		{one(`"untagged"`, `"untagged","tagPrefixList":["v"]`), "Cannot specify tagPrefixList with tagStatus UNTAGGED."},
		{one(`"untagged"`, `"any","tagPatternList":["v"]`), "Cannot specify tagPatternList with tagStatus ANY."},
		{one(`"untagged"`, `"tagged","tagPatternList":["v"],"tagPrefixList":["v"]`), "must specify only one of tagPrefixList or tagPatternList"},
		{one(`"untagged"`, `"tagged","tagPatternList":["a*b*c*d*e*f"]`), "Invalid tag pattern provided: a*b*c*d*e*f"},
		{one(`"untagged"`, `"tagged","tagPrefixList":[1]`), `instance type (integer) does not match any allowed primitive type (allowed: ["string"])`},
		{many(`1 "tagStatus":"any"`, `1 "tagStatus":"untagged"`), "Duplicate priority in multiple rules."},
		{many(`1 "tagStatus":"untagged"`, `2 "tagStatus":"untagged"`), "Only one rule can select Untagged images per storage class."},
		{many(`1 "tagStatus":"any"`, `2 "tagStatus":"any"`), "Only one rule can specify tagStatus=ANY per storage class."},
		{many(`1 "tagStatus":"any"`, `2 "tagStatus":"untagged"`), "Rule for tagStatus=ANY must have the lowest priority per storage class."},
	} {
		_, err := Parse(test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Parse(%s) = %v, want %q", test.text, err, test.want)
		}
	}
}

func TestParse_Archive(t *testing.T) {
	for _, text := range []string{
		one(`"type":"expire"`, `"type":"transition","targetStorageClass":"archive"`),
		one(`:3}`, `:3,"storageClass":"archive"}`),
		one(`imageCountMoreThan`, `sinceImageTransitioned`, `:3}`, `:3,"countUnit":"days"}`),
	} {
		if _, err := Parse(text); !errors.Is(err, ErrArchive) {
			t.Errorf("Parse(%s) = %v, want ErrArchive", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(one())
	f.Add(many(`1 "tagStatus":"untagged"`, `2 "tagStatus":"any"`))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err == nil && len(p.Rules) == 0 {
			t.Errorf("Parse(%q) has no rules", text)
		}
	})
}
