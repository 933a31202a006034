package awswire

import (
	"reflect"
	"time"
)

// A shape is what a codec has to know of a Go type, worked out once when its API is added. Shapes
// refer to each other, also in circles; they don't change afterwards and may be used by all.
type shape struct {
	kind   kind
	typ    reflect.Type
	elem   *shape          // of a list or map
	fields []field         // of a structure, in the SDK's order
	byName map[string]int  // request name → index in fields
	enum   map[string]bool // known values; nil when the type isn't an enumeration
	values []string        // the same in the SDK's order
}

type field struct {
	wireName
	index    int // in the Go struct
	shape    *shape
	required bool
	bound    *binding // when it isn't in the body
}

type kind int

const (
	kindString kind = iota + 1
	kindBool
	kindInt
	kindFloat
	kindTime
	kindBlob
	kindList
	kindMap // keys are strings
	kindStruct
	kindUnion // an interface: refused in requests
)

var timeType = reflect.TypeFor[time.Time]()

// A schema makes the shapes of one API.
type schema struct {
	protocol Protocol
	shapes   map[reflect.Type]*shape
}

// of returns the shape of t; pointers have the shape of what they point to.
func (s *schema) of(t reflect.Type) *shape {
	if t.Kind() == reflect.Pointer {
		return s.of(t.Elem())
	}
	if sh := s.shapes[t]; sh != nil {
		return sh
	}
	sh := &shape{typ: t}
	s.shapes[t] = sh // before the members: they may lead back here
	switch t.Kind() {
	case reflect.String:
		sh.kind = kindString
		sh.enumerate()
	case reflect.Bool:
		sh.kind = kindBool
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		sh.kind = kindInt
	case reflect.Float32, reflect.Float64:
		sh.kind = kindFloat
	case reflect.Slice:
		sh.kind, sh.elem = kindList, s.of(t.Elem())
		if t.Elem().Kind() == reflect.Uint8 {
			sh.kind = kindBlob
		}
	case reflect.Map:
		sh.kind, sh.elem = kindMap, s.of(t.Elem())
	case reflect.Interface:
		sh.kind = kindUnion
	case reflect.Struct:
		sh.kind = kindTime
		if t != timeType {
			sh.kind = kindStruct
			s.members(sh)
		}
	case reflect.Uint8: // a blob's byte
	default:
		panic("awswire: no shape for " + t.String())
	}
	return sh
}

// Private

func (s *schema) members(sh *shape) {
	need := required()[tableKey(sh.typ)]
	sh.byName = map[string]int{}
	var bound map[string]binding
	if s.protocol == RestJSON {
		bound = bindings(sh.typ)
	}
	for i := range sh.typ.NumField() {
		f := sh.typ.Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" {
			continue
		}
		n := nameOf(s.protocol, sh.typ, f.Name)
		made := field{wireName: n, index: i, shape: s.of(f.Type), required: need[f.Name]}
		if b, ok := bound[f.Name]; ok {
			made.bound = &b
		} else {
			sh.byName[n.in] = len(sh.fields)
		}
		sh.fields = append(sh.fields, made)
	}
}

// enumerate asks an SDK enumeration for its values: each has a method Values.
func (sh *shape) enumerate() {
	m, ok := sh.typ.MethodByName("Values")
	if !ok {
		return
	}
	vs := m.Func.Call([]reflect.Value{reflect.Zero(sh.typ)})[0]
	sh.enum = make(map[string]bool, vs.Len())
	for i := range vs.Len() {
		sh.enum[vs.Index(i).String()] = true
		sh.values = append(sh.values, vs.Index(i).String())
	}
}

// absent says whether a member is left out of an answer, or missing from a request: nil, or an
// enumeration without a value. Plain numbers and booleans are always there.
func absent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return v.IsNil()
	case reflect.String:
		return v.Len() == 0
	}
	return false
}

// alloc makes what a pointer points to, and returns that; other values are returned as they are.
func alloc(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Pointer {
		return v
	}
	v.Set(reflect.New(v.Type().Elem()))
	return v.Elem()
}
