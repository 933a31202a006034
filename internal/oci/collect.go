package oci

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// idleUpload is how long an upload stays open without a request. After that its next request opens it
// again, which costs hashing what came so far.
const idleUpload = 10 * time.Minute

// pushPatience is how long a client may take from a layer to the manifest that names it.
const pushPatience = 15 * time.Minute

// Wake makes the collector look at once, for instance because an image was deleted.
func (g *Registry) Wake() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// Run collects until ctx ends: at once, when woken, and from time to time.
func (g *Registry) Run(ctx context.Context) error {
	t := time.NewTicker(g.o.CollectEvery)
	defer t.Stop()
	for {
		if err := g.Collect(ctx); err != nil && ctx.Err() == nil {
			g.o.Log.Error("registry: collect", "err", err)
		}
		select {
		case <-ctx.Done():
			g.uploads.closeAll()
			return nil
		case <-t.C:
		case <-g.wake:
		}
	}
}

// Collect ends expired uploads, deletes the records of blobs that no manifest wants, and releases what is
// held without a record. It looks at the records alone, so it may run at any time, also after a crash.
func (g *Registry) Collect(ctx context.Context) error {
	return g.collect(ctx, g.o.BlobTTL)
}

// CollectNow is Collect that waits for pushes only a while: blobs that no manifest wants go when nobody asked for them
// in the last minutes.
func (g *Registry) CollectNow(ctx context.Context) error {
	return g.collect(ctx, min(pushPatience, g.o.BlobTTL))
}

// Private

// collect deletes blobs that no manifest wants and that nobody asked for in the last ttl.
func (g *Registry) collect(ctx context.Context, ttl time.Duration) error {
	g.o.Fault("registry.collect:before")
	now := g.o.Now()
	var errs []error
	if err := g.o.Records.Expire(ctx, now.Add(g.o.BlobTTL-ttl)); err != nil {
		errs = append(errs, fmt.Errorf("expire blobs: %w", err))
	}
	g.o.Fault("registry.collect:expired")
	if err := g.collectUploads(ctx, now); err != nil {
		errs = append(errs, fmt.Errorf("expire uploads: %w", err))
	}
	holds, err := g.o.Blobs.Holds(ctx)
	if err != nil {
		errs = append(errs, fmt.Errorf("list holds: %w", err))
	}
	for repo, ds := range holds {
		if err := g.collectHolds(ctx, repo, ds); err != nil {
			errs = append(errs, fmt.Errorf("release holds of %s: %w", repo, err))
		}
	}
	return errors.Join(errs...)
}

// collectHolds releases what the repository holds and has no record of.
func (g *Registry) collectHolds(ctx context.Context, repo string, ds []digest.Digest) error {
	gone, err := g.o.Records.Unrecorded(ctx, repo, ds)
	if err != nil || (len(gone) == 0 && len(ds) > 0) {
		return err
	}
	lock := g.locks.of(repo)
	lock.Lock()
	defer lock.Unlock()
	// Look again: a push may have come before the lock.
	if gone, err = g.o.Records.Unrecorded(ctx, repo, gone); err != nil {
		return err
	}
	for _, d := range gone {
		g.o.Fault("registry.release:before")
		if err := g.o.Blobs.Release(ctx, repo, d); err != nil {
			return err
		}
	}
	g.o.Fault("registry.release:after")
	var e *Error
	if len(gone) == len(ds) && errors.As(g.o.Records.Exists(ctx, repo, Pull), &e) {
		return g.o.Blobs.Forget(ctx, repo)
	}
	return nil
}

func (g *Registry) collectUploads(ctx context.Context, now time.Time) error {
	// Content first: an upload that begins in between has its record before its content.
	content, err := g.o.Blobs.Uploads(ctx)
	if err != nil {
		return err
	}
	records, err := g.o.Records.Uploads(ctx)
	if err != nil {
		return err
	}
	repos := map[string]string{}
	for _, r := range records {
		repos[r.ID] = r.Repo
	}
	var errs []error
	there := map[string]bool{}
	for _, u := range content {
		there[u.ID] = true
		repo, recorded := repos[u.ID]
		if recorded && now.Sub(u.Updated) < g.o.UploadTTL {
			continue
		}
		errs = append(errs, g.endUpload(ctx, repo, u.ID))
	}
	for _, r := range records {
		if !there[r.ID] && now.Sub(r.At) >= g.o.UploadTTL {
			errs = append(errs, g.o.Records.DeleteUpload(ctx, r.Repo, r.ID))
		}
	}
	g.uploads.closeIdle(now.Add(-idleUpload), now.Add(-g.o.UploadTTL))
	return errors.Join(errs...)
}

// endUpload aborts an upload that no request is busy with.
func (g *Registry) endUpload(ctx context.Context, repo, id string) error {
	u, ok := g.uploads.acquire(id)
	if !ok {
		return nil
	}
	defer u.Unlock()
	return g.abandon(ctx, repo, id, u)
}

// closeIdle closes those not used lately, and forgets empty ones that expired. The others can be resumed.
func (us *uploads) closeIdle(before, expired time.Time) {
	us.mu.Lock()
	defer us.mu.Unlock()
	for id, u := range us.open {
		if !u.TryLock() {
			continue
		}
		if _, empty := us.empty[id]; u.used.Before(expired) || !empty && u.used.Before(before) {
			delete(us.empty, id)
			if u.w != nil {
				_ = u.w.Close()
				u.w = nil
			}
			delete(us.open, id)
		}
		u.Unlock()
	}
}

// closeAll closes all uploads that no request is busy with.
func (us *uploads) closeAll() { us.closeIdle(time.Unix(1<<40, 0), time.Time{}) }
