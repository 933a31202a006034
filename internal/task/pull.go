package task

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// pull finds each container's image and has it unpacked. A deployment's first task resolves
// tags; its later tasks use the digests it found (ECS: versionConsistency).
func (c *Controller) pull(ctx context.Context, l life) (time.Duration, error) {
	if l.status.PullStartedAt.IsZero() {
		if err := c.save(ctx, l, "", func(tx *store.WriteTx, st *state.TaskStatus) error {
			st.PullStartedAt = tx.Now()
			return nil
		}); err != nil {
			return 0, err
		}
	}
	digests := map[string]string{}
	for _, d := range l.definition.ContainerDefinitions {
		ref := *d.Image
		if fixed := l.task.Images[*d.Name]; fixed != "" && string(d.VersionConsistency) != "disabled" {
			ref = pinned(ref, fixed)
		}
		img, err := c.o.Resolve(ctx, ref, l.scope())
		var gone *ImageError
		if errors.As(err, &gone) {
			return 0, c.fail(ctx, l, *d.Name, "CannotPullContainerError: "+gone.Reason)
		}
		if err != nil {
			return 0, err
		}
		if err := c.o.Engine.Prepare(ctx, img); errors.Is(err, runtime.ErrNoImage) || errors.Is(err, runtime.ErrUnrunnable) || errors.Is(err, runtime.ErrNoSpace) {
			return 0, c.fail(ctx, l, *d.Name, "CannotPullContainerError: "+err.Error())
		} else if err != nil {
			return 0, fmt.Errorf("unpack %s: %w", ref, err)
		}
		digests[*d.Name] = img.Digest
	}
	return 0, c.save(ctx, l, "pull", func(tx *store.WriteTx, st *state.TaskStatus) error {
		st.PullStoppedAt = tx.Now()
		st.LastStatus = "ACTIVATING"
		for i, cs := range st.Containers {
			st.Containers[i].Digest = digests[cs.Name]
		}
		return nil
	})
}

// pinned is ref with its tag replaced by a digest.
func pinned(ref, digest string) string {
	name, _ := splitReference(ref)
	return name + "@" + digest
}

// splitReference cuts a reference into name and what follows it (":tag", "@digest" or both).
func splitReference(ref string) (name, rest string) {
	end := len(ref)
	for i := len(ref) - 1; i >= 0 && ref[i] != '/'; i-- {
		if ref[i] == ':' || ref[i] == '@' {
			end = i
		}
	}
	return ref[:end], ref[end:]
}
