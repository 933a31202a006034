package awswire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"time"
)

// defaultMaxBody is how large a request may be, in bytes, when its API says nothing. The largest
// that AWS documents for our services, ECR's layer parts left out, is PutLogEvents with 1 MiB,
// which escapes may make six times as long.
const defaultMaxBody = 8 << 20

// MuxOptions is what a Mux needs.
type MuxOptions struct {
	// Authenticate finds the caller of an operation and puts it into the context returned, which
	// comes from r.Context(). api is nil for a request of no known service, op may be empty or
	// unknown. An *Error is told to the caller, any other error is a failure of ours. Required.
	Authenticate func(r *http.Request, body []byte, api *API, op string) (context.Context, error)
	// Authorize decides whether the caller, in ctx, may have an operation done; in is the decoded
	// input. Its errors are told as Authenticate's are. Nil: every caller may do everything.
	Authorize func(ctx context.Context, api *API, op string, in any) error
	Log       *slog.Logger // nil: slog.Default
	// Observe is told of every request for an operation that is served: how it ended ("" or an error
	// code), and how long it took. Nil: nobody is.
	Observe func(api *API, op, code string, took time.Duration)
	// Explain makes an error of ours one that the caller may see and act on, such as a full disk;
	// nil for all others. Nil: there are none.
	Explain  func(err error) *Error
	Coverage string // where it's written which operations there are; for the 501's text
}

// A Mux serves the APIs added to it. It is an http.Handler; all of its paths are the same but those of REST services.
// A request passes these steps, and the first that fails answers it: size, authentication,
// operation, form of the input, members that must be there, authorization, handler.
type Mux struct {
	o       MuxOptions
	apis    []*API
	targets map[string]*API
}

// NewMux makes a Mux without APIs. It panics without Authenticate: nothing is served to everyone.
func NewMux(o MuxOptions) *Mux {
	if o.Authenticate == nil {
		panic("awswire: a Mux needs Authenticate")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Mux{o: o, targets: map[string]*API{}}
}

// Add serves an API, which must not change from here on. All are added before the first request.
// An API added twice, or without what its protocol needs, is a programming error and panics.
func (m *Mux) Add(a *API) {
	if m.named(a.SigningName) != nil || a.SigningName == "" {
		panic(fmt.Sprintf("awswire: API %q added twice, or without a name", a.SigningName))
	}
	switch a.Protocol {
	case JSON11:
		if a.Target == "" || m.targets[a.Target] != nil {
			panic("awswire: " + a.SigningName + " needs a target of its own")
		}
		m.targets[a.Target] = a
	case Query, EC2:
		if a.Version == "" || a.Namespace == "" {
			panic("awswire: " + a.SigningName + " needs a version and a namespace")
		}
	case RestJSON:
		if len(restRoutes(a.SigningName)) == 0 {
			panic("awswire: " + a.SigningName + " has no routes; is it among gen's services?")
		}
	default:
		panic("awswire: " + a.SigningName + " has no protocol")
	}
	a.prepare()
	m.apis = append(m.apis, a)
}

// Operations yields every operation that is served, in the order of Add, then of their names.
func (m *Mux) Operations() iter.Seq2[*API, string] {
	return func(yield func(*API, string) bool) {
		for _, a := range m.apis {
			for _, op := range a.Operations() {
				if !yield(a, op) {
					return
				}
			}
		}
	}
}

func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	ctx, id := withRequestID(r.Context())
	r = r.WithContext(ctx)
	rt, out, err := m.serve(w, r)
	if err != nil && m.o.Explain != nil {
		if e := m.o.Explain(err); e != nil {
			err = e
		}
	}
	log := m.o.Log.With("request_id", id, "api", rt.name(), "op", rt.op, "took", time.Since(start))
	if err == nil {
		err = m.answer(w, ctx, rt, out)
	}
	if m.o.Observe != nil && rt.api != nil && rt.api.ops[rt.op].run != nil {
		code := ""
		if err != nil {
			code = public(err).Code
		}
		m.o.Observe(rt.api, rt.op, code, time.Since(start))
	}
	if err == nil {
		log.Debug("request served")
		return
	}
	namespace := ""
	if rt.api != nil {
		namespace = rt.api.Namespace
	}
	writeError(w, ctx, rt.protocol, namespace, err)
	e := public(err)
	switch {
	case r.Context().Err() != nil:
		log.Debug("caller went away", "code", e.Code, "err", err)
	case e.status() >= http.StatusInternalServerError && e.status() != http.StatusNotImplemented:
		log.Error("request failed", "code", e.Code, "err", err)
	default:
		log.Debug("request refused", "code", e.Code, "err", err)
	}
}

// Private

// serve takes a request through all steps but the answer. A panic is a failure of ours like any
// other.
func (m *Mux) serve(w http.ResponseWriter, r *http.Request) (rt route, out any, err error) {
	rt.protocol = JSON11
	defer recoverAs(&err)
	body, err := m.body(w, r)
	if err != nil {
		rt.protocol = Query
		if r.Header.Get("X-Amz-Target") != "" {
			rt.protocol = JSON11
		}
		return rt, nil, err
	}
	rt = m.routeOf(r, body)
	ctx, err := m.o.Authenticate(r, body, rt.api, rt.op)
	if err != nil {
		return rt, nil, fmt.Errorf("authenticate: %w", err)
	}
	op, ok := rt.operation()
	if !ok {
		return rt, nil, m.refuse(r, rt)
	}
	in := reflect.New(op.in)
	if err := rt.decode(op, r.URL.RawQuery, body, in.Elem()); err != nil {
		return rt, nil, err
	}
	if m.o.Authorize != nil {
		if err := m.o.Authorize(ctx, rt.api, rt.op, in.Interface()); err != nil {
			return rt, nil, fmt.Errorf("authorize: %w", err)
		}
	}
	out, err = op.run(ctx, in.Interface())
	return rt, out, err
}

// body reads a request's body up to the limit of its API.
func (m *Mux) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	limit := int64(defaultMaxBody)
	if a := m.routeOf(r, nil).api; a != nil && a.MaxBody > 0 {
		limit = a.MaxBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, &Error{Code: "RequestEntityTooLarge", Status: http.StatusRequestEntityTooLarge,
			Message: fmt.Sprintf("The request is larger than %d bytes.", limit)}
	}
	if err != nil {
		return nil, &Error{Code: "RequestTimeout", Status: http.StatusRequestTimeout,
			Message: "The request's body ended too early.", Err: err}
	}
	return body, nil
}

func (rt route) name() string {
	if rt.api == nil {
		return ""
	}
	return rt.api.SigningName
}

// decode fills in and checks it.
func (rt route) decode(op operation, query string, body []byte, in reflect.Value) error {
	c := &checker{service: rt.api.SigningName, op: rt.op}
	var err error
	switch rt.api.Protocol {
	case JSON11:
		err = decodeJSON(body, op.inShape, in, c)
	case RestJSON:
		if err = decodeJSON(body, op.inShape, in, c); err == nil {
			err = decodeLine(rt.labels, query, op.inShape, in, c)
		}
	default:
		err = decodeForm(rt.form, rt.api.Protocol, op.inShape, in, c)
	}
	if err != nil {
		return err
	}
	c.requiredIn(op.inShape, in)
	return c.err()
}

func (m *Mux) answer(w http.ResponseWriter, ctx context.Context, rt route, out any) (err error) {
	defer recoverAs(&err)
	writeOutput(w, ctx, rt.api, rt.op, out)
	return nil
}

func recoverAs(err *error) {
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		panic(p)
	default:
		*err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}
