package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// FollowTag is the tag of a service that is to be deployed anew, with the value "true", whenever the tag of one of its
// images comes to mean another image. On AWS it means nothing. Source of the wish: containers-roadmap #1486.
const FollowTag = "lotse:follow-tag"

// Private

func follows(svc state.Service) bool { return svc.Tags[FollowTag] == "true" && svc.DeletedAt.IsZero() }

// ofImages queues the services that follow tags.
func (c *Controller) ofImages(ctx context.Context) {
	_ = c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for s, err := range state.Services.List(tx, "") {
			if err != nil {
				return err
			}
			if follows(s.Val) {
				c.loop.Add(s.Key)
			}
		}
		return nil
	})
}

// follow makes a new deployment, like the primary, if the tags of its images mean others by now. What has failed, or
// was tried before, isn't tried again: not until the tags mean something else.
func (s *service) follow(tx *store.WriteTx, o Options) error {
	if o.ImageAt == nil || !follows(s.svc.Val) || len(s.deployments) == 0 {
		return nil
	}
	p := s.deployments[0]
	running := s.status.Deployments[p.ID].Images
	if running == nil {
		return nil // its first task hasn't looked yet
	}
	now, err := s.imagesNow(tx, o, p)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(now) // sorted by key
	if err != nil {
		return err
	}
	if agree(running, now) {
		s.status.Noted["follow"] = string(raw)
		return nil
	}
	if s.status.Noted["follow"] == string(raw) {
		return nil
	}
	for _, st := range s.status.Deployments {
		if st.RolloutState == "FAILED" && agree(st.Images, now) {
			return nil
		}
	}
	s.status.Noted["follow"] = string(raw)
	return s.redeploy(tx, p)
}

// imagesNow are the digests that the tags of a deployment's images mean now, by container.
func (s *service) imagesNow(tx store.Reader, o Options, d state.Deployment) (map[string]string, error) {
	now := map[string]string{}
	td, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(d.TaskDefinitionARN))
	if errors.Is(err, store.ErrNotFound) {
		return now, nil
	}
	if err != nil {
		return nil, err
	}
	for _, c := range td.Val.Definition.ContainerDefinitions {
		digest, err := o.ImageAt(tx, *c.Image, s.svc.Val.Scope)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", *c.Image, err)
		}
		if digest != "" {
			now[*c.Name] = digest
		}
	}
	return now, nil
}

// agree tells whether what runs is what the tags mean; containers without a tag don't count.
func agree(running, now map[string]string) bool {
	for name, digest := range now {
		if running[name] != digest {
			return false
		}
	}
	return true
}

// redeploy makes a new deployment of what the primary has, as UpdateService does with forceNewDeployment.
func (s *service) redeploy(tx *store.WriteTx, p state.Deployment) error {
	svc, d := &s.svc.Val, p
	svc.Sequence++
	d.Sequence, d.ARNID, d.RevisionID = svc.Sequence, newWord(), newDigits()
	d.ID = "ecs-svc/" + d.RevisionID
	d.CreatedAt, d.RollbackOf, d.Source = s.now, "", nil
	for _, old := range s.deployments {
		d.Source = append(d.Source, old.RevisionID)
	}
	o := store.Object[state.Deployment]{Key: s.svc.Key + fmt.Sprintf("/%010d", svc.Sequence), Val: d}
	if err := state.Deployments.Put(tx, &o); err != nil {
		return err
	}
	if err := state.Services.Put(tx, &s.svc); err != nil {
		return err
	}
	s.deployments = append([]state.Deployment{d}, s.deployments...)
	s.event(fmt.Sprintf("(deployment %s) has begun, because an image's tag has moved.", d.ID))
	return nil
}
