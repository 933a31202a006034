package awswire

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// maxIssues bounds what one answer tells about a bad request.
const maxIssues = 10

// A checker notes what is wrong with a request that could be read: missing members, values that
// an enumeration doesn't have, members that nobody knows. It knows where it is.
type checker struct {
	service string
	op      string
	where   []step
	issues  []issue
}

// A step leads from a value to one of its parts: a member or key, or, with an empty name, an index
// from 1.
type step struct {
	name  string
	index int
}

type issueKind int

const (
	issueMissing issueKind = iota + 1
	issueEnum
	issueUnknown
	issueUnsupported
)

type issue struct {
	kind  issueKind
	path  string // "tags.1.member.key", spelled as in the request
	value string
	enum  []string
}

func (c *checker) enter(name string, index int) { c.where = append(c.where, step{name, index}) }
func (c *checker) leave()                       { c.where = c.where[:len(c.where)-1] }

func (c *checker) note(k issueKind, member, value string, enum []string) {
	if len(c.issues) < maxIssues {
		c.issues = append(c.issues, issue{k, c.path(member), value, enum})
	}
}

// path names a member of where we are; "" names the place itself.
func (c *checker) path(member string) string {
	var b strings.Builder
	for _, s := range c.where {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		if s.name != "" {
			b.WriteString(s.name)
			continue
		}
		b.WriteString(strconv.Itoa(s.index))
		if c.service != "ec2" {
			b.WriteString(".member")
		}
	}
	if member != "" {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(member)
	}
	return b.String()
}

// enumValue notes a value that the enumeration doesn't have.
func (c *checker) enumValue(s *shape, v string) {
	if s.enum != nil && !s.enum[v] {
		c.note(issueEnum, "", v, s.values)
	}
}

// requiredIn notes the required members that v lacks, at any depth.
func (c *checker) requiredIn(s *shape, v reflect.Value) {
	v = reflect.Indirect(v)
	switch s.kind {
	case kindStruct:
		for i := range s.fields {
			f := &s.fields[i]
			fv := v.Field(f.index)
			if absent(fv) {
				if f.required {
					c.note(issueMissing, f.in, "", nil)
				}
				continue
			}
			if f.shape.deep() {
				c.enter(f.in, 0)
				c.requiredIn(f.shape, fv)
				c.leave()
			}
		}
	case kindList:
		for i := range v.Len() {
			c.enter("", i+1)
			c.requiredIn(s.elem, v.Index(i))
			c.leave()
		}
	case kindMap:
		for it := v.MapRange(); it.Next(); {
			c.enter(it.Key().String(), 0)
			c.requiredIn(s.elem, it.Value())
			c.leave()
		}
	}
}

// deep says whether members can be missing within the shape.
func (s *shape) deep() bool {
	switch s.kind {
	case kindStruct:
		return true
	case kindList, kindMap:
		return s.elem.deep()
	}
	return false
}

// err tells what was noted in the words of the service, or is nil.
// Sources: ELBv2, ACM, IAM, STS, Logs, SSM, Secrets Manager and EFS name all findings in one text ("1 validation error detected:
// …"); ECR says "Invalid parameter at"; EC2 has a code for each; ECS says what can't be empty.
func (c *checker) err() error {
	if len(c.issues) == 0 {
		return nil
	}
	first := c.issues[0]
	switch c.service {
	case "ec2":
		return ec2Issue(first)
	case "ecr":
		return &Error{Code: "InvalidParameterException", Message: ecrIssue(first, c.op)}
	case "ecs":
		if first.kind == issueMissing {
			return &Error{Code: "InvalidParameterException", Message: upperFirst(first.path) + " cannot be empty."}
		}
		return &Error{Code: "InvalidParameterException", Message: c.all()}
	case "logs":
		return &Error{Code: "InvalidParameterException", Message: c.all()}
	case "acm", "ssm", "secretsmanager", "elasticfilesystem":
		return &Error{Code: "ValidationException", Message: c.all()}
	}
	return &Error{Code: "ValidationError", Message: c.all()}
}

// Private

// all joins the findings as most services do.
func (c *checker) all() string {
	var parts []string
	for _, i := range c.issues {
		if text, ok := i.ours(c.op); ok {
			return text
		}
		value := "null"
		if i.kind == issueEnum {
			value = "'" + i.value + "'"
		}
		parts = append(parts, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", value, dotted(i.path), i.constraint()))
	}
	noun := "error"
	if len(parts) > 1 {
		noun = "errors"
	}
	return fmt.Sprintf("%d validation %s detected: %s", len(parts), noun, strings.Join(parts, "; "))
}

func (i issue) constraint() string {
	if i.kind == issueEnum {
		return "Member must satisfy enum value set: [" + strings.Join(i.enum, ", ") + "]"
	}
	return "Member must not be null"
}

// ours is the text of a finding that AWS has no words for.
func (i issue) ours(op string) (string, bool) {
	switch i.kind {
	case issueUnknown:
		return fmt.Sprintf("Lotse does not know %s of %s, so it does not accept it.", i.path, op), true
	case issueUnsupported:
		return fmt.Sprintf("Lotse does not act on %s of %s yet, so it does not accept it.", i.path, op), true
	}
	return "", false
}

func ecrIssue(i issue, op string) string {
	if text, ok := i.ours(op); ok {
		return text
	}
	if i.kind == issueEnum {
		return fmt.Sprintf("Invalid parameter at '%s' failed to satisfy constraint: '%s'", i.path, i.constraint())
	}
	return fmt.Sprintf("Invalid parameter at '%s' failed to satisfy constraint: 'must not be null'", i.path)
}

func ec2Issue(i issue) *Error {
	switch i.kind {
	case issueMissing:
		return &Error{Code: "MissingParameter", Message: "The request must contain the parameter " + i.path}
	case issueEnum:
		return &Error{Code: "InvalidParameterValue", Message: fmt.Sprintf("Value (%s) for parameter %s is invalid.", i.value, i.path)}
	}
	return &Error{Code: "UnknownParameter", Message: fmt.Sprintf("The parameter %s is not recognized", i.path)}
}

// dotted gives a path's members the small first letter that these texts have.
func dotted(path string) string {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		if p != "" {
			parts[i] = lowerFirst(p)
		}
	}
	return strings.Join(parts, ".")
}
