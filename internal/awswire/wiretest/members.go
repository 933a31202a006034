package wiretest

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
)

// Members calls an operation with one member set after the other that acts doesn't name, however deep: each must be refused,
// with its name in the error unless refusedByName has its path. So a member that a later SDK adds fails until it is acted on
// or refused: nothing is accepted and ignored. Paths are like ContainerDefinitions.Name; the members of one that isn't acted
// on are not looked at. in is in order, and accepted as it stands.
func Members(t *testing.T, in any, acts []string, refusedByName map[string]bool, call func(in any) error) {
	t.Helper()
	paths := memberPaths(reflect.TypeOf(in).Elem(), "", func(path string) bool { return slices.Contains(acts, path) })
	for _, known := range acts {
		if !slices.Contains(paths, known) {
			t.Errorf("the SDK has no member %s", known)
		}
	}
	for _, path := range paths {
		if slices.Contains(acts, path) {
			continue
		}
		c := cloned(reflect.ValueOf(in))
		setMember(c.Elem(), strings.Split(path, "."))
		if err := call(c.Interface()); err == nil {
			t.Errorf("%s is accepted, and nobody acts on it", path)
		} else if member := path[strings.LastIndexByte(path, '.')+1:]; !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(member)) && !refusedByName[path] {
			t.Errorf("%s is refused without being named: %v", path, err)
		}
	}
	// What was refused was refused for the member's sake.
	if err := call(in); err != nil {
		t.Errorf("the input without them: %v", err)
	}
}

// Private

// memberPaths lists the members of a structure; of structures it goes on into those that it is told to.
func memberPaths(typ reflect.Type, prefix string, into func(path string) bool) []string {
	var out []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		if !f.IsExported() || f.Type == reflect.TypeFor[middleware.Metadata]() {
			continue
		}
		path := prefix + f.Name
		out = append(out, path)
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() && into(path) {
			out = append(out, memberPaths(inner, path+".", into)...)
		}
	}
	return out
}

// setMember gives the member at the path a value that asks for something; structures on the way that
// are not there are made with what they need to be in order.
func setMember(v reflect.Value, path []string) {
	f := v.FieldByName(path[0])
	if len(path) == 1 {
		fillMember(f, 3)
		return
	}
	switch f.Kind() {
	case reflect.Pointer:
		if f.IsNil() {
			f.Set(reflect.New(f.Type().Elem()))
		}
		f = f.Elem()
	case reflect.Slice:
		if f.Len() == 0 {
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
			if n := f.Index(0).FieldByName("Name"); n.IsValid() && n.Kind() == reflect.Pointer {
				n.Set(reflect.ValueOf(aws.String("app")))
			}
		}
		f = f.Index(0)
	}
	setMember(f, path[1:])
}

// fillMember makes a value that is not zero in any member.
func fillMember(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillMember(v.Elem(), depth)
	case reflect.Struct:
		if depth == 0 || v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fillMember(v.Field(i), depth-1)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillMember(v.Index(0), depth)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fillMember(key, depth)
		fillMember(val, depth)
		v.SetMapIndex(key, val)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(1)
	case reflect.Float64, reflect.Float32:
		v.SetFloat(1)
	}
}

// cloned copies an input deeply enough that setting a member of it doesn't show in the original.
func cloned(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		p := reflect.New(v.Type().Elem())
		p.Elem().Set(cloned(v.Elem()))
		return p
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		s := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			s.Index(i).Set(cloned(v.Index(i)))
		}
		return s
	case reflect.Struct:
		c := reflect.New(v.Type()).Elem()
		c.Set(v)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				c.Field(i).Set(cloned(v.Field(i)))
			}
		}
		return c
	}
	return v
}
