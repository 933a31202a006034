package ecr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lotse-project/lotse/internal/lifecycle"
	"github.com/lotse-project/lotse/internal/segment"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	// LifecycleGroup is the log group that tells what lifecycle policies have expired; a stream for each repository.
	LifecycleGroup = "/lotse/ecr/lifecycle"

	// lifecycleEvery is the time between two evaluations of a policy: AWS promises that an image goes within 24 hours.
	lifecycleEvery = time.Hour
	// lifecycleLook is how often it is seen whether that time is over.
	lifecycleLook = time.Minute
	// eventImages is how many images an event tells of. Source: ECR user guide, logging: 10 and more are several events.
	eventImages = 10
)

// Private

// expireImages evaluates lifecycle policies that are due, until ctx ends. When they were evaluated last is in the
// store, so that it doesn't matter how often the server starts.
func (s *Service) expireImages(ctx context.Context) error {
	t := time.NewTicker(lifecycleLook)
	defer t.Stop()
	for {
		if err := s.evaluateDue(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Error("lifecycle policies", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-s.evaluate:
		}
	}
}

// evaluateDue evaluates the policies that are new, or weren't evaluated for lifecycleEvery. One repository's failure
// doesn't keep the others.
func (s *Service) evaluateDue(ctx context.Context) error {
	var due []state.Repository
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.Repositories.List(tx, "") {
			if err != nil {
				return err
			}
			if o.Val.Lifecycle == "" {
				continue
			}
			run, err := state.LifecycleRuns.Get(tx, o.Key)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if !run.Val.Of.Equal(o.Val.LifecycleAt) || s.o.Now().Sub(run.Val.At) >= lifecycleEvery {
				due = append(due, o.Val)
			}
		}
		return nil
	})
	for _, r := range due {
		if one := s.evaluatePolicy(ctx, r.Key()); one != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", r.ARN(), one))
		}
	}
	return err
}

// evaluatePolicy expires images of a repository until its policy finds none: with an index gone, its images may go.
func (s *Service) evaluatePolicy(ctx context.Context, repo string) error {
	for {
		var r state.Repository
		var gone []state.LifecycleExpiry
		var changes []Change
		err := s.o.DB.Update(ctx, func(tx *store.WriteTx) (err error) {
			r, gone, changes, err = expire(tx, repo, s.o.Now())
			return err
		})
		if err != nil || len(gone) == 0 {
			return err
		}
		s.registry.Wake()
		for _, c := range changes {
			s.o.Changed(c)
		}
		if err := s.explain(ctx, r, gone); err != nil {
			s.o.Log.Warn("lifecycle policy: write its log", "repository", r.ARN(), "err", err)
		}
	}
}

// expire deletes what a repository's policy expires now, with what refers to it, and notes the evaluation.
func expire(tx *store.WriteTx, repo string, now time.Time) (r state.Repository, gone []state.LifecycleExpiry, changes []Change, err error) {
	o, err := state.Repositories.Get(tx, repo)
	if errors.Is(err, store.ErrNotFound) || err == nil && o.Val.Lifecycle == "" {
		return r, nil, nil, nil // it went while we were on the way
	}
	if err != nil {
		return r, nil, nil, err
	}
	p, err := lifecycle.Parse(o.Val.Lifecycle)
	if err != nil {
		return r, nil, nil, err
	}
	c, err := contentsOf(tx, o.Val)
	if err != nil {
		return r, nil, nil, err
	}
	gone = c.expiries(p, now)
	for _, e := range gone {
		for _, d := range append(c.referrers(e.Digest), e.Digest) {
			if _, there := c.images[d]; !there {
				continue
			}
			if _, err := dropImage(tx, repo, d); err != nil {
				return r, nil, nil, err
			}
			delete(c.images, d)
			changes = append(changes, Change{Repository: repo, Digest: d, Deleted: true})
		}
	}
	return o.Val, gone, changes, put(tx, state.LifecycleRuns, repo, state.LifecycleRun{At: now, Of: o.Val.LifecycleAt})
}

// expiries are the images that a policy expires. What refers to an image that is there (a signature, an SBOM) is not
// judged by itself: it goes with that image. Source: ECR user guide, lifecycle policies, reference artifacts.
func (c *contents) expiries(p lifecycle.Policy, now time.Time) []state.LifecycleExpiry {
	held := c.held()
	var images []lifecycle.Image
	for _, d := range c.digests {
		i := c.images[d]
		if _, there := c.images[i.Subject]; there {
			continue
		}
		images = append(images, lifecycle.Image{Digest: d, Tags: c.tags[d], PushedAt: i.PushedAt, Held: held[d]})
	}
	out := []state.LifecycleExpiry{}
	for _, a := range p.Plan(images, now) {
		out = append(out, state.LifecycleExpiry{Digest: a.Digest, Tags: c.tags[a.Digest], PushedAt: c.images[a.Digest].PushedAt, Priority: a.Priority})
	}
	return out
}

// referrers are the images that refer to one, and those that refer to them.
func (c *contents) referrers(digest string) (out []string) {
	of := map[string][]string{}
	for _, d := range c.digests {
		if s := c.images[d].Subject; s != "" {
			of[s] = append(of[s], d)
		}
	}
	seen, held := map[string]bool{digest: true}, c.held()
	for todo := []string{digest}; len(todo) > 0; todo = todo[1:] {
		for _, d := range of[todo[0]] {
			if !seen[d] && !held[d] {
				seen[d] = true
				out, todo = append(out, d), append(todo, d)
			}
		}
	}
	return out
}

// held are the images that an index names.
func (c *contents) held() map[string]bool {
	held := map[string]bool{}
	for _, i := range c.images {
		for _, child := range i.Images {
			held[child.Digest] = true
		}
	}
	return held
}

// explain writes what a policy has expired, and why, to the log group.
func (s *Service) explain(ctx context.Context, r state.Repository, gone []state.LifecycleExpiry) error {
	s.o.Log.Info("lifecycle policy expired images", "repository", r.ARN(), "images", len(gone))
	if s.o.Events == nil {
		return nil
	}
	dir, err := s.o.Events(ctx, r.Scope, LifecycleGroup, r.Name)
	if err != nil {
		return err
	}
	w, err := segment.OpenWriter(dir, segment.WriterOptions{})
	if err != nil {
		return err
	}
	defer w.Close()
	now := s.o.Now()
	for some := range slices.Chunk(gone, eventImages) {
		raw, err := json.Marshal(newExecution(r, some, now))
		if err != nil {
			return err
		}
		if err := w.Append(segment.Event{Time: now, Data: raw}); err != nil {
			return err
		}
	}
	return nil
}
