package awswire

import (
	"reflect"
	"slices"
	"strings"
)

// SetMembers names the members of an SDK struct that ask for something and are not among known,
// with the small first letter that JSON services and messages use. Nil, empty and zero members,
// and pointers to zero values, ask for nothing. A handler calls it first, so that every member is
// either acted on or refused: members that a later SDK adds are refused by themselves.
func SetMembers(in any, known ...string) []string {
	v := reflect.Indirect(reflect.ValueOf(in))
	var out []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || slices.Contains(known, f.Name) || asksNothing(v.Field(i)) {
			continue
		}
		out = append(out, strings.ToLower(f.Name[:1])+f.Name[1:])
	}
	return out
}

func asksNothing(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Pointer, reflect.Interface:
		return v.IsNil() || v.Kind() == reflect.Pointer && v.Elem().IsZero()
	}
	return v.IsZero()
}
