package policy

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	errSyntax     = malformed("Syntax errors in policy.")
	errPrincipals = malformed("Invalid principal in policy.")
)

// malformed is an error whose text IAM gives to its callers as it is.
type malformed string

func (m malformed) Error() string { return string(m) }

// maxDepth is deeper than any policy nests: document, statement, condition, operator, values.
const maxDepth = 8

// Parse reads a document strictly: unknown and repeated elements, wrong types and anything after
// the end are errors, whose texts are IAM's.
func Parse(doc string) (Document, error) {
	top, err := decode(doc)
	if err != nil {
		return Document{}, errSyntax
	}
	o, ok := top.(map[string]any)
	if !ok || !only(o, "Version", "Id", "Statement") {
		return Document{}, errSyntax
	}
	var d Document
	if d.Version, ok = text(o, "Version"); !ok || d.Version != "" && d.Version != Version2008 && d.Version != Version2012 {
		return Document{}, errSyntax
	}
	if _, given := o["Version"]; given && d.Version == "" {
		return Document{}, errSyntax
	}
	if d.ID, ok = text(o, "Id"); !ok {
		return Document{}, errSyntax
	}
	statements, ok := o["Statement"].([]any)
	if one, isOne := o["Statement"].(map[string]any); isOne {
		statements, ok = []any{one}, true
	}
	if !ok || len(statements) == 0 {
		return Document{}, errSyntax
	}
	for _, v := range statements {
		s, err := statement(v)
		if err != nil {
			return Document{}, err
		}
		d.Statements = append(d.Statements, s)
	}
	return d, nil
}

// Private

func statement(v any) (s Statement, err error) {
	o, ok := v.(map[string]any)
	if !ok || !only(o, "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition") {
		return s, errSyntax
	}
	for _, pair := range [][2]string{{"Principal", "NotPrincipal"}, {"Action", "NotAction"}, {"Resource", "NotResource"}} {
		_, a := o[pair[0]]
		_, b := o[pair[1]]
		if a && b {
			return s, errSyntax
		}
	}
	if s.SID, ok = text(o, "Sid"); !ok {
		return s, errSyntax
	}
	if s.Effect, ok = text(o, "Effect"); !ok || s.Effect != "Allow" && s.Effect != "Deny" {
		return s, errSyntax
	}
	for name, list := range map[string]*[]string{"Action": &s.Action, "NotAction": &s.NotAction, "Resource": &s.Resource, "NotResource": &s.NotResource} {
		if v, given := o[name]; given {
			if *list, ok = texts(v); !ok {
				return s, errSyntax
			}
		}
	}
	for name, p := range map[string]**Principals{"Principal": &s.Principal, "NotPrincipal": &s.NotPrincipal} {
		if v, given := o[name]; given {
			if *p, err = principals(v); err != nil {
				return s, err
			}
		}
	}
	if v, given := o["Condition"]; given {
		if s.Condition, ok = conditions(v); !ok {
			return s, errSyntax
		}
	}
	return s, nil
}

func principals(v any) (*Principals, error) {
	if v == "*" {
		return &Principals{Everyone: true}, nil
	}
	o, ok := v.(map[string]any)
	if !ok || len(o) == 0 {
		return nil, errPrincipals
	}
	p := &Principals{}
	lists := map[string]*[]string{"AWS": &p.AWS, "Service": &p.Service, "Federated": &p.Federated}
	for kind, v := range o {
		list := lists[kind]
		if list == nil {
			return nil, errPrincipals
		}
		if *list, ok = texts(v); !ok || len(*list) == 0 {
			return nil, errSyntax
		}
		for _, name := range *list {
			if !validPrincipal(kind, name) {
				return nil, malformed(fmt.Sprintf("Invalid principal in policy: %q:%q", strings.ToUpper(kind), name))
			}
		}
	}
	return p, nil
}

func conditions(v any) (Conditions, bool) {
	o, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	c := Conditions{}
	for op, v := range o {
		keys, ok := v.(map[string]any)
		if !ok || !knownOperator(op) {
			return nil, false
		}
		c[op] = map[string][]string{}
		for key, v := range keys {
			if c[op][key], ok = scalars(v); !ok {
				return nil, false
			}
		}
	}
	return c, true
}

// decode is json.Unmarshal that refuses repeated keys and what follows the value.
func decode(doc string) (any, error) {
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errSyntax
	}
	return v, nil
}

func value(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth == maxDepth {
		return nil, errSyntax
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := value(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	o := map[string]any{}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, err
		}
		key := k.(string) // the decoder lets nothing else stand there
		if _, dup := o[key]; dup {
			return nil, errSyntax
		}
		if o[key], err = value(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return o, err
}

func only(o map[string]any, names ...string) bool {
	for k := range o {
		if !slices.Contains(names, k) {
			return false
		}
	}
	return true
}

// text is an optional string.
func text(o map[string]any, name string) (string, bool) {
	v, given := o[name]
	if !given {
		return "", true
	}
	s, ok := v.(string)
	return s, ok
}

// texts is a string or a list of strings; never nil.
func texts(v any) ([]string, bool) {
	if s, ok := v.(string); ok {
		return []string{s}, true
	}
	list, ok := v.([]any)
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, isText := v.(string)
		if !isText {
			return nil, false
		}
		out = append(out, s)
	}
	return out, ok
}

// scalars is texts, with numbers and booleans, for the values of conditions.
func scalars(v any) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []string
	for _, v := range list {
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case bool, json.Number:
			out = append(out, fmt.Sprint(v))
		default:
			return nil, false
		}
	}
	return out, true
}
