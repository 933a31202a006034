package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/build"
	"github.com/lotse-project/lotse/internal/metric"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// handler serves everything on --listen: the AWS API, the registry, and what only Lotse has.
func (s *server) handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /_lotse/health", s.health)
	m.Handle("GET /metrics", s.metrics.handler(s.balancer.Metrics))
	m.HandleFunc("POST "+build.Path, s.serveBuild)
	m.HandleFunc("POST /_lotse/builds/prune", s.own(s.pruneBuilds))
	m.HandleFunc("POST /_lotse/adopt", s.signed(s.verifyCaller, s.adopt))
	m.HandleFunc("GET /_lotse/trace", s.own(s.trace))
	m.HandleFunc("GET /_lotse/counters", s.own(s.counters))
	m.HandleFunc("GET /_lotse/history", s.own(s.history))
	m.HandleFunc("GET /_lotse/metrics", s.own(s.series))
	m.HandleFunc("GET /_lotse/access", s.own(s.accessLines))
	m.HandleFunc("POST /_lotse/images", s.importImage)
	m.HandleFunc("POST /_lotse/images/gc", s.own(s.collectImages))
	m.HandleFunc("POST /_lotse/images/verify", s.own(s.verifyImages))
	m.HandleFunc("POST /_lotse/reset", s.reset)
	m.HandleFunc("/_lotse/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusNotFound, map[string]string{"message": "There is no " + r.Method + " " + r.URL.Path + " on a Lotse server of this version."})
	})
	m.Handle("/v2/", s.gated(s.registry))
	m.Handle("/", s.gated(s.api))
	return m
}

// gated keeps requests out while the server is being reset.
func (s *server) gated(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.gate.RLock()
		defer s.gate.RUnlock()
		h.ServeHTTP(w, r)
	})
}

// authenticate is awswire.MuxOptions.Authenticate. The caller's default VPC is there from the
// first request on, as in an AWS account.
func (s *server) authenticate(r *http.Request, body []byte, api *awswire.API, _ string) (context.Context, error) {
	c, err := s.verifier.Verify(r, body, api)
	if err != nil {
		return nil, err
	}
	if err := s.vpc.Ensure(r.Context(), arn.Scope{Account: c.Account, Region: c.Region}); err != nil {
		return nil, err
	}
	return awsauth.WithCaller(r.Context(), c), nil
}

// own serves one of Lotse's own paths for the root key.
func (s *server) own(do func(r *http.Request, body []byte) (any, error)) http.HandlerFunc {
	return s.signed(s.verifyRoot, do)
}

// signed serves one of Lotse's own paths: signed for the service "lotse", JSON in and out.
func (s *server) signed(verify func(*http.Request) (awsauth.Caller, string, error), do func(r *http.Request, body []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.gate.RLock()
		defer s.gate.RUnlock()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			refuse(w, err)
			return
		}
		c, sum, err := verify(r)
		if err == nil && sum != sha256Of(body) {
			err = errBody
		}
		if err != nil {
			refuse(w, err)
			return
		}
		out, err := do(r.WithContext(awsauth.WithCaller(r.Context(), c)), body)
		if err != nil {
			refuse(w, err)
			return
		}
		reply(w, http.StatusOK, out)
	}
}

// health answers 200 when tasks can be run and requests be balanced.
func (s *server) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	out := struct{ Server, ID, Front, Problem string }{Server: "lotse", ID: s.p.ID, Front: s.front}
	code := http.StatusOK
	if err := s.containerd.Ready(ctx); err != nil {
		code, out.Problem = http.StatusServiceUnavailable, err.Error()
	} else if _, err := s.balancer.Status(ctx, 0); err != nil {
		code, out.Problem = http.StatusServiceUnavailable, "the balancer's process does not answer: "+err.Error()
	}
	reply(w, code, out)
}

// serveBuild hands a signed request over to the builder. Sessions of roles need to be allowed actionBuild.
func (s *server) serveBuild(w http.ResponseWriter, r *http.Request) {
	c, _, err := s.verifyCaller(r)
	if err == nil {
		err = s.iam.Permit(r.Context(), c, actionBuild, "*")
	}
	if err != nil {
		refuse(w, err)
		return
	}
	if left, err := s.free(); err != nil || left <= 0 {
		s.o.Log.Error("a build is refused: the disk is full", "left", left, "err", err)
		refuse(w, &awswire.Error{Code: "InsufficientStorage", Status: http.StatusInsufficientStorage, Message: oci.ErrFull.Message})
		return
	}
	s.builds.ServeHTTP(w, r.WithContext(awsauth.WithCaller(r.Context(), c)))
}

// adopt gives an image that the caller built to a repository.
func (s *server) adopt(r *http.Request, body []byte) (any, error) {
	var in struct{ Repository, Tag, Digest string }
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, &awswire.Error{Code: "SerializationException", Message: "The request is no JSON of repository, tag and digest.", Err: err}
	}
	repository := state.Repository{Scope: scopeOf(r.Context()), Name: in.Repository}.ARN()
	if err := s.iam.Permit(r.Context(), awsauth.CallerFrom(r.Context()), "ecr:PutImage", repository); err != nil {
		return nil, err
	}
	err := s.built.adopt(r.Context(), in.Digest, func() error {
		d, err := digest.Parse(in.Digest)
		if err != nil {
			return err
		}
		_, err = s.ecr.Adopt(r.Context(), scopeOf(r.Context()), in.Repository, in.Tag, d)
		return err
	})
	return struct{}{}, err
}

// trace tells which target answered a request through the balancer.
func (s *server) trace(r *http.Request, _ []byte) (any, error) {
	requests, err := s.balancer.Trace(r.Context(), r.URL.Query().Get("id"))
	if err != nil {
		return nil, err
	}
	var out struct{ Target string }
	for _, q := range requests {
		out.Target = q.Target
	}
	return out, nil
}

// counters tells how often each security group's rule let a connection in or out, and how many
// packets were dropped, in one VPC of the caller's.
func (s *server) counters(r *http.Request, _ []byte) (any, error) {
	id := r.URL.Query().Get("vpc")
	err := s.db.View(r.Context(), func(tx *store.ReadTx) error {
		if id == "" {
			for v, err := range state.VPCs.List(tx, scopeOf(r.Context()).Key()) {
				if err != nil {
					return err
				}
				if v.Val.Default {
					id = v.Val.ID
				}
			}
		}
		_, err := state.VPCs.Get(tx, scopeOf(r.Context()).Key(id))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, &awswire.Error{Code: "InvalidVpcID.NotFound", Message: fmt.Sprintf("The vpc ID '%s' does not exist", id)}
	}
	if err != nil {
		return nil, err
	}
	return s.network.Counters(r.Context(), id)
}

// history tells what became of a service and its tasks.
func (s *server) history(r *http.Request, _ []byte) (any, error) {
	q := r.URL.Query()
	since, err := time.Parse(time.RFC3339Nano, q.Get("since"))
	if err != nil && q.Get("since") != "" {
		return nil, &awswire.Error{Code: "InvalidParameterException", Message: "since is a time of RFC 3339."}
	}
	return s.ecs.History(r.Context(), scopeOf(r.Context()), q.Get("cluster"), q.Get("service"), since)
}

// series gives the points of a metric, or without a name the names that there are.
func (s *server) series(r *http.Request, _ []byte) (any, error) {
	v := r.URL.Query()
	end := time.Now()
	q := metric.Query{Balancer: v.Get("balancer"), Group: v.Get("group"), Zone: v.Get("zone"), Name: v.Get("name"), Start: end.Add(-time.Hour), End: end}
	for name, to := range map[string]*time.Time{"start": &q.Start, "end": &q.End} {
		if t, err := time.Parse(time.RFC3339Nano, v.Get(name)); err == nil {
			*to = t
		} else if v.Get(name) != "" {
			return nil, &awswire.Error{Code: "InvalidParameterException", Message: name + " is a time of RFC 3339."}
		}
	}
	if text := v.Get("period"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Minute || d%time.Minute != 0 {
			return nil, &awswire.Error{Code: "InvalidParameterException", Message: "period is a number of whole minutes, such as 5m."}
		}
		q.Period = d
	}
	of := metric.NewStore(s.p.Metrics())
	if q.Name == "" {
		return of.Names(q.Start, q.End)
	}
	return of.Query(q)
}

// accessLines waits for lines of a load balancer's access log, at most twenty seconds.
func (s *server) accessLines(r *http.Request, _ []byte) (any, error) {
	v := r.URL.Query()
	from, err := strconv.ParseInt(v.Get("from"), 10, 64)
	if err != nil {
		return nil, &awswire.Error{Code: "InvalidParameterException", Message: "from is the number of a line."}
	}
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	return s.access.Recent(ctx, v.Get("balancer"), v.Get("group"), from), nil
}

// importImage takes an image out of an archive. The signature covers the archive's hash, which is
// known to hold only at its end, so nothing is recorded before.
func (s *server) importImage(w http.ResponseWriter, r *http.Request) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	_, sum, err := s.verifyRoot(r)
	if err != nil {
		refuse(w, err)
		return
	}
	h := sha256.New()
	name := r.URL.Query().Get("name")
	m, err := s.registry.Import(r.Context(), name, &checked{r: io.TeeReader(r.Body, h), end: func() error {
		if hex.EncodeToString(h.Sum(nil)) != sum {
			return errBody
		}
		return nil
	}})
	if err != nil {
		refuse(w, err)
		return
	}
	reply(w, http.StatusOK, map[string]string{"Name": name, "Digest": m.Digest.String()})
}

// collectImages frees what no repository, task or build needs.
func (s *server) collectImages(r *http.Request, _ []byte) (any, error) {
	if err := s.registry.CollectNow(r.Context()); err != nil {
		return nil, err
	}
	return s.blobs.Collect(r.Context())
}

// pruneBuilds frees what builds keep for the next ones.
func (s *server) pruneBuilds(r *http.Request, body []byte) (any, error) {
	var o build.PruneOptions
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, &awswire.Error{Code: "SerializationException", Message: "The request is no JSON of All, Keep and UnusedFor.", Err: err}
	}
	return s.builder.Prune(r.Context(), o)
}

// verifyImages reads all content of repositories, and says what is damaged.
func (s *server) verifyImages(r *http.Request, _ []byte) (any, error) {
	return s.registry.Verify(r.Context())
}

// Private

// actionBuild is what a policy allows to whom builds on the server: steps run in containers of it, and share its cache.
const actionBuild = "lotse:Build"

// verifyCaller finds the caller of one of Lotse's own paths, who still is to be permitted what it asks for.
func (s *server) verifyCaller(r *http.Request) (awsauth.Caller, string, error) {
	return s.verifier.VerifyStream(r, build.SigningName)
}

// verifyRoot finds the caller of one of Lotse's own paths that are for the root key alone: no policy
// speaks of them.
func (s *server) verifyRoot(r *http.Request) (awsauth.Caller, string, error) {
	c, sum, err := s.verifyCaller(r)
	if err == nil && !c.Root {
		err = awsauth.Denied(awswire.JSON11, c, "lotse:"+path.Base(r.URL.Path), "*", "because it is the root key's alone")
	}
	return c, sum, err
}

var errBody = &awswire.Error{Code: "XAmzContentSHA256Mismatch", Message: "The provided 'x-amz-content-sha256' header does not match what was computed."}

// checked is a reader whose end is an error if what came isn't what was signed.
type checked struct {
	r   io.Reader
	end func() error
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if err == io.EOF {
		if bad := c.end(); bad != nil {
			return n, bad
		}
	}
	return n, err
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// refuse answers with an error that a person can read.
func refuse(w http.ResponseWriter, err error) {
	status, code := http.StatusBadRequest, "BadRequest"
	var e *awswire.Error
	if errors.As(err, &e) {
		code = e.Code
		if e.Status != 0 {
			status = e.Status
		}
		err = errors.New(e.Message)
	}
	reply(w, status, map[string]string{"code": code, "message": err.Error()})
}

func sha256Of(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
