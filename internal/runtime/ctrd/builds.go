package ctrd

import (
	"context"
	"errors"
	"strings"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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

// HoldImage makes an image record for content that is there, and tells whether all of it was. The record comes first:
// what it names can't be collected while it is looked for.
func (s *Supervisor) HoldImage(ctx context.Context, name string, target ocispec.Descriptor) (bool, error) {
	c, err := s.Client()
	if err != nil {
		return false, err
	}
	if _, err := c.ImageService().Create(ctx, images.Image{Name: name, Target: target}); err != nil {
		return false, err
	}
	err = images.Walk(ctx, images.HandlerFunc(func(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if _, err := c.ContentStore().Info(ctx, d.Digest); err != nil {
			return nil, err
		}
		return images.Children(ctx, c.ContentStore(), d)
	}), target)
	if err == nil {
		return true, nil
	}
	if errdefs.IsNotFound(err) {
		return false, s.DropImage(ctx, name)
	}
	return false, errors.Join(err, s.DropImage(ctx, name))
}
