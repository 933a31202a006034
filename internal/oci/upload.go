package oci

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// uploads are the unfinished ones that this process has open. They stay open between requests, since
// opening one again means hashing again what has come so far.
type uploads struct {
	mu   sync.Mutex
	open map[string]*upload // by id
	// empty are those of which nothing has come, with their repositories. They are nowhere else: most blobs come whole with
	// the next request, and then neither a record of the upload nor its removal has to reach the disk. A restart forgets
	// them, and clients begin again.
	empty map[string]string
}

type upload struct {
	sync.Mutex           // one request at a time
	w          Upload    // nil: not open
	used       time.Time // by the last request
	unrecorded bool      // content comes of which no record tells, for it comes whole
}

// offset is how many bytes have come.
func (u *upload) offset() int64 {
	if u.w == nil {
		return 0
	}
	return u.w.Offset()
}

// acquire locks an upload, open or not; it tells whether it could, or somebody is busy with it.
func (us *uploads) acquire(id string) (*upload, bool) {
	us.mu.Lock()
	defer us.mu.Unlock()
	u := us.open[id]
	if u == nil {
		u = &upload{}
		us.open[id] = u
	}
	return u, u.TryLock()
}

func (us *uploads) drop(id string) {
	us.mu.Lock()
	defer us.mu.Unlock()
	delete(us.open, id)
	delete(us.empty, id)
}

// isEmpty tells an upload of a repository of which nothing has come.
func (us *uploads) isEmpty(repo, id string) bool {
	us.mu.Lock()
	defer us.mu.Unlock()
	return us.empty[id] == repo
}

// Private

func (g *Registry) beginUpload(c *call) error {
	q := c.r.URL.Query()
	if m := q.Get("mount"); m != "" {
		if d, err := digest.Parse(m); err == nil {
			done, err := g.mount(c, d, q.Get("from"))
			if err != nil {
				return err
			}
			if done {
				c.created(d)
				return nil
			}
		}
	}
	ctx := c.r.Context()
	if err := g.roomFor(ctx, c.repo, 1); err != nil {
		return err
	}
	id, u := g.emptyUpload(c.repo)
	defer u.Unlock()
	if q.Get("digest") != "" {
		return g.finish(c, id, u)
	}
	c.progress(id, u, http.StatusAccepted)
	return nil
}

// emptyUpload returns a locked upload.
func (g *Registry) emptyUpload(repo string) (id string, u *upload) {
	rid := make([]byte, 16)
	_, _ = rand.Read(rid)
	id = hex.EncodeToString(rid)
	u, _ = g.uploads.acquire(id) // nobody else knows the id
	u.used = g.o.Now()
	g.uploads.mu.Lock()
	defer g.uploads.mu.Unlock()
	g.uploads.empty[id] = repo
	return id, u
}

// newUpload returns a locked upload that survives a restart.
func (g *Registry) newUpload(ctx context.Context, repo string) (id string, u *upload, err error) {
	id, u = g.emptyUpload(repo)
	if err := g.begin(ctx, repo, id, u, true); err != nil {
		u.Unlock()
		return "", nil, err
	}
	return id, u, nil
}

// begin makes an empty upload ready for content. Its record comes before its content, so that content without a record
// is always garbage; whoever has it in one piece can do without.
func (g *Registry) begin(ctx context.Context, repo, id string, u *upload, record bool) (err error) {
	if !g.uploads.isEmpty(repo, id) {
		return nil
	}
	if record {
		if err := g.o.Records.PutUpload(ctx, repo, id); err != nil {
			return err
		}
		g.o.Fault("registry.begin:recorded")
	}
	if u.w, err = g.o.Blobs.Begin(ctx, repo, id); err != nil {
		return errors.Join(err, g.abandon(ctx, repo, id, u))
	}
	u.unrecorded = !record
	g.uploads.mu.Lock()
	delete(g.uploads.empty, id)
	g.uploads.mu.Unlock()
	g.o.Fault("registry.begin:after")
	return nil
}

// findUpload returns the upload of a repository, locked and open.
func (g *Registry) findUpload(ctx context.Context, repo, id string) (*upload, error) {
	if g.uploads.isEmpty(repo, id) {
		u, ok := g.uploads.acquire(id)
		if !ok {
			return nil, errBusy
		}
		if u.used = g.o.Now(); u.w != nil || g.uploads.isEmpty(repo, id) {
			return u, nil
		}
		u.Unlock()
	}
	err := g.o.Records.Upload(ctx, repo, id)
	if errors.Is(err, ErrNotFound) {
		return nil, errUploadUnknown(id)
	}
	if err != nil {
		return nil, err
	}
	u, ok := g.uploads.acquire(id)
	if !ok {
		return nil, errBusy
	}
	u.used = g.o.Now()
	if u.w != nil {
		return u, nil
	}
	u.w, err = g.o.Blobs.Resume(ctx, repo, id)
	if err == nil {
		return u, nil
	}
	u.Unlock()
	g.uploads.drop(id)
	if errors.Is(err, ErrNotFound) {
		_ = g.o.Records.DeleteUpload(ctx, repo, id)
		return nil, errUploadUnknown(id)
	}
	return nil, err
}

func (g *Registry) uploadStatus(c *call) error {
	u, err := g.findUpload(c.r.Context(), c.repo, c.arg)
	if err != nil {
		return err
	}
	defer u.Unlock()
	c.progress(c.arg, u, http.StatusNoContent)
	return nil
}

func (g *Registry) patchUpload(c *call) error {
	u, err := g.findUpload(c.r.Context(), c.repo, c.arg)
	if err != nil {
		return err
	}
	defer u.Unlock()
	if err := g.begin(c.r.Context(), c.repo, c.arg, u, true); err != nil {
		return err
	}
	if err := g.receive(c, c.arg, u); err != nil {
		return err
	}
	c.progress(c.arg, u, http.StatusAccepted)
	return nil
}

func (g *Registry) putUpload(c *call) error {
	u, err := g.findUpload(c.r.Context(), c.repo, c.arg)
	if err != nil {
		return err
	}
	defer u.Unlock()
	return g.finish(c, c.arg, u)
}

func (g *Registry) cancelUpload(c *call) error {
	u, err := g.findUpload(c.r.Context(), c.repo, c.arg)
	if err != nil {
		return err
	}
	defer u.Unlock()
	if err := g.abandon(c.r.Context(), c.repo, c.arg, u); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// abandon ends an upload without result. The upload is locked.
func (g *Registry) abandon(ctx context.Context, repo, id string, u *upload) error {
	ctx = context.WithoutCancel(ctx)
	if u.w != nil {
		_ = u.w.Close()
		u.w = nil
	}
	u.unrecorded = false
	g.uploads.drop(id)
	g.o.Fault("registry.abandon:before")
	if err := g.o.Records.DeleteUpload(ctx, repo, id); err != nil {
		return err
	}
	g.o.Fault("registry.abandon:recorded")
	if err := g.o.Blobs.Abort(ctx, id); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

var rangeRE = lazyregexp.New(`^(\d{1,18})-(\d{1,18})$`)

// receive appends the request's body to the upload.
func (g *Registry) receive(c *call, id string, u *upload) error {
	if cr := c.r.Header.Get("Content-Range"); cr != "" {
		m := rangeRE.FindStringSubmatch(strings.TrimPrefix(cr, "bytes "))
		if m == nil {
			return &Error{Status: 400, Code: "BLOB_UPLOAD_INVALID", Message: fmt.Sprintf("Content-Range %q is not of the form FIRST-LAST", cr)}
		}
		from, _ := strconv.ParseInt(m[1], 10, 64)
		to, _ := strconv.ParseInt(m[2], 10, 64)
		if from != u.offset() || (c.r.ContentLength >= 0 && to-from+1 != c.r.ContentLength) {
			c.progressHeader(id, u)
			return &Error{Status: 416, Code: "RANGE_INVALID", Message: fmt.Sprintf("the upload has %d bytes; the chunk says that it is %s", u.offset(), cr)}
		}
	}
	return g.appendTo(c.r.Context(), c.repo, id, u, c.r.Body, c.r.ContentLength)
}

// roomStep is how many bytes come before it is looked again whether there is room: others push, too.
const roomStep = 64 << 20

// appendTo takes the next bytes of an upload; size is how many there are, -1 if nobody knows. The upload is locked.
func (g *Registry) appendTo(ctx context.Context, repo, id string, u *upload, r io.Reader, size int64) error {
	for {
		left, refusal, err := g.room(ctx, repo, u.w.Offset())
		if err != nil {
			return err
		}
		if size > left {
			return refusal
		}
		step := min(left, roomStep)
		n, err := io.Copy(u.w, io.LimitReader(r, step))
		u.used = g.o.Now()
		if err == nil && n == left && another(r) {
			return errors.Join(refusal, g.abandon(ctx, repo, id, u))
		}
		if err != nil {
			// What came counts; the next request opens the upload anew and sees how much it was.
			_ = u.w.Close()
			u.w = nil
			return fmt.Errorf("upload %s: %w", id, err)
		}
		if n < step || n == left {
			break
		}
		size -= n
	}
	g.o.Fault("registry.append:after")
	return nil
}

// another tells whether r has more.
func another(r io.Reader) bool {
	n, _ := io.ReadFull(r, make([]byte, 1))
	return n > 0
}

// finish takes the last bytes and makes a blob of the upload.
func (g *Registry) finish(c *call, id string, u *upload) error {
	d, err := digest.Parse(c.r.URL.Query().Get("digest"))
	if err != nil {
		return errDigest("%q is not a digest", c.r.URL.Query().Get("digest"))
	}
	if err := g.begin(c.r.Context(), c.repo, id, u, false); err != nil {
		return err
	}
	if err := g.receive(c, id, u); err != nil {
		return errors.Join(err, g.keep(c.r.Context(), c.repo, id, u))
	}
	if _, err = g.commitUpload(c.r.Context(), c.repo, id, u, d); err != nil {
		return err
	}
	c.created(d)
	return nil
}

// keep records an upload that has not come whole after all.
func (g *Registry) keep(ctx context.Context, repo, id string, u *upload) error {
	if !u.unrecorded {
		return nil
	}
	u.unrecorded = false
	return g.o.Records.PutUpload(context.WithoutCancel(ctx), repo, id)
}

// commitUpload holds and records what was uploaded. The upload is locked; afterwards it is gone.
func (g *Registry) commitUpload(ctx context.Context, repo, id string, u *upload, d digest.Digest) (Blob, error) {
	b := Blob{Digest: d, Size: u.w.Offset(), Expires: g.o.Now().Add(g.o.BlobTTL)}
	lock := g.locks.of(repo)
	lock.RLock()
	defer lock.RUnlock()
	g.o.Fault("registry.commit:before")
	if err := u.w.Commit(ctx, d); err != nil {
		aerr := g.abandon(ctx, repo, id, u)
		if errors.Is(err, ErrDigestMismatch) {
			return b, errors.Join(errDigest("%v", err), ErrDigestMismatch, aerr)
		}
		return b, errors.Join(err, aerr)
	}
	u.w = nil
	g.uploads.drop(id)
	g.o.Fault("registry.commit:held")
	err := g.o.Records.Commit(ctx, repo, Change{Blobs: []Blob{b}, Upload: id})
	g.o.Fault("registry.commit:after")
	return b, err
}

// room is Options.Room, and what MaxBlob leaves.
func (g *Registry) room(ctx context.Context, repo string, have int64) (left int64, refusal *Error, err error) {
	left, refusal = g.o.MaxBlob-have, errSize("the blob", g.o.MaxBlob)
	if g.o.Room == nil {
		return left, refusal, nil
	}
	n, r, err := g.o.Room(ctx, repo, have)
	if err == nil && n < left {
		return max(n, 0), r, nil
	}
	return left, refusal, err
}

// roomFor refuses so many bytes for which there is no room.
func (g *Registry) roomFor(ctx context.Context, repo string, size int64) error {
	left, refusal, err := g.room(ctx, repo, 0)
	if err == nil && left < size {
		return refusal
	}
	return err
}

func (c *call) progressHeader(id string, u *upload) {
	h := c.w.Header()
	h.Set("Location", "/v2/"+c.name+"/blobs/uploads/"+id)
	h.Set("Range", fmt.Sprintf("0-%d", max(u.offset()-1, 0)))
	h.Set("Docker-Upload-UUID", id)
}

func (c *call) progress(id string, u *upload, status int) {
	c.progressHeader(id, u)
	c.w.WriteHeader(status)
}
