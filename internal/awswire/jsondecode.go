package awswire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strconv"
)

// maxDepth is how deep a request may nest. The deepest that an SDK type allows is below 20,
// but for types that hold themselves.
const maxDepth = 64

// A jsonReader walks over a body that json.Valid has found right, and fills a Go value.
type jsonReader struct {
	*checker
	b     []byte
	i     int
	depth int
}

// decodeJSON fills v, a struct, from an awsJson1.1 body. No body at all is an empty object.
func decodeJSON(body []byte, s *shape, v reflect.Value, c *checker) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if !json.Valid(body) {
		return serialization("The request body is not valid JSON.")
	}
	d := &jsonReader{checker: c, b: body}
	d.space()
	if d.b[d.i] != '{' {
		return serialization("Expected a structure.")
	}
	return d.value(s, v)
}

// serialization is a body that doesn't have the form of the input. Texts: Coral's, as published
// in reports about several services.
func serialization(text string) error {
	return &Error{Code: "SerializationException", Message: text}
}

func (d *jsonReader) value(s *shape, v reflect.Value) error {
	d.space()
	first := d.b[d.i]
	if first == 'n' {
		d.i += len("null")
		return nil
	}
	if s.kind == kindUnion {
		d.skip()
		d.note(issueUnsupported, "", "", nil)
		return nil
	}
	if !fits(s.kind, first) {
		return mismatch(s, first)
	}
	v = alloc(v)
	switch s.kind {
	case kindStruct, kindMap, kindList:
		if d.depth++; d.depth > maxDepth {
			return serialization("The request body nests too deeply.")
		}
		defer func() { d.depth-- }()
		switch s.kind {
		case kindStruct:
			return d.structure(s, v)
		case kindMap:
			return d.mapping(s, v)
		}
		return d.list(s, v)
	case kindString:
		text, err := d.text()
		if err != nil {
			return err
		}
		d.enumValue(s, text)
		v.SetString(text)
	case kindBool:
		v.SetBool(first == 't')
		d.token()
	case kindInt:
		n, ok := wholeNumber(string(d.token()), v.Type().Bits())
		if !ok {
			return serialization("NUMBER_VALUE cannot be converted to " + typeName(s))
		}
		v.SetInt(n)
	case kindFloat:
		f, err := strconv.ParseFloat(string(d.token()), v.Type().Bits())
		if err != nil {
			return serialization("NUMBER_VALUE cannot be converted to " + typeName(s))
		}
		v.SetFloat(f)
	case kindTime:
		t, ok := epoch(string(d.token()))
		if !ok {
			return serialization("NUMBER_VALUE cannot be converted to Timestamp")
		}
		v.Set(reflect.ValueOf(t))
	case kindBlob:
		text, err := d.text()
		if err != nil {
			return err
		}
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return serialization("STRING_VALUE cannot be converted to a blob: it is not base64.")
		}
		v.SetBytes(raw)
	}
	return nil
}

func (d *jsonReader) structure(s *shape, v reflect.Value) error {
	return d.object(func(key []byte) error {
		n, ok := s.byName[string(key)]
		if !ok {
			d.space()
			start := d.i
			d.skip()
			if !emptyJSON(d.b[start:d.i]) {
				d.note(issueUnknown, string(key), "", nil)
			}
			return nil
		}
		f := &s.fields[n]
		d.enter(f.in, 0)
		err := d.value(f.shape, v.Field(f.index))
		d.leave()
		return err
	})
}

func (d *jsonReader) mapping(s *shape, v reflect.Value) error {
	v.Set(reflect.MakeMap(v.Type()))
	return d.object(func(key []byte) error {
		e := reflect.New(v.Type().Elem()).Elem()
		d.enter(string(key), 0)
		defer d.leave()
		if d.null() {
			d.note(issueMissing, "", "", nil)
		}
		if err := d.value(s.elem, e); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(string(key)).Convert(v.Type().Key()), e)
		return nil
	})
}

func (d *jsonReader) list(s *shape, v reflect.Value) error {
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	d.i++ // [
	for n := 1; ; n++ {
		d.space()
		if d.b[d.i] == ']' {
			d.i++
			return nil
		}
		if d.b[d.i] == ',' {
			d.i++
		}
		d.enter("", n)
		if d.null() {
			d.note(issueMissing, "", "", nil)
		}
		v.Grow(1)
		v.SetLen(n)
		err := d.value(s.elem, v.Index(n-1))
		d.leave()
		if err != nil {
			return err
		}
	}
}

// object calls member for each key, with the reader before the value.
func (d *jsonReader) object(member func(key []byte) error) error {
	d.i++ // {
	for {
		d.space()
		switch d.b[d.i] {
		case '}':
			d.i++
			return nil
		case ',':
			d.i++
			d.space()
		}
		key, err := d.rawText()
		if err != nil {
			return err
		}
		d.space()
		d.i++ // :
		if err := member(key); err != nil {
			return err
		}
	}
}

// Private

// emptyJSON says whether a value asks for nothing, as SetMembers does.
func emptyJSON(raw []byte) bool {
	switch string(raw) {
	case "null", "false", "0", `""`, "[]", "{}":
		return true
	}
	return false
}

// fits says whether a value that starts with first can be of kind k.
func fits(k kind, first byte) bool {
	switch k {
	case kindStruct, kindMap:
		return first == '{'
	case kindList:
		return first == '['
	case kindString, kindBlob:
		return first == '"'
	case kindBool:
		return first == 't' || first == 'f'
	}
	return first == '-' || first >= '0' && first <= '9'
}

func mismatch(s *shape, first byte) error {
	switch first {
	case '{':
		return serialization("Start of structure or map found where not expected.")
	case '[':
		return serialization("Start of list found where not expected.")
	}
	switch s.kind {
	case kindStruct, kindMap:
		return serialization("Expected a structure or map, or null.")
	case kindList:
		return serialization("Expected list or null.")
	}
	given := "NUMBER_VALUE"
	switch first {
	case '"':
		given = "STRING_VALUE"
	case 't':
		given = "TRUE_VALUE"
	case 'f':
		given = "FALSE_VALUE"
	}
	return serialization(given + " cannot be converted to " + typeName(s))
}

func typeName(s *shape) string {
	switch s.kind {
	case kindString:
		return "String"
	case kindBlob:
		return "ByteBuffer"
	case kindBool:
		return "Boolean"
	case kindTime:
		return "Timestamp"
	case kindFloat:
		return "Double"
	}
	if s.typ.Bits() == 64 {
		return "Long"
	}
	return "Integer"
}
