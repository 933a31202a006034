package awswire

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
)

// textInternal tells a caller of a failure of ours no more than where to look.
const textInternal = "The request could not be served because of an internal failure. The server's log names its cause under this request id."

// WriteError answers a request with err in the form that clients of p understand. Any error that
// is no *Error becomes an InternalFailure and tells nothing; logging it is the caller's part. The
// answer has r's request id, or a new one for a request that no Mux has seen.
func WriteError(w http.ResponseWriter, r *http.Request, p Protocol, err error) {
	writeError(w, r.Context(), p, "", err)
}

// Private

func writeOutput(w http.ResponseWriter, ctx context.Context, a *API, op string, out any) {
	o := a.ops[op]
	v := reflect.ValueOf(out)
	if !v.IsValid() || v.IsNil() {
		v = reflect.New(o.out)
	}
	if a.Protocol.JSON() {
		status := cmp.Or(a.Status[op], http.StatusOK)
		var body []byte
		if status != http.StatusNoContent {
			body = appendJSON(make([]byte, 0, 1024), o.outShape, v)
		}
		write(w, ctx, status, a.Protocol, body)
		return
	}
	x := newXMLWriter(a)
	x.answer(a, op, o.outShape, v.Elem(), RequestID(ctx))
	write(w, ctx, http.StatusOK, a.Protocol, x.Bytes())
}

func writeError(w http.ResponseWriter, ctx context.Context, p Protocol, namespace string, err error) {
	if RequestID(ctx) == "" {
		ctx, _ = withRequestID(ctx)
	}
	e := public(err)
	if p.JSON() {
		w.Header().Set("X-Amzn-Errortype", e.Code)
		members := [][2]string{{"__type", e.Code}, {"message", e.Message}}
		if p == RestJSON { // EFS's form. Source: EFS API reference, ErrorCode and Message of every error
			members = [][2]string{{"ErrorCode", e.Code}, {"Message", e.Message}}
		}
		for _, k := range slices.Sorted(maps.Keys(e.Members)) {
			members = append(members, [2]string{k, e.Members[k]})
		}
		b := []byte{'{'}
		for i, m := range members {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSONString(append(appendJSONString(b, m[0]), ':'), m[1])
		}
		write(w, ctx, e.status(), p, append(b, '}'))
		return
	}
	x := &xmlWriter{}
	if p == EC2 {
		x.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>")
		x.element("Code", e.Code)
		x.element("Message", e.Message)
		x.WriteString("</Error></Errors>")
		x.element("RequestID", RequestID(ctx))
		x.WriteString("</Response>")
		write(w, ctx, e.status(), p, x.Bytes())
		return
	}
	x.WriteString("<ErrorResponse")
	if namespace != "" {
		x.WriteString(` xmlns="`)
		x.text(namespace)
		x.WriteString(`"`)
	}
	x.WriteString("><Error>")
	side := "Sender"
	if e.status() >= http.StatusInternalServerError {
		side = "Receiver"
	}
	x.element("Type", side)
	x.element("Code", e.Code)
	x.element("Message", e.Message)
	x.WriteString("</Error>")
	x.element("RequestId", RequestID(ctx))
	x.WriteString("</ErrorResponse>")
	write(w, ctx, e.status(), p, x.Bytes())
}

// public is what the caller may see of err.
func public(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: "InternalFailure", Message: textInternal, Status: http.StatusInternalServerError, Err: err}
}

func write(w http.ResponseWriter, ctx context.Context, status int, p Protocol, body []byte) {
	h := w.Header()
	switch p {
	case JSON11:
		h.Set("Content-Type", "application/x-amz-json-1.1")
	case RestJSON:
		h.Set("Content-Type", "application/json")
	case EC2:
		h.Set("Content-Type", "text/xml;charset=UTF-8")
	default:
		h.Set("Content-Type", "text/xml")
	}
	if status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("X-Amzn-Requestid", RequestID(ctx))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may be gone; nothing is left to do
}
