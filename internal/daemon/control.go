package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/ecr"
	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/logs"
	"github.com/lotse-project/lotse/internal/metric"
	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/scheduler"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
	"github.com/lotse-project/lotse/internal/target"
	"github.com/lotse-project/lotse/internal/task"
)

// A pause is a reset's wish that the controllers end and begin again when it is over.
type pause struct {
	idle chan struct{} // closed when they have ended
	over chan struct{} // closed when they may begin again
}

// control runs the controllers until ctx ends, anew after each reset.
func (s *server) control(ctx context.Context) error {
	for ctx.Err() == nil {
		round, end := context.WithCancel(ctx)
		asked := make(chan pause, 1)
		go func() {
			defer close(asked)
			defer end()
			select {
			case p := <-s.pauses:
				asked <- p
			case <-round.Done():
			}
		}()
		err := s.controllers(round)
		end()
		if p, reset := <-asked; reset {
			close(p.idle)
			<-p.over
			continue
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("controllers: %w", err)
		}
	}
	return nil
}

// controllers makes and runs one of each.
func (s *server) controllers(ctx context.Context) error {
	log := s.o.Log
	if err := s.containerd.Ready(ctx); err != nil {
		return err
	}
	for _, socket := range []string{s.p.BalancerSocket(), s.p.NamesSocket()} {
		await(ctx, socket, 3*time.Second)
	}
	from, err := s.db.Rev(ctx)
	if err != nil {
		return err
	}
	tasks := task.New(task.Options{DB: s.db, Engine: s.engine, Apply: s.fabric.Apply, Netns: s.network.TaskNetns, Resolve: s.resolve,
		Stream: s.stream, Secret: s.secret, Buckets: s.p.Buckets(), FileSystems: s.p.FileSystems(), PublicAddress: s.claimPublic, Endpoints: s.endpoints(), History: s.o.History, StrictTiming: s.o.StrictTiming, Fault: s.fault, Log: log.With("part", "task"),
		Storage: func(used map[string]int64) error { return linklocal.WriteStorage(s.p.Storage(), used) }})
	schedule := scheduler.New(scheduler.Options{DB: s.db, Memory: s.o.TaskMemory, ImageAt: s.ecr.TagDigest, History: s.o.History, StrictTiming: s.o.StrictTiming, Fault: s.fault, Log: log.With("part", "scheduler")})
	targets := target.New(target.Options{DB: s.db, Netns: s.network.VPCNetns, Client: s.balancer, Path: s.p.Snapshot(), Apply: s.fabric.Apply, StrictTiming: s.o.StrictTiming,
		Front: s.front, Fault: s.fault, Log: log.With("part", "target")})

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.fabric.Run(ctx) })
	g.Go(func() error { return tasks.Run(ctx) })
	g.Go(func() error { return schedule.Run(ctx) })
	g.Go(func() error { return targets.Run(ctx) })
	g.Go(func() error { return s.access.Run(ctx) })
	g.Go(func() error {
		return metric.NewRecorder(s.p.Metrics(), s.balancer, log.With("part", "metric")).Run(ctx)
	})
	g.Go(func() error { return s.logs.Run(ctx) })
	g.Go(func() error { return s.ecr.Run(ctx) })
	g.Go(func() error { return s.secrets.Run(ctx) })
	g.Go(func() error { return s.acm.Run(ctx) })
	g.Go(func() error { return s.efs.Run(ctx) })
	g.Go(func() error { return s.built.run(ctx) })
	g.Go(func() error {
		for c, err := range s.db.Changes(ctx, from) {
			if err != nil {
				return err
			}
			s.fabric.Changed(c.Kind, c.Key)
			tasks.Changed(c.Kind, c.Key)
			schedule.Changed(ctx, c.Kind, c.Key)
			targets.Changed(c.Kind, c.Key)
		}
		return nil
	})
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Private

// await waits until somebody listens on a unix socket, or for the limit: those who speak there
// try again by themselves, but each failure would be in the log of every start.
func await(ctx context.Context, socket string, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for ctx.Err() == nil {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// names is fabric.Options.Names: what the resolver and the metadata endpoint know.
func (s *server) names(ctx context.Context, snapshot linklocal.Snapshot) error {
	snapshot.Storage = s.p.Storage()
	snapshot.Cgroups = "/lotse-" + s.p.ID
	snapshot.API = strings.TrimPrefix(s.endpoint, "http://")
	if err := snapshot.Write(s.p.Names()); err != nil {
		return err
	}
	return linklocal.Reload(ctx, s.p.NamesSocket())
}

// taskKey is fabric.Options.Credentials.
func (s *server) taskKey(ctx context.Context, t state.Task, role string, life time.Duration) (linklocal.Credentials, error) {
	k, err := s.iam.TaskKey(ctx, t.Scope.Account, role, t.ID, life)
	if !arn.IsARN(role) {
		role = arn.Scope{Account: t.Scope.Account}.ARN("iam", "role/"+role)
	}
	return linklocal.Credentials{RoleARN: role, AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, Token: k.SessionToken, Expiration: k.Expires}, err
}

// serviceIDs are the SDKs' names of services that don't sign with them.
// Source: AWS SDKs and Tools Reference Guide, "Service-specific endpoints".
var serviceIDs = map[string]string{
	"elasticloadbalancing": "ELASTIC_LOAD_BALANCING_V2", "logs": "CLOUDWATCH_LOGS", "secretsmanager": "SECRETS_MANAGER",
	"elasticfilesystem": "EFS", "monitoring": "CLOUDWATCH", "application-autoscaling": "APPLICATION_AUTO_SCALING",
}

// endpoints is task.Options.Endpoints: one variable for each service there is.
func (s *server) endpoints() []string {
	var out []string
	for api := range s.api.Operations() {
		id := serviceIDs[api.SigningName]
		if id == "" {
			id = strings.ToUpper(api.SigningName)
		}
		if name := "AWS_ENDPOINT_URL_" + id; !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// stream is task.Options.Stream.
func (s *server) stream(ctx context.Context, sc arn.Scope, group, stream string, create bool) (string, error) {
	dir, err := s.logs.Stream(ctx, sc, group, stream, create)
	if errors.Is(err, logs.ErrNoGroup) {
		return "", fmt.Errorf("log group %s: %w", group, store.ErrNotFound)
	}
	return dir, err
}

// claimPublic is task.Options.PublicAddress.
func (s *server) claimPublic(tx *store.WriteTx, sc arn.Scope, eni string) (string, error) {
	return state.ClaimPublic(tx, sc, eni, s.network.PublicPool())
}

// resolve is task.Options.Resolve.
func (s *server) resolve(ctx context.Context, ref string, sc arn.Scope) (runtime.Image, error) {
	img, err := s.ecr.Resolve(ctx, ref, sc)
	var gone *ecr.ImageError
	if errors.As(err, &gone) {
		return runtime.Image{}, &task.ImageError{Reason: gone.Reason}
	}
	return runtime.Image(img), err
}

// secret is task.Options.Secret.
func (s *server) secret(ctx context.Context, sc arn.Scope, valueFrom string) (string, error) {
	if a, err := arn.Parse(valueFrom); err == nil && a.Service == "secretsmanager" {
		return s.secrets.Value(ctx, sc, valueFrom)
	}
	return s.ssm.Value(ctx, sc, valueFrom)
}
