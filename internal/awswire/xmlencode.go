package awswire

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// An xmlWriter renders an answer of the query or EC2 protocol.
type xmlWriter struct {
	bytes.Buffer
	item  string // element of a list
	stamp string // layout of a time
}

func newXMLWriter(a *API) *xmlWriter {
	w := &xmlWriter{item: "member", stamp: "2006-01-02T15:04:05.000Z"}
	switch a.SigningName {
	case "ec2":
		w.item = "item"
	case "iam", "sts":
		w.stamp = "2006-01-02T15:04:05Z" // as their published answers have it
	}
	return w
}

// emptyResults are IAM's operations with a result that holds nothing. The oracle finds new ones:
// the SDK's client doesn't do without them.
var emptyResults = map[string]bool{"UpdateRole": true, "PutAccountProperties": true}

// answer writes the document around an output. Sources: Smithy specification, awsQuery and
// ec2Query; IAM writes no result for an operation that has none, EC2 writes return=true.
func (w *xmlWriter) answer(a *API, op string, s *shape, v reflect.Value, requestID string) {
	w.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<" + op + `Response xmlns="`)
	w.text(a.Namespace)
	w.WriteString(`">`)
	switch {
	case a.Protocol == EC2:
		w.element("requestId", requestID)
		w.members(s, v)
		if len(s.fields) == 0 {
			w.element("return", "true")
		}
	default:
		if len(s.fields) > 0 || a.SigningName != "iam" || emptyResults[op] {
			w.WriteString("<" + op + "Result>")
			w.members(s, v)
			w.WriteString("</" + op + "Result>")
		}
		w.WriteString("<ResponseMetadata>")
		w.element("RequestId", requestID)
		w.WriteString("</ResponseMetadata>")
	}
	w.WriteString("</" + op + "Response>")
}

func (w *xmlWriter) members(s *shape, v reflect.Value) {
	for i := range s.fields {
		f := &s.fields[i]
		if fv := v.Field(f.index); !absent(fv) {
			w.value(f.out, cmp.Or(f.item, w.item), f.shape, fv)
		}
	}
}

// value writes one element; item names the elements of a list.
func (w *xmlWriter) value(name, item string, s *shape, v reflect.Value) {
	v = reflect.Indirect(v)
	w.WriteByte('<')
	w.WriteString(name)
	w.WriteByte('>')
	switch s.kind {
	case kindStruct:
		w.members(s, v)
	case kindList:
		for i := range v.Len() {
			w.value(item, w.item, s.elem, v.Index(i))
		}
	case kindMap:
		for _, k := range sortedKeys(v) {
			w.WriteString("<entry>")
			w.element("key", k)
			w.value("value", w.item, s.elem, v.MapIndex(reflect.ValueOf(k).Convert(v.Type().Key())))
			w.WriteString("</entry>")
		}
	case kindString:
		w.text(v.String())
	case kindBool:
		w.WriteString(strconv.FormatBool(v.Bool()))
	case kindInt:
		w.Write(strconv.AppendInt(w.AvailableBuffer(), v.Int(), 10))
	case kindFloat:
		w.Write(strconv.AppendFloat(w.AvailableBuffer(), v.Float(), 'g', -1, s.typ.Bits()))
	case kindTime:
		w.Write(v.Interface().(time.Time).UTC().AppendFormat(w.AvailableBuffer(), w.stamp))
	case kindBlob:
		w.Write(base64.StdEncoding.AppendEncode(w.AvailableBuffer(), v.Bytes()))
	default:
		panic(fmt.Sprintf("awswire: %s can't be encoded", s.typ))
	}
	w.WriteString("</")
	w.WriteString(name)
	w.WriteByte('>')
}

// element writes one element that holds text.
func (w *xmlWriter) element(name, text string) {
	w.WriteString("<" + name + ">")
	w.text(text)
	w.WriteString("</" + name + ">")
}

// text writes escaped text. What XML can't carry becomes U+FFFD.
func (w *xmlWriter) text(s string) {
	if plainXML(s) {
		w.WriteString(s)
		return
	}
	_ = xml.EscapeText(w, []byte(s)) // a Buffer doesn't fail
}

// Private

// plainXML says whether s needs no escaping: printable ASCII without markup.
func plainXML(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || strings.IndexByte(`&<>"'`, c) >= 0 {
			return false
		}
	}
	return true
}
