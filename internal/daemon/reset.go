package daemon

import (
	"context"
	"net/http"
	"os"
	"path/filepath"

	"github.com/lotse-project/lotse/internal/build"
)

// reset empties an ephemeral server: tasks are killed, records deleted, networks removed. The
// root key stays, and the default VPC is made anew with the next request.
func (s *server) reset(w http.ResponseWriter, r *http.Request) {
	c, _, err := s.verifier.VerifyStream(r, build.SigningName)
	if err != nil {
		refuse(w, err)
		return
	}
	if !c.Root || !s.o.Ephemeral {
		reply(w, http.StatusForbidden, map[string]string{"code": "AccessDenied", "message": "Only root can reset, and only a server that was started with --ephemeral."})
		return
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	p := pause{make(chan struct{}), make(chan struct{})}
	defer close(p.over)
	select {
	case s.pauses <- p:
	case <-r.Context().Done(): // nothing was done
		return
	}
	<-p.idle // the controllers have let go of everything
	// A caller who doesn't wait for the end gets an empty server, too, not half of one.
	if err := s.empty(context.WithoutCancel(r.Context())); err != nil {
		refuse(w, err)
		return
	}
	reply(w, http.StatusOK, struct{}{})
}

func (s *server) empty(ctx context.Context) error {
	if err := s.engine.RemoveAll(ctx); err != nil {
		return err
	}
	if err := s.db.Clear(ctx); err != nil {
		return err
	}
	s.vpc.Forget()
	if err := s.vpc.Ensure(ctx, s.home()); err != nil {
		return err
	}
	if err := s.network.RemoveAll(ctx); err != nil {
		return err
	}
	if err := s.registry.Collect(ctx); err != nil {
		return err
	}
	dirs, err := filepath.Glob(filepath.Join(s.p.Logs(), "*"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	return nil
}
