package awswire

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// appendJSON renders a value as awsJson1.1. Absent members are left out; empty lists and plain
// zeros are written, as AWS does.
func appendJSON(b []byte, s *shape, v reflect.Value) []byte {
	v = reflect.Indirect(v)
	switch s.kind {
	case kindStruct:
		b = append(b, '{')
		first := true
		for i := range s.fields {
			f := &s.fields[i]
			fv := v.Field(f.index)
			if absent(fv) {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(b, '"')
			b = append(b, f.out...)
			b = append(b, '"', ':')
			b = appendJSON(b, f.shape, fv)
		}
		return append(b, '}')
	case kindList:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, s.elem, v.Index(i))
		}
		return append(b, ']')
	case kindMap:
		b = append(b, '{')
		for i, k := range sortedKeys(v) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendJSONString(b, k), ':')
			b = appendJSON(b, s.elem, v.MapIndex(reflect.ValueOf(k).Convert(v.Type().Key())))
		}
		return append(b, '}')
	case kindString:
		return appendJSONString(b, v.String())
	case kindBool:
		return strconv.AppendBool(b, v.Bool())
	case kindInt:
		return strconv.AppendInt(b, v.Int(), 10)
	case kindFloat:
		return strconv.AppendFloat(b, v.Float(), 'g', -1, v.Type().Bits())
	case kindTime:
		return strconv.AppendFloat(b, float64(v.Interface().(time.Time).UnixMilli())/1e3, 'f', -1, 64)
	case kindBlob:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v.Bytes())
		return append(b, '"')
	}
	panic(fmt.Sprintf("awswire: %s can't be encoded", s.typ))
}

// Private

const hexDigits = "0123456789abcdef"

// appendJSONString quotes s. What isn't UTF-8 becomes U+FFFD.
func appendJSONString(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	b = append(b, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// sortedKeys makes answers repeatable.
func sortedKeys(v reflect.Value) []string {
	keys := make([]string, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		keys = append(keys, it.Key().String())
	}
	slices.Sort(keys)
	return keys
}
