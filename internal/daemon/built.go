package daemon

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/build"
	"github.com/lotse-project/lotse/internal/runtime/ctrd"
)

// builtKeep is how long the result of a build waits for its adoption.
const builtKeep = time.Hour

// recordPrefix begins the names of the image records by which builds hold their results (build.HandlerOptions).
const recordPrefix = "lotse.build/"

// built remembers who built what until it is adopted: only who built an image may give it to a
// repository without having its bytes. A restart forgets it, which costs one more build.
type built struct {
	containerd *ctrd.Supervisor

	mu      sync.Mutex
	results map[builtKey]result
}

type builtKey struct {
	scope  arn.Scope
	digest string
}

type result struct {
	record string // empty: a repository has it
	at     time.Time
}

func newBuilt(c *ctrd.Supervisor) *built {
	return &built{containerd: c, results: map[builtKey]result{}}
}

// note is build.HandlerOptions.Built.
func (b *built) note(ctx context.Context, img build.Image) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.results[builtKey{scopeOf(ctx), img.Digest}] = result{img.Record, time.Now()}
	return nil
}

// hold is build.HandlerOptions.Hold.
func (b *built) hold(ctx context.Context, record string, img build.Image) (bool, error) {
	return b.containerd.HoldImage(ctx, record, ocispec.Descriptor{MediaType: img.MediaType, Digest: digest.Digest(img.Digest), Size: img.Size})
}

// adopt calls do if the caller built the digest, and lets go of the build's own hold then.
func (b *built) adopt(ctx context.Context, dgst string, do func() error) error {
	key := builtKey{scopeOf(ctx), dgst}
	b.mu.Lock()
	r, ok := b.results[key]
	b.mu.Unlock()
	if !ok {
		return errNotBuilt
	}
	if err := do(); err != nil {
		return err
	}
	b.mu.Lock()
	adopted := r.record
	r.record = "" // the repository holds it now; other repositories may have it, too
	b.results[key] = r
	b.mu.Unlock()
	if adopted == "" {
		return nil
	}
	return b.containerd.DropImage(ctx, adopted)
}

// run lets go of what nobody adopts, also of what an earlier server knew of.
func (b *built) run(ctx context.Context) error {
	for {
		if b.containerd.Ready(ctx) == nil {
			_ = b.sweep(ctx) // again in a while
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(builtKeep / 4):
		}
	}
}

// Private

var errNotBuilt = errors.New("there is no such build of yours on this server: build it again, or push it")

func (b *built) sweep(ctx context.Context) error {
	names, err := b.containerd.Images(ctx, recordPrefix)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	b.mu.Lock()
	for k, r := range b.results {
		if time.Since(r.at) > builtKeep {
			delete(b.results, k)
			continue
		}
		wanted[r.record] = true
	}
	b.mu.Unlock()
	for _, n := range names {
		if !wanted[n] {
			if err := b.containerd.DropImage(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func scopeOf(ctx context.Context) arn.Scope {
	c := awsauth.CallerFrom(ctx)
	return arn.Scope{Account: c.Account, Region: c.Region}
}
