package logs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/segment"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// sweepEvery is how often events expire. AWS takes up to 72 hours. Source: PutRetentionPolicy.
const sweepEvery = time.Minute

// Run lets events expire, keeps groups and the whole within their sizes, and removes the events of deleted streams, until
// ctx is done.
func (s *Service) Run(ctx context.Context) error {
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Error("cannot remove old log events", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-time.After(sweepEvery):
		}
	}
}

// Private

// sweepSoon wakes Run.
func (s *Service) sweepSoon() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) sweep(ctx context.Context) error {
	// Listed before the records are read: a directory is made after its stream's record.
	dirs, err := os.ReadDir(s.o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	groups, streams, err := s.records(ctx)
	if err != nil {
		return err
	}
	byID := map[string]string{} // stream to group's key
	for _, st := range streams {
		byID[st.ID] = st.Scope.Key(st.Group)
	}
	kept := map[string][]string{} // group's key to directories
	for _, d := range dirs {
		if g, ok := byID[d.Name()]; ok {
			kept[g] = append(kept[g], s.dir(d.Name()))
		} else if d.IsDir() {
			err = errors.Join(err, removeOrphan(s.dir(d.Name())))
		}
	}
	limits, e := s.limits(groups, kept)
	err = errors.Join(err, e)
	for g, dirs := range kept {
		for _, dir := range dirs {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			err = errors.Join(err, expire(dir, limits[g]))
		}
	}
	return err
}

// limits is, for each group, the time before which its events go: by its retention, its size and the size of all.
func (s *Service) limits(groups []state.LogGroup, dirs map[string][]string) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	var all []segment.File
	var err error
	for _, g := range groups {
		var files []segment.File
		for _, dir := range dirs[g.Key()] {
			f, e := segment.Files(dir)
			files, err = append(files, f...), errors.Join(err, e)
		}
		out[g.Key()] = later(g.Since(s.o.Now()), cutoff(files, s.o.GroupBytes))
		all = append(all, files...)
	}
	var disk unix.Statfs_t
	if e := unix.Statfs(s.o.Dir, &disk); e != nil {
		if !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, e)
		}
		return out, err
	}
	limit := cutoff(all, int64(s.o.DiskShare*float64(disk.Blocks)*float64(disk.Bsize)))
	for k, t := range out {
		out[k] = later(t, limit)
	}
	return out, err
}

// records reads all groups and streams, whoever's they are.
func (s *Service) records(ctx context.Context) (groups []state.LogGroup, streams []state.LogStream, err error) {
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for g, err := range state.LogGroups.List(tx, "") {
			if err != nil {
				return err
			}
			groups = append(groups, g.Val)
		}
		for st, err := range state.LogStreams.List(tx, "") {
			if err != nil {
				return err
			}
			streams = append(streams, st.Val)
		}
		return nil
	})
	return groups, streams, err
}

// cutoff is the time before which files' events go so that the newest ones, together at most limit bytes, stay; zero if
// all may. Three files of 4 bytes with events up to 1, 2 and 3 o'clock and a limit of 10: those of 2 and 3 fit, so that
// events before 2 o'clock go.
func cutoff(files []segment.File, limit int64) time.Time {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b segment.File) int { return b.Newest.Compare(a.Newest) })
	var total int64
	for i, f := range files {
		if total += f.Bytes; total > limit {
			if i == 0 {
				return f.Newest
			}
			return files[i-1].Newest
		}
	}
	return time.Time{}
}

// expire removes what is older than before. A stream that has nothing else, and no writer, loses its directory; the
// stream itself stays, as on AWS.
func expire(dir string, before time.Time) error {
	if before.IsZero() {
		return nil
	}
	if _, err := segment.Trim(dir, 0, before); err != nil {
		return err
	}
	return unlessLocked(segment.Remove(dir, before))
}

// removeOrphan removes a deleted stream's directory. As long as a container writes it, only its newest file stays.
func removeOrphan(dir string) error {
	_, err := segment.Remove(dir, time.Time{})
	if errors.Is(err, segment.ErrLocked) {
		_, err = segment.Trim(dir, 1, time.Time{})
	}
	return err
}

func unlessLocked(_ bool, err error) error {
	if errors.Is(err, segment.ErrLocked) {
		return nil
	}
	return err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
