package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"time"

	"github.com/lotse-project/lotse/internal/ecr"
	"github.com/lotse-project/lotse/internal/lbconfig"
)

// Options are those of `lotse server run`.
type Options struct {
	DataDir         string       // "": DefaultDataDir
	Listen          string       // address of API and registry; port 0 takes a free one
	Account, Region string       // of the root key
	Front           string       // host:port where requests for all balancers are taken; "": 127.0.0.1:80, else :8080
	LBEngine        string       // what serves HTTP/1.1 in the balancers: lbconfig.EngineFast, …
	LBConnections   int          // clients' connections to the balancers at once; 0: half of the files a process may have open
	DNSDomain       string       // what balancers' DNS names end in
	DefaultVPC      netip.Prefix // of every account and region
	Egress          string       // "none"
	Ephemeral       bool         // a data directory of its own, removed at the end
	TaskMemory      int          // MiB that tasks may reserve; 0: the machine's but for half a GiB
	StrictTiming    bool         // AWS's own waits
	InsecureListen  bool         // beyond loopback, without TLS
	BuildCache      int64        // bytes that builds keep for the next ones; 0: 20 GiB
	RegistryHost    string       // in repository URIs; "": localhost and the port
	TokenTTL        time.Duration
	History         time.Duration // how long stopped tasks, events, deployments and the action log are kept
	KeepFree        int64         // bytes of the disk that pushes and builds leave to others; 0: a twentieth of it, at most 1 GiB
	Quotas          ecr.Quotas
	Log             *slog.Logger
}

var (
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	regionPattern  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
)

// DefaultLBEngine serves HTTP/1.1 where nothing else is asked for.
const DefaultLBEngine = lbconfig.DefaultEngine

// complete checks the options and fills in what was left out.
func (o *Options) complete() error {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if !accountPattern.MatchString(o.Account) {
		return fmt.Errorf("--account %q: an account has 12 digits", o.Account)
	}
	if !regionPattern.MatchString(o.Region) {
		return fmt.Errorf("--region %q: a region looks like us-east-1", o.Region)
	}
	if o.Egress != "none" {
		return fmt.Errorf("--egress %q: only none works so far", o.Egress)
	}
	if err := lbconfig.CheckEngine(o.LBEngine); err != nil {
		return fmt.Errorf("--lb-engine %w", err)
	}
	if o.LBConnections < 0 {
		return fmt.Errorf("--lb-connections %d: not below 0", o.LBConnections)
	}
	if o.DefaultVPC.Bits() < 16 || o.DefaultVPC.Bits() > 24 || !o.DefaultVPC.Addr().Is4() || o.DefaultVPC != o.DefaultVPC.Masked() {
		return fmt.Errorf("--default-vpc-cidr %s: an IPv4 network of /16 to /24", o.DefaultVPC)
	}
	if o.KeepFree < 0 || o.Quotas.Repository < 0 || o.Quotas.Total < 0 {
		return errors.New("--keep-free, --repository-quota, --registry-quota: not below 0")
	}
	if o.TaskMemory < 0 {
		return fmt.Errorf("--task-memory %d: tasks reserve some MiB", o.TaskMemory)
	}
	if o.TaskMemory == 0 {
		o.TaskMemory = machineMemory()
	}
	if o.TokenTTL <= 0 {
		return errors.New("--token-ttl: a login must be valid for some time")
	}
	if o.History < time.Hour {
		return fmt.Errorf("--history %s: an hour at least, as on AWS", o.History)
	}
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) && !o.InsecureListen {
		return fmt.Errorf("--listen %s is not on loopback, and secrets would cross the network in the clear: put a TLS proxy before it, or say --insecure-listen", o.Listen)
	}
	return nil
}
