package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"
)

// What a BlobStore or Records return to be understood by the registry.
var (
	ErrNotFound       = errors.New("not found")
	ErrDigestMismatch = errors.New("content does not have the digest")
)

// An Error is a refusal that the client sees: {"errors":[{"code","message"}]}.
type Error struct {
	Status        int    // HTTP
	Code, Message string // Code "": the message alone is sent, as plain text
	Header        http.Header
}

func (e *Error) Error() string {
	if e.Code == "" {
		return e.Message
	}
	return e.Code + ": " + e.Message
}

var (
	errNoPath          = &Error{Status: 404, Code: "UNSUPPORTED", Message: "the registry has no such path"}
	errMethod          = &Error{Status: 405, Code: "UNSUPPORTED", Message: "The operation is unsupported."}
	errManifestUnknown = &Error{Status: 404, Code: "MANIFEST_UNKNOWN", Message: "Requested image not found"}
	errMirror          = &Error{Status: 405, Code: "UNSUPPORTED", Message: "images below " + MirrorPrefix + " are imported (lotse image import), not pushed"}
	errBusy            = &Error{Status: 409, Code: "BLOB_UPLOAD_INVALID", Message: "another request is writing to this upload"}
)

// ErrFull refuses what there is no room for on the disk.
var ErrFull = &Error{Status: http.StatusInsufficientStorage, Code: "DENIED", Message: "no space left on the registry's disk: delete images (aws ecr batch-delete-image), free what nothing needs (lotse image gc), or make the disk larger"}

func errName(name string) *Error {
	return &Error{Status: 400, Code: "NAME_INVALID", Message: fmt.Sprintf("%q is not a repository name", name)}
}

func errDigest(format string, a ...any) *Error {
	return &Error{Status: 400, Code: "DIGEST_INVALID", Message: fmt.Sprintf(format, a...)}
}

func errTag(tag string) *Error {
	return &Error{Status: 400, Code: "TAG_INVALID", Message: fmt.Sprintf("%q is not a tag: 1 to 128 letters, digits, '_', '.', '-', the first neither '.' nor '-'", tag)}
}

func errManifest(format string, a ...any) *Error {
	return &Error{Status: 400, Code: "MANIFEST_INVALID", Message: fmt.Sprintf(format, a...)}
}

func errBlobUnknown(d string) *Error {
	return &Error{Status: 404, Code: "BLOB_UNKNOWN", Message: "the repository has no blob " + d}
}

// ErrMissingChild refuses a manifest that names what its repository hasn't got.
func ErrMissingChild(kind, d string) *Error {
	return &Error{Status: 404, Code: "MANIFEST_BLOB_UNKNOWN", Message: fmt.Sprintf("the manifest names %s %s, which the repository has not got: push it first", kind, d)}
}

func errUploadUnknown(id string) *Error {
	return &Error{Status: 404, Code: "BLOB_UPLOAD_UNKNOWN", Message: fmt.Sprintf("there is no upload %q: it has ended or expired", id)}
}

func errSize(what string, limit int64) *Error {
	return &Error{Status: 413, Code: "SIZE_INVALID", Message: fmt.Sprintf("%s is larger than %d bytes", what, limit)}
}

// fail sends err. What isn't an *Error is logged and not shown.
func (g *Registry) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, syscall.ENOSPC):
		e = ErrFull
		g.o.Log.Error("registry: disk full", "method", r.Method, "path", r.URL.Path, "err", err)
	case r.Context().Err() != nil:
		return // nobody listens
	default:
		e = &Error{Status: 500, Code: "UNKNOWN", Message: "internal error; the server's log has the cause"}
		g.o.Log.Error("registry", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	for k, v := range e.Header {
		w.Header()[k] = v
	}
	if e.Code == "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(e.Status)
		_, _ = w.Write([]byte(e.Message))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	_ = json.NewEncoder(w).Encode(map[string][]entry{"errors": {{e.Code, e.Message}}})
}

// ignoreWrite drops the error of writing a response: the client has gone, and nobody can be told.
func ignoreWrite(error) error { return nil }
