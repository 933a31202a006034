package awswire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A formReader fills a Go value from a query's parameters.
type formReader struct {
	*checker
	protocol Protocol
}

// decodeForm fills v, a struct, from the parameters of the query or EC2 protocol.
func decodeForm(form url.Values, p Protocol, s *shape, v reflect.Value, c *checker) error {
	root, err := formTree(form)
	if err != nil {
		return err
	}
	d := &formReader{checker: c, protocol: p}
	return d.structure(root, s, v)
}

func (d *formReader) value(n *node, s *shape, v reflect.Value) error {
	v = alloc(v)
	switch s.kind {
	case kindStruct:
		return d.structure(n, s, v)
	case kindList:
		return d.list(n, s, v)
	case kindMap:
		return d.mapping(n, s, v)
	case kindUnion:
		d.note(issueUnsupported, "", "", nil)
		return nil
	}
	if len(n.kids) > 0 {
		return d.malformed("Start of structure or map found where not expected.")
	}
	return d.scalar(n.value, s, v)
}

func (d *formReader) structure(n *node, s *shape, v reflect.Value) error {
	if n.set && n.value != "" {
		return d.malformed("Expected a structure.")
	}
	found := 0
	for i := range s.fields {
		f := &s.fields[i]
		k := n.kids[f.in]
		if k == nil {
			continue
		}
		found++
		d.enter(f.in, 0)
		err := d.value(k, f.shape, v.Field(f.index))
		d.leave()
		if err != nil {
			return err
		}
	}
	if found < len(n.kids) {
		d.unknown(n, s)
	}
	return nil
}

// unknown notes the parameters that s doesn't have and that ask for something.
func (d *formReader) unknown(n *node, s *shape) {
	for _, name := range slices.Sorted(maps.Keys(n.kids)) {
		if _, ok := s.byName[name]; !ok && !n.kids[name].empty() {
			d.note(issueUnknown, name, "", nil)
		}
	}
}

// list reads Name.member.N, for EC2 Name.N. Numbers give the order; gaps are allowed, as on AWS.
// Name without a number is the empty list.
func (d *formReader) list(n *node, s *shape, v reflect.Value) error {
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	if n.set && n.value != "" {
		return d.malformed("Expected list or null.")
	}
	if d.protocol == Query {
		only := n.kids["member"]
		if len(n.kids) > 1 || len(n.kids) == 1 && only == nil {
			return d.malformed("Expected list members.")
		}
		if only == nil {
			return nil
		}
		n = only
	}
	return d.numbered(n, func(i int, k *node) error {
		v.Grow(1)
		v.SetLen(i)
		return d.value(k, s.elem, v.Index(i-1))
	})
}

// mapping reads Name.entry.N.key and .value.
func (d *formReader) mapping(n *node, s *shape, v reflect.Value) error {
	v.Set(reflect.MakeMap(v.Type()))
	entries := n.kids["entry"]
	if entries == nil {
		if n.empty() {
			return nil
		}
		return d.malformed("Expected map entries.")
	}
	return d.numbered(entries, func(_ int, k *node) error {
		key, value := k.kids["key"], k.kids["value"]
		if key == nil || value == nil || len(k.kids) != 2 {
			return d.malformed("Expected a key and a value.")
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(value, s.elem, e); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(key.value).Convert(v.Type().Key()), e)
		return nil
	})
}

// numbered calls member for each numbered part in order, counted from 1.
func (d *formReader) numbered(n *node, member func(i int, k *node) error) error {
	order := make([]int, 0, len(n.kids))
	for name := range n.kids {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || strconv.Itoa(i) != name {
			return d.malformed(fmt.Sprintf("%q is not the number of a list member.", name))
		}
		order = append(order, i)
	}
	slices.Sort(order)
	for at, i := range order {
		d.enter("", i)
		err := member(at+1, n.kids[strconv.Itoa(i)])
		d.leave()
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *formReader) scalar(text string, s *shape, v reflect.Value) error {
	switch s.kind {
	case kindString:
		d.enumValue(s, text)
		v.SetString(text)
	case kindBool:
		b, err := boolean(text)
		if err != nil {
			return d.bad(text, "boolean")
		}
		v.SetBool(b)
	case kindInt:
		i, err := strconv.ParseInt(text, 10, s.typ.Bits())
		if err != nil {
			return d.bad(text, "integer")
		}
		v.SetInt(i)
	case kindFloat:
		f, err := strconv.ParseFloat(text, s.typ.Bits())
		if err != nil {
			return d.bad(text, "number")
		}
		v.SetFloat(f)
	case kindTime:
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return d.bad(text, "timestamp")
		}
		v.Set(reflect.ValueOf(t.UTC()))
	case kindBlob:
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return d.bad(text, "blob")
		}
		v.SetBytes(raw)
	}
	return nil
}

// malformed is a parameter whose name doesn't have the form of the input.
func (d *formReader) malformed(text string) error {
	if d.protocol == EC2 {
		return &Error{Code: "InvalidParameterValue", Message: fmt.Sprintf("The parameter %s is malformed. %s", d.path(""), text)}
	}
	return &Error{Code: "MalformedInput", Message: text}
}

// bad is a value that isn't of its type. Source: EC2 error codes, InvalidParameterValue.
func (d *formReader) bad(value, want string) error {
	if d.protocol == EC2 {
		return &Error{Code: "InvalidParameterValue",
			Message: fmt.Sprintf("Value (%s) for parameter %s is invalid. Expected a value of type %s.", value, d.path(""), want)}
	}
	return &Error{Code: "MalformedInput", Message: fmt.Sprintf("Value '%s' at '%s' is not of type %s.", value, dotted(d.path("")), want)}
}

// Private

var errNotBoolean = errors.New("not a boolean")

func boolean(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, errNotBoolean
}
