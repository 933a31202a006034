package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/accesslog"
	"github.com/lotse-project/lotse/internal/acm"
	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/build"
	"github.com/lotse-project/lotse/internal/ecr"
	"github.com/lotse-project/lotse/internal/ecs"
	"github.com/lotse-project/lotse/internal/efs"
	"github.com/lotse-project/lotse/internal/elb"
	"github.com/lotse-project/lotse/internal/fabric"
	"github.com/lotse-project/lotse/internal/iam"
	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/logs"
	"github.com/lotse-project/lotse/internal/network"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/runtime/ctrd"
	"github.com/lotse-project/lotse/internal/seal"
	"github.com/lotse-project/lotse/internal/secrets"
	"github.com/lotse-project/lotse/internal/ssm"
	"github.com/lotse-project/lotse/internal/store"
	"github.com/lotse-project/lotse/internal/vpc"
)

// A server is everything that runs in the control plane's process.
type server struct {
	o        Options
	p        Paths
	endpoint string // http://127.0.0.1:4566
	front    string
	fault    func(string)

	db         *store.DB
	network    *network.Manager
	containerd *ctrd.Supervisor
	engine     *ctrd.Engine
	builder    *build.Daemon
	builds     *build.Handler
	built      *built
	lb, net    *guardian
	balancer   *lbconfig.Client
	access     *accesslog.Writer
	fabric     *fabric.Controller

	metrics  *metrics
	verifier *awsauth.Verifier
	api      *awswire.Mux
	registry *oci.Registry
	blobs    *ctrd.Blobs
	acm      *acm.Service
	iam      *iam.Service
	ecr      *ecr.Service
	ecs      *ecs.Service
	logs     *logs.Service
	ssm      *ssm.Service
	secrets  *secrets.Service
	efs      *efs.Service
	vpc      *vpc.Service

	gate   sync.RWMutex // requests read-hold it; reset holds it alone
	pauses chan pause   // from reset to control
}

func newServer(o Options, p Paths, at *net.TCPAddr) (*server, error) {
	s := &server{o: o, p: p, endpoint: "http://" + at.String(), fault: faultFrom(os.Getenv(faultVariable)), metrics: newMetrics(), pauses: make(chan pause)}
	creds, err := ensureCredentials(p, o.Account, o.Region)
	if err != nil {
		return nil, err
	}
	if s.front, err = chooseFront(p, o.Front); err != nil {
		return nil, err
	}
	if s.db, err = store.Open(p.DB(), store.Options{}); err != nil {
		return nil, err
	}
	if err := s.ground(at.Port, p); err != nil {
		s.close()
		return nil, err
	}
	key, err := seal.Open(p.Key())
	if err != nil {
		s.close()
		return nil, err
	}
	if s.acm, err = s.certificates(key); err != nil {
		s.close()
		return nil, err
	}
	s.services(creds, key, at.Port)
	return s, nil
}

// certificates makes Certificate Manager. What is sealed for the balancer is sealed with a key of its own, for the
// balancer's worker must not be able to read anything else.
func (s *server) certificates(key *seal.Key) (*acm.Service, error) {
	authority, err := acm.OpenAuthority(s.p.Data, key, time.Now())
	if err != nil {
		return nil, err
	}
	shared, err := seal.Open(s.p.BalancerKey())
	if err != nil {
		return nil, err
	}
	return acm.New(acm.Options{DB: s.db, Key: shared, Authority: authority, Log: s.o.Log.With("part", "acm")}), nil
}

// ground makes what services and controllers stand on.
func (s *server) ground(port int, p Paths) (err error) {
	log := s.o.Log
	if s.network, err = network.New(network.Options{RunDir: p.Run, ID: p.ID, Log: log.With("part", "network")}); err != nil {
		return err
	}
	s.containerd, err = ctrd.New(ctrd.Options{Dir: p.Data, RunDir: p.Run, ID: p.ID, BinDir: p.Bin, Log: log.With("part", "containerd")})
	if err != nil {
		return err
	}
	s.engine = ctrd.NewEngine(s.containerd)
	if s.builder, err = newBuilder(p, s.containerd, fmt.Sprintf("127.0.0.1:%d/%s", port, oci.MirrorPrefix), []string{s.o.RegistryHost}, s.o.BuildCache, log.With("part", "builder")); err != nil {
		return err
	}
	s.built = newBuilt(s.containerd)
	s.builds = build.NewHandler(s.builder, build.HandlerOptions{Built: s.built.note, Hold: s.built.hold, Log: log.With("part", "builder"),
		Imported: func(ctx context.Context) ([]string, error) { return s.ecr.ImportedHosts(ctx) }}) // which is made later
	s.lb = &guardian{"lb", p.PIDFile("lb"), p.Data + "/lb/log", []string{p.Plane(), "lb", "--run", p.Run, "--snapshot", p.Snapshot(), "--key", p.BalancerKey(), "--engine", s.o.LBEngine, "--max-connections", strconv.Itoa(s.o.LBConnections)}, log}
	s.net = &guardian{"net", p.PIDFile("net"), p.Data + "/net/log", []string{p.Plane(), "net", "--snapshot", p.Names(), "--socket", p.NamesSocket()}, log}
	s.balancer = lbconfig.NewClient(p.BalancerSocket())
	s.access = accesslog.New(accesslog.Options{DB: s.db, Client: s.balancer, Dir: p.AccessLogs(), Log: log.With("part", "accesslog")})
	s.fabric = fabric.New(fabric.Options{DB: s.db, Net: s.network, Names: s.names, Credentials: s.taskKey, Log: log.With("part", "fabric")})
	return nil
}

// services makes the AWS API.
func (s *server) services(creds Credentials, key *seal.Key, port int) {
	log := s.o.Log
	registryHost := s.o.RegistryHost
	if registryHost == "" {
		registryHost = fmt.Sprintf("localhost:%d", port)
	}
	secret := sha256.Sum256([]byte("registry token\n" + creds.SecretAccessKey))
	s.iam = iam.New(iam.Options{DB: s.db, Key: key, Log: log})
	s.blobs = ctrd.NewBlobs(s.containerd.Client, s.containerd.Namespace(), s.containerd.ContentDir())
	s.ecr = ecr.New(ecr.Options{DB: s.db, Blobs: s.blobs, RegistryHost: registryHost, Scope: s.home(),
		Secret: secret[:], TokenTTL: s.o.TokenTTL, Permit: s.iam.Permit, Free: s.free, Quotas: s.o.Quotas, Fault: s.fault, Log: log.With("part", "registry"),
		Events: func(ctx context.Context, sc arn.Scope, group, stream string) (string, error) {
			return s.logs.Stream(ctx, sc, group, stream, true)
		}})
	s.registry = s.ecr.Registry()
	s.logs = logs.New(logs.Options{DB: s.db, Dir: s.p.Logs(), Log: log.With("part", "logs")})
	s.vpc = vpc.New(vpc.Options{DB: s.db, DefaultVPC: s.o.DefaultVPC, Apply: s.fabric.Apply, Log: log})
	s.ssm = ssm.New(ssm.Options{DB: s.db, Key: key, Log: log.With("part", "ssm")})
	s.efs = efs.New(efs.Options{DB: s.db, Dir: s.p.FileSystems(), Log: log.With("part", "efs")})
	s.secrets = secrets.New(secrets.Options{DB: s.db, Key: key, Log: log.With("part", "secrets")})

	s.verifier = awsauth.NewVerifier(keys{creds, s.iam}, awsauth.Options{Regions: []string{s.o.Region}})
	s.api = awswire.NewMux(awswire.MuxOptions{Authenticate: s.authenticate, Authorize: s.iam.Authorize, Log: log, Observe: s.metrics.observe, Explain: s.explain, Coverage: "doc/coverage.md"})
	s.ecs = ecs.New(ecs.Options{DB: s.db, Memory: s.o.TaskMemory, Architecture: architecture()})
	s.api.Add(s.ecs.API())
	s.api.Add(s.ecr.API())
	s.api.Add(elb.New(elb.Options{DB: s.db, DNSDomain: s.o.DNSDomain, PublicPool: s.network.PublicPool(), Log: log}).API())
	s.api.Add(s.acm.API())
	s.api.Add(s.vpc.API())
	s.api.Add(s.logs.API())
	s.api.Add(s.ssm.API())
	s.api.Add(s.secrets.API())
	s.api.Add(s.efs.API())
	s.api.Add(s.iam.API())
	s.api.Add(s.iam.STS())
}

// close gives back what newServer took. What outlives the server stays.
func (s *server) close() {
	if s.balancer != nil {
		s.balancer.Close()
	}
	if s.db != nil {
		if err := s.db.Close(); err != nil {
			s.o.Log.Error("cannot close the store", "err", err)
		}
	}
}

// explain is awswire.MuxOptions.Explain.
func (s *server) explain(err error) *awswire.Error {
	if !errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	// SDKs retry 500 and 503, but not 507.
	return &awswire.Error{Code: "InsufficientStorage", Status: http.StatusInsufficientStorage, Err: err,
		Message: fmt.Sprintf("The disk of the Lotse server is full, and nothing was changed. Free some space in %s, then try again.", s.p.Data)}
}

// free is how many bytes pushes and builds may take of the disk.
func (s *server) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.p.Data, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", s.p.Data, err)
	}
	keep := s.o.KeepFree
	if keep == 0 {
		keep = min(int64(st.Blocks)*st.Bsize/20, 1<<30)
	}
	return int64(st.Bavail)*st.Bsize - keep, nil
}

// home is the root key's account and region.
func (s *server) home() arn.Scope { return arn.Scope{Account: s.o.Account, Region: s.o.Region} }

// Private

// newBuilder makes the builder. Its builds reach no network, and its base images come from our
// own registry alone.
func newBuilder(p Paths, c *ctrd.Supervisor, mirror string, hosts []string, cache int64, log *slog.Logger) (*build.Daemon, error) {
	return build.NewDaemon(build.DaemonOptions{
		Binary: p.Bin + "/buildkitd", Root: p.Data + "/buildkit", RunDir: p.Run,
		Containerd: c.Address(), Namespace: c.Namespace(), CgroupParent: "/lotse-" + p.ID + "/build",
		Runc: p.Bin + "/runc", RuncRoot: p.Run + "/runc-build", Mirror: mirror, RegistryHosts: hosts, Cache: cache, Network: build.NetworkNone,
		RemoveContainers: c.RemoveContainers, Log: log,
	})
}

// machineMemory is the machine's in MiB, but for half a GiB.
func machineMemory() int {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "MemTotal: %d kB", &kib); n == 1 {
			return max(kib/1024-512, 256)
		}
	}
	return 0
}

// architecture is the machine's as ECS names it.
func architecture() string {
	if goruntime.GOARCH == "arm64" {
		return "ARM64"
	}
	return "X86_64"
}
