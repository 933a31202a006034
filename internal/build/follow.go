package build

import (
	"context"
	"io"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
)

// Private

// follow takes in all news of a build, until the channel is closed, and passes them on as the options want.
func follow(news <-chan *bkclient.SolveStatus, t *tracker, o Options) error {
	show, shown := display(o.Display, o.DisplayMode)
	for s := range news {
		p := t.update(s)
		if o.Progress != nil {
			o.Progress(p)
		}
		if show != nil {
			show <- s
		}
	}
	if show != nil {
		close(show)
		return <-shown
	}
	return nil
}

// display shows BuildKit's own progress on w; nil: nothing. Mode "" is "auto".
func display(w io.Writer, mode string) (chan<- *bkclient.SolveStatus, <-chan error) {
	if w == nil {
		return nil, nil
	}
	in, out := make(chan *bkclient.SolveStatus), make(chan error, 1)
	go func() {
		d, err := progressui.NewDisplay(w, progressui.DisplayMode(mode))
		if err == nil {
			// Without a context: it ends with its input, and shows how the build ended, cancelled or not.
			_, err = d.UpdateFrom(context.Background(), in)
		}
		for range in { // a display that failed doesn't hold the build up
		}
		out <- err
	}()
	return in, out
}
