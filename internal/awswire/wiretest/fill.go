package wiretest

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/awswire"
)

// A Filler makes random values of SDK types. The same seed makes the same values.
type Filler struct {
	Rand *rand.Rand
	// Unit is how fine times are; 0 means milliseconds.
	Unit time.Duration
	// Full sets every member; otherwise one in four is left out, but for those that are required
	// and those that the SDK makes itself when they are missing.
	Full bool

	open map[reflect.Type]bool // structures being filled: a type isn't put into itself
}

// NewFiller makes a Filler from a seed.
func NewFiller(seed uint64) *Filler {
	return &Filler{Rand: rand.New(rand.NewPCG(seed, 0)), Unit: time.Millisecond, open: map[reflect.Type]bool{}}
}

// New makes a pointer to a filled t, a struct.
func (f *Filler) New(t reflect.Type) any {
	v := reflect.New(t)
	f.fill(v.Elem())
	return v.Interface()
}

// possible says whether the filler can make t: unions and documents it can't.
func (f *Filler) possible(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return t.Kind() != reflect.Interface && !f.open[t]
}

func (f *Filler) fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.UnixMilli(f.Rand.Int64N(4e12)).Truncate(f.Unit).UTC()))
			return
		}
		f.members(v)
	case reflect.Slice:
		n := 1 + f.Rand.IntN(2)
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, 5*n)
			for i := range b {
				b[i] = byte(f.Rand.Uint32())
			}
			v.SetBytes(b)
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + f.Rand.IntN(2) {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(k)
			f.fill(e)
			v.SetMapIndex(k, e)
		}
	case reflect.String:
		f.text(v)
	case reflect.Bool:
		v.SetBool(f.Rand.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.Rand.Uint64()) >> (64 - v.Type().Bits()))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(f.Rand.IntN(1e6)) / 4)
	}
}

// Private

func (f *Filler) members(v reflect.Value) {
	f.open[v.Type()] = true
	defer delete(f.open, v.Type())
	some := -1 // a query can't carry a structure without members
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if !sf.IsExported() || sf.Name == "ResultMetadata" || !f.possible(sf.Type) {
			continue
		}
		if f.Full || awswire.Required(v.Type(), sf.Name) || strings.Contains(sf.Name, "Token") || f.Rand.IntN(4) > 0 {
			f.fill(v.Field(i))
			some = v.NumField()
		} else if some < 0 {
			some = i
		}
	}
	if some >= 0 && some < v.NumField() {
		f.fill(v.Field(some))
	}
}

var alphabet = []string{"a", "Z", "0", "-", "/", ":", ".", "&", "<", ">", `"`, "'", "\\", " ", "\n", "\t", "%", "+", "=", "é", "語", "😀", "]]>"}

// text sets a string, or one of the values of an enumeration.
func (f *Filler) text(v reflect.Value) {
	if m := v.MethodByName("Values"); m.IsValid() {
		if values := m.Call(nil)[0]; values.Len() > 0 {
			v.Set(values.Index(f.Rand.IntN(values.Len())))
			return
		}
	}
	var b strings.Builder
	b.WriteString("x")
	for range f.Rand.IntN(8) {
		b.WriteString(alphabet[f.Rand.IntN(len(alphabet))])
	}
	b.WriteString("y")
	v.SetString(b.String())
}
