package target

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/store"
)

// remembered is how many snapshots a status can be about. The balancer has the newest or, while
// one is on its way, the one before.
const remembered = 4

// resume takes up where a former server stopped: with the snapshot it saved.
func (c *Controller) resume() {
	s, err := lbconfig.Load(c.o.Path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.o.Log.Warn("the balancer's saved snapshot can't be read; it is written anew", "err", err)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent, c.highest = []lbconfig.Snapshot{*s}, s.Rev
}

// pushLoop gives the balancer a snapshot whenever the records ask for another one.
func (c *Controller) pushLoop(ctx context.Context) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	c.wake()
	pause := minPause
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.poke:
		}
		err := c.push(ctx)
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != failing { // once for each trouble, and once for its end
			failing = err != nil
			if failing {
				c.o.Log.Warn("the balancer is not up to date", "err", err)
			} else {
				c.o.Log.Info("the balancer is up to date again")
			}
		}
		if err == nil {
			pause = minPause
			continue
		}
		sleep(ctx, pause)
		pause = min(2*pause, maxPause)
		c.wake()
	}
}

// push takes one picture of the records, and puts it if the balancer has another one.
func (c *Controller) push(ctx context.Context) error {
	var s lbconfig.Snapshot
	var vpcs []vpc
	err := c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		r, err := load(tx)
		s, vpcs = snapshot(r, settings{c.o.Netns, c.o.Front, c.o.StrictTiming}), r.vpcs()
		return err
	})
	if err != nil {
		return fmt.Errorf("read the records of load balancers: %w", err)
	}
	s, last, fresh, ok := c.number(s)
	if ok {
		return nil
	}
	var trouble error // of one VPC must not stop the others
	if fresh {
		trouble = c.network(ctx, vpcs, s, last)
		c.o.Fault("target.save:before")
		if err := lbconfig.Save(c.o.Path, s); err != nil {
			return err
		}
		c.o.Fault("target.save:after")
		c.remember(s)
	}
	st, err := c.o.Client.Put(ctx, s)
	if err == nil {
		c.o.Fault("target.push:after")
		c.heard(st.Rev)
		if st.Rev != s.Rev {
			err = fmt.Errorf("the balancer took snapshot %d and says that it has %d", s.Rev, st.Rev)
		}
	}
	return errors.Join(trouble, err)
}

// number gives a snapshot its Rev: the last one's if it says the same. ok: the balancer has it.
func (c *Controller) number(s lbconfig.Snapshot) (_, last lbconfig.Snapshot, fresh, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) > 0 {
		last = c.sent[len(c.sent)-1]
		if same(s, last) && c.highest <= last.Rev {
			return last, last, false, c.inForce == last.Rev
		}
	}
	s.Rev = c.highest + 1
	return s, last, true, false
}

// remember notes a snapshot that is about to be put: a status may speak of it.
func (c *Controller) remember(s lbconfig.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, s)
	c.sent = slices.Clone(c.sent[max(0, len(c.sent)-remembered):])
	c.highest = s.Rev
}

// heard notes which snapshot the balancer has, and looks again unless it is the newest.
func (c *Controller) heard(rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inForce, c.highest = rev, max(c.highest, rev)
	if n := len(c.sent); n == 0 || c.sent[n-1].Rev != rev {
		c.wake()
	}
}

// network has the VPCs of balancers made ready whose addresses are new.
func (c *Controller) network(ctx context.Context, vpcs []vpc, s, last lbconfig.Snapshot) error {
	if c.o.Apply == nil {
		return nil
	}
	had := map[string][]byte{}
	for _, b := range last.Balancers {
		had[b.ARN], _ = json.Marshal(b.ENIs)
	}
	fresh := map[vpc]bool{}
	for i, b := range s.Balancers {
		if enis, _ := json.Marshal(b.ENIs); !bytes.Equal(had[b.ARN], enis) {
			fresh[vpcs[i]] = true
		}
	}
	var errs []error
	for v := range fresh {
		if err := c.o.Apply(ctx, v.scope, v.id); err != nil {
			errs = append(errs, fmt.Errorf("network of %s: %w", v.id, err))
		}
	}
	return errors.Join(errs...)
}

// same compares snapshots but for their Rev. One may have been read from its file.
func same(a, b lbconfig.Snapshot) bool {
	a.Rev, b.Rev = 0, 0
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}
