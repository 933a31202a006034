package lifecycle

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxRules is how many rules a policy may have, maxWildcards how many * a pattern. Source: ECR user guide.
const maxRules, maxWildcards = 50, 4

// ErrArchive says that a policy asks for archive storage, which AWS has and Lotse hasn't.
var ErrArchive = errors.New("archive storage")

// invalid is what is wrong with a policy, in ECR's words.
type invalid string

func (i invalid) Error() string { return string(i) }

// Parse reads a policy strictly. An error's text is what ECR says, but for ErrArchive.
// Source: answers that users have published; those about single properties are of AWS's JSON schema validator.
func Parse(text string) (Policy, error) {
	top, err := decode(text)
	o, isObject := top.(map[string]any)
	if err != nil || !isObject {
		return Policy{}, invalid("Could not map policyString into LifecyclePolicy.")
	}
	if err := properties(o, []string{"rules"}, nil); err != nil {
		return Policy{}, err
	}
	list, ok := o["rules"].([]any)
	switch {
	case !ok:
		return Policy{}, wrongType(o["rules"], "array")
	case len(list) == 0:
		return Policy{}, errors.New("array is too short: must have at least 1 elements but instance has 0 elements")
	case len(list) > maxRules:
		return Policy{}, fmt.Errorf("array is too long: must have at most %d elements but instance has %d elements", maxRules, len(list))
	}
	var p Policy
	for _, v := range list {
		r, err := rule(v)
		if err != nil {
			return Policy{}, err
		}
		p.Rules = append(p.Rules, r)
	}
	slices.SortStableFunc(p.Rules, func(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	return p, p.check()
}

// Private

// check judges the rules as a whole; they are sorted.
func (p Policy) check() error {
	untagged, anyOf := 0, 0
	for i, r := range p.Rules {
		if i > 0 && p.Rules[i-1].Priority == r.Priority {
			return invalid("Duplicate priority in multiple rules.")
		}
		switch r.TagStatus {
		case Untagged:
			untagged++
		case Any:
			anyOf++
		}
	}
	switch {
	case untagged > 1:
		return invalid("Only one rule can select Untagged images per storage class.")
	case anyOf > 1:
		return invalid("Only one rule can specify tagStatus=ANY per storage class.")
	case anyOf == 1 && p.Rules[len(p.Rules)-1].TagStatus != Any:
		return invalid("Rule for tagStatus=ANY must have the lowest priority per storage class.")
	}
	return nil
}

func rule(v any) (r Rule, err error) {
	o, ok := v.(map[string]any)
	if !ok {
		return r, wrongType(v, "object")
	}
	if err := properties(o, []string{"rulePriority", "selection", "action"}, []string{"description"}); err != nil {
		return r, err
	}
	if r.Priority, err = integer(o["rulePriority"]); err != nil {
		return r, err
	}
	if d, given := o["description"]; given {
		if r.Description, ok = d.(string); !ok {
			return r, wrongType(d, "string")
		}
	}
	if err := action(o["action"]); err != nil {
		return r, err
	}
	return r, r.selection(o["selection"])
}

func action(v any) error {
	o, ok := v.(map[string]any)
	if !ok {
		return wrongType(v, "object")
	}
	if err := properties(o, []string{"type"}, []string{"targetStorageClass"}); err != nil {
		return err
	}
	kind, err := oneOf(o["type"], "expire", "transition")
	_, target := o["targetStorageClass"]
	switch {
	case err != nil:
		return err
	case kind == "transition":
		return ErrArchive
	case target:
		return notAllowed("targetStorageClass")
	}
	return nil
}

func (r *Rule) selection(v any) (err error) {
	o, ok := v.(map[string]any)
	if !ok {
		return wrongType(v, "object")
	}
	optional := []string{"tagPrefixList", "tagPatternList", "countUnit", "storageClass"}
	if err := properties(o, []string{"tagStatus", "countType", "countNumber"}, optional); err != nil {
		return err
	}
	if r.TagStatus, err = oneOf(o["tagStatus"], Any, Tagged, Untagged); err != nil {
		return err
	}
	if c, given := o["storageClass"]; given {
		if class, err := oneOf(c, "archive", "standard"); err != nil || class == "archive" {
			return cmp.Or(err, ErrArchive)
		}
	}
	if r.CountNumber, err = integer(o["countNumber"]); err != nil {
		return err
	}
	if err := r.count(o); err != nil {
		return err
	}
	return r.tags(o)
}

func (r *Rule) count(o map[string]any) (err error) {
	if r.CountType, err = oneOf(o["countType"], CountMoreThan, "sinceImagePulled", SincePushed, "sinceImageTransitioned"); err != nil {
		return err
	}
	unit, given := o["countUnit"]
	if given {
		if _, err := oneOf(unit, "days"); err != nil {
			return err
		}
	}
	switch {
	case r.CountType == "sinceImageTransitioned":
		return ErrArchive
	case r.CountType == "sinceImagePulled": // Source: ECR user guide: only with the action transition
		return errors.New("countType sinceImagePulled can only be used with the action type transition")
	case given != (r.CountType == SincePushed):
		return errors.New("instance failed to match exactly one schema (matched 0 out of 2)")
	}
	return nil
}

func (r *Rule) tags(o map[string]any) (err error) {
	for name, list := range map[string]*[]string{"tagPrefixList": &r.Prefixes, "tagPatternList": &r.Patterns} {
		if v, given := o[name]; given {
			if *list, err = texts(v); err != nil {
				return err
			}
		}
	}
	if r.TagStatus != Tagged {
		switch {
		case len(r.Prefixes) > 0:
			return invalid(fmt.Sprintf("Cannot specify tagPrefixList with tagStatus %s.", strings.ToUpper(r.TagStatus)))
		case len(r.Patterns) > 0:
			return invalid(fmt.Sprintf("Cannot specify tagPatternList with tagStatus %s.", strings.ToUpper(r.TagStatus)))
		}
		return nil
	}
	switch {
	case len(r.Prefixes) > 0 && len(r.Patterns) > 0:
		return invalid("If policy has a tagged rule, it must specify only one of tagPrefixList or tagPatternList.")
	case len(r.Prefixes)+len(r.Patterns) == 0:
		return invalid("Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED.")
	}
	for _, p := range r.Patterns {
		if p == "" || strings.Count(p, "*") > maxWildcards {
			return invalid(fmt.Sprintf("Invalid tag pattern provided: %s", p))
		}
	}
	return nil
}

// decode is json.Unmarshal that refuses what follows the value, and keeps numbers as they are.
func decode(text string) (v any, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the policy")
	}
	return v, nil
}

func properties(o map[string]any, required, optional []string) error {
	var missing []string
	for _, name := range required {
		if _, there := o[name]; !there {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("object has missing required properties (%s)", quoted(missing))
	}
	var extra []string
	for name := range o {
		if !slices.Contains(required, name) && !slices.Contains(optional, name) {
			extra = append(extra, name)
		}
	}
	if len(extra) > 0 {
		slices.Sort(extra)
		return notAllowed(extra...)
	}
	return nil
}

func notAllowed(names ...string) error {
	return fmt.Errorf("object instance has properties which are not allowed by the schema: (%s)", quoted(names))
}

func integer(v any) (int, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, wrongType(v, "integer")
	}
	i, err := n.Int64()
	switch {
	case err != nil:
		return 0, wrongType(v, "integer")
	case i < 1:
		return 0, fmt.Errorf("numeric instance is lower than the required minimum (minimum: 1, found: %d)", i)
	case i > 1<<31-1:
		return 0, fmt.Errorf("numeric instance is greater than the required maximum (maximum: %d, found: %d)", 1<<31-1, i)
	}
	return int(i), nil
}

// oneOf takes an enumeration's value; the values are sorted.
func oneOf(v any, values ...string) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", wrongType(v, "string")
	}
	if !slices.Contains(values, s) {
		return "", fmt.Errorf("instance value (%q) not found in enum (possible values: %s)", s, quoted(values))
	}
	return s, nil
}

func texts(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, wrongType(v, "array")
	}
	var out []string
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, wrongType(v, "string")
		}
		out = append(out, s)
	}
	return out, nil
}

func wrongType(v any, want string) error {
	got := "null"
	switch n := v.(type) {
	case string:
		got = "string"
	case bool:
		got = "boolean"
	case []any:
		got = "array"
	case map[string]any:
		got = "object"
	case json.Number:
		if got = "integer"; strings.ContainsAny(n.String(), ".eE") {
			got = "number"
		}
	}
	return fmt.Errorf("instance type (%s) does not match any allowed primitive type (allowed: [%q])", got, want)
}

func quoted(names []string) string {
	b, err := json.Marshal(names)
	if err != nil {
		panic(err) // strings
	}
	return string(b)
}
