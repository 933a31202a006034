package wiretest

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/lotse-project/lotse/internal/awswire"
)

// Broken calls an operation with one member after the other of an input spoilt, however deep: absent, empty, too long, too
// large or nonsense. Whatever comes of it, it is an answer that a caller may see: no panic, and no internal failure.
func Broken(t *testing.T, in any, call func(in any) error) {
	t.Helper()
	for _, path := range memberPaths(reflect.TypeOf(in).Elem(), "", func(string) bool { return true }) {
		for i := 0; ; i++ {
			c := cloned(reflect.ValueOf(in))
			what, more := spoil(c.Elem(), strings.Split(path, "."), i)
			if !more {
				break
			}
			func() {
				defer func() {
					if p := recover(); p != nil {
						t.Errorf("%s %s: panic: %v", path, what, p)
					}
				}()
				var e *awswire.Error
				if err := call(c.Interface()); err != nil && !errors.As(err, &e) {
					t.Errorf("%s %s: an internal failure: %v", path, what, err)
				}
			}()
		}
	}
}

// Private

// spoil changes the member at the path in the i-th way. There are no more ways when it says so.
func spoil(v reflect.Value, path []string, i int) (what string, more bool) {
	f := v.FieldByName(path[0])
	if len(path) > 1 {
		for f.Kind() == reflect.Pointer || f.Kind() == reflect.Slice {
			if f.Kind() == reflect.Pointer && f.IsNil() {
				f.Set(reflect.New(f.Type().Elem()))
			}
			if f.Kind() == reflect.Slice && f.Len() == 0 {
				f.Set(reflect.MakeSlice(f.Type(), 1, 1))
			}
			if f.Kind() == reflect.Pointer {
				f = f.Elem()
			} else {
				f = f.Index(0)
			}
		}
		return spoil(f, path[1:], i)
	}
	if i == 0 {
		if !awswire.Required(v.Type(), path[0]) { // without those a request doesn't get this far
			f.SetZero()
		}
		return "absent", true
	}
	if f.Kind() == reflect.Pointer {
		f.Set(reflect.New(f.Type().Elem()))
		f = f.Elem()
	}
	i--
	switch f.Kind() {
	case reflect.String:
		ways := []string{"", "x", "*", "aws:x", "arn:aws:x", strings.Repeat("a", 5000), "é\x00\n"}
		if i < len(ways) {
			f.SetString(ways[i])
			return "of " + ways[i][:min(len(ways[i]), 20)], true
		}
	case reflect.Int32, reflect.Int64:
		ways := []int64{0, -1, math.MaxInt32, math.MinInt32}
		if i < len(ways) {
			f.SetInt(ways[i])
			return "out of range", true
		}
	case reflect.Slice:
		if i < 3 { // none, one of nothing, and 200 of that
			n := []int{0, 1, 200}[i]
			f.Set(reflect.MakeSlice(f.Type(), n, n))
			return "empty", true
		}
	case reflect.Bool, reflect.Struct:
		return "of nothing", i == 0
	}
	return "", false
}
