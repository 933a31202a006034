package ctrd

import (
	"context"
	"errors"
	"strings"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
)

// RemoveContainers removes containers whose cgroup lies below parent: what a builder that was
// killed left. Those of tasks lie elsewhere.
func (s *Supervisor) RemoveContainers(ctx context.Context, parent string) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	all, err := c.Containers(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, x := range all {
		spec, err := x.Spec(ctx)
		if err != nil || spec.Linux == nil || !strings.HasPrefix(spec.Linux.CgroupsPath, parent+"/") {
			continue
		}
		if task, err := x.Task(ctx, nil); err == nil {
			if _, err := task.Delete(ctx, client.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
				errs = append(errs, err)
				continue
			}
		}
		if err := x.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// DropImage deletes an image record, by which a build holds what it made. One that isn't there is no error.
func (s *Supervisor) DropImage(ctx context.Context, name string) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	if err := c.ImageService().Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// Images lists the names of image records that begin with prefix.
func (s *Supervisor) Images(ctx context.Context, prefix string) ([]string, error) {
	c, err := s.Client()
	if err != nil {
		return nil, err
	}
	all, err := c.ImageService().List(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range all {
		if strings.HasPrefix(i.Name, prefix) {
			names = append(names, i.Name)
		}
	}
	return names, nil
}
