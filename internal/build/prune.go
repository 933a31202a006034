package build

import (
	"context"
	"time"

	bkclient "github.com/moby/buildkit/client"
)

// PruneOptions say what of the build cache goes. The zero value removes what can be made again, but for cache mounts
// and other builds' contexts.
type PruneOptions struct {
	All       bool          // also cache mounts, contexts, and what belongs to images
	Keep      int64         // bytes that may stay, the used last; 0: nothing
	UnusedFor time.Duration // only what wasn't used for this long; 0: all
}

// Pruned is what went.
type Pruned struct {
	Records int
	Bytes   int64
}

// Prune removes cache that no build uses now. It happens by itself, too, within a minute of each build, as far as the
// cache is greater than DaemonOptions.Cache. Images that repositories or tasks hold stay.
func (d *Daemon) Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	var p Pruned
	address, release, err := d.Acquire(ctx)
	if err != nil {
		return p, err
	}
	defer release()
	c, err := bkclient.New(ctx, address)
	if err != nil {
		return p, err
	}
	defer c.Close()
	opts := []bkclient.PruneOption{bkclient.WithKeepOpt(o.UnusedFor, 0, o.Keep, 0)}
	if o.All {
		opts = append(opts, bkclient.PruneAll)
	}
	gone, counted := make(chan bkclient.UsageInfo), make(chan struct{})
	go func() {
		defer close(counted)
		for u := range gone {
			p.Records++
			p.Bytes += u.Size
		}
	}()
	err = c.Prune(ctx, gone, opts...)
	close(gone)
	<-counted
	return p, err
}
