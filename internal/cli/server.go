package cli

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/lotse-project/lotse/internal/daemon"
)

func (a *app) serverCommand() *cobra.Command {
	c := &cobra.Command{Use: "server", Short: "Run, stop and look at the server"}
	c.AddCommand(a.serverRun(), a.serverStop(), a.serverStatus(), a.serverEnv(), a.serverCA(), a.serverReset())
	return c
}

func (a *app) serverRun() *cobra.Command {
	o := daemon.Options{}
	var cidr string
	c := &cobra.Command{Use: "run", Short: "Serve the AWS API, the registry and the balancers until stopped", Args: cobra.NoArgs,
		Example: "  sudo lotse server run\n  sudo lotse server run --ephemeral --listen 127.0.0.1:0\n  sudo lotse server run --egress none --front 127.0.0.1:8080",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := netip.ParsePrefix(cidr)
			if err != nil {
				return usageError{fmt.Errorf("--default-vpc-cidr: %w", err)}
			}
			o.DefaultVPC = p
			o.Log = slog.New(slog.NewTextHandler(a.err, nil))
			return daemon.Run(cmd.Context(), o)
		}}
	f := c.Flags()
	f.StringVar(&o.DataDir, "data-dir", daemon.DefaultDataDir, "where everything is kept that outlives the server")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:4566", "address of API and registry")
	f.StringVar(&o.Account, "account", "000000000000", "account of the root key, 12 digits")
	f.StringVar(&o.Region, "region", "us-east-1", "region of the root key's profile")
	f.BoolVar(&o.Ephemeral, "ephemeral", false, "a new temporary data directory, removed at the end")
	f.StringVar(&o.Front, "front", "", "where requests for all balancers are taken, told apart by Host (default 127.0.0.1:80, else :8080)")
	f.StringVar(&o.LBEngine, "lb-engine", daemon.DefaultLBEngine, "what serves HTTP/1.1 in the balancers: fast (Lotse's own) or std (Go's net/http); changes when they are started again")
	f.IntVar(&o.LBConnections, "lb-connections", 0, "clients' connections to the balancers at once; more are closed and counted as RejectedConnectionCount (default half of the files that a process may have open)")
	f.StringVar(&o.DNSDomain, "dns-domain", "elb.localhost", "what balancers' DNS names end in")
	f.StringVar(&cidr, "default-vpc-cidr", "172.31.0.0/16", "address range of the default VPC")
	f.StringVar(&o.Egress, "egress", "none", "what tasks reach outside: none")
	f.IntVar(&o.TaskMemory, "task-memory", 0, "MiB that tasks may reserve; more than the machine has is for tasks that use less than they reserve (default the machine's but for 512)")
	f.BoolVar(&o.StrictTiming, "strict-timing", false, "keep AWS's own waits in health checks and draining")
	f.BoolVar(&o.InsecureListen, "insecure-listen", false, "listen beyond loopback without TLS")
	f.StringVar(&o.RegistryHost, "registry-host", "", "host:port in repository URIs (default localhost and the port of --listen)")
	f.Var((*byteSize)(&o.KeepFree), "keep-free", "what pushes and builds leave free on the disk for everything else (default a twentieth of it, at most 1GiB)")
	f.Var((*byteSize)(&o.Quotas.Repository), "repository-quota", "how large the images of a repository may be together; 0 for no limit")
	f.Var((*byteSize)(&o.Quotas.Total), "registry-quota", "how large the images of all repositories may be together; 0 for no limit")
	f.Var((*byteSize)(&o.BuildCache), "build-cache", "how much disk builds may keep for the next ones (default 20GiB)")
	f.DurationVar(&o.History, "history", 30*24*time.Hour, "how long stopped tasks, deployments that are over, and the log of lotse history are kept")
	f.DurationVar(&o.TokenTTL, "token-ttl", 12*time.Hour, "how long a registry login is valid")
	return c
}

func (a *app) serverStop() *cobra.Command {
	var dir string
	var all bool
	c := &cobra.Command{Use: "stop", Short: "Stop the server; tasks and balancers go on unless --all", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return daemon.Stop(cmd.Context(), dir, all) }}
	c.Flags().StringVar(&dir, "data-dir", daemon.DefaultDataDir, "the server's data directory")
	c.Flags().BoolVar(&all, "all", false, "also tasks, balancers, containerd, networks and mounts; data stays")
	return c
}

func (a *app) serverStatus() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "status", Short: "Which of the server's processes run", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := daemon.StatusOf(dir)
			if err != nil {
				return err
			}
			if a.flags.output == "json" {
				return json.NewEncoder(a.out).Encode(s)
			}
			fmt.Fprintf(a.out, "data %s  id %s\n", s.DataDir, s.ID)
			if s.Endpoint != "" {
				fmt.Fprintf(a.out, "endpoint %s  front %s  account %s  region %s\n", s.Endpoint, s.Front, s.Account, s.Region)
			}
			for _, p := range s.Processes {
				state := "not running"
				if p.PID != 0 {
					state = fmt.Sprintf("pid %d", p.PID)
				}
				fmt.Fprintf(a.out, "  %-12s %s\n", p.Name, state)
			}
			return nil
		}}
	c.Flags().StringVar(&dir, "data-dir", daemon.DefaultDataDir, "the server's data directory")
	return c
}

func (a *app) serverEnv() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "env", Short: "Print what a shell needs to use the server as root of its account", Args: cobra.NoArgs,
		Example: `  eval "$(sudo lotse server env)"`,
		RunE: func(*cobra.Command, []string) error {
			e, err := daemon.Environment(dir)
			if err != nil {
				return err
			}
			for _, kv := range e {
				fmt.Fprintf(a.out, "export %s='%s'\n", kv[0], kv[1])
			}
			return nil
		}}
	c.Flags().StringVar(&dir, "data-dir", dataDirFromEnv(), "the server's data directory")
	return c
}

func (a *app) serverCA() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "ca", Short: "Print the certificate of the authority that issues what ACM is asked for", Args: cobra.NoArgs,
		Long: `Prints, as PEM, the certificate of the server's own certificate authority. A client that is to trust
the certificates that RequestCertificate issues has to be given it.`,
		Example: "  sudo lotse server ca > lotse-ca.pem\n  curl --cacert lotse-ca.pem https://shop.example.com/\n" +
			"  sudo sh -c 'lotse server ca > /usr/local/share/ca-certificates/lotse.crt && update-ca-certificates'",
		RunE: func(*cobra.Command, []string) error {
			text, err := daemon.Authority(dir)
			if err == nil {
				_, err = a.out.Write(text)
			}
			return err
		}}
	c.Flags().StringVar(&dir, "data-dir", dataDirFromEnv(), "the server's data directory")
	return c
}

func (a *app) serverReset() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "reset", Short: "Empty a server that was started with --ephemeral", Args: cobra.NoArgs,
		Long: `Kills all tasks and deletes all records, images and logs of a server that was started with
--ephemeral; its root key stays. Imported base images go, too.`,
		Example: "  lotse server reset\n  sudo lotse server reset --data-dir /tmp/lotse-123",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir != "" {
				e, err := daemon.Environment(dir)
				if err != nil {
					return err
				}
				for _, kv := range e {
					if err := os.Setenv(kv[0], kv[1]); err != nil {
						return err
					}
				}
			}
			t, err := a.target(cmd.Context())
			if err != nil {
				return err
			}
			if t.local == nil {
				return fmt.Errorf("%s is no Lotse server", t.banner())
			}
			return t.local.call(cmd.Context(), "POST", "/_lotse/reset", nil, nil)
		}}
	c.Flags().StringVar(&dir, "data-dir", "", "the server's data directory (else the server that the environment names)")
	return c
}

func dataDirFromEnv() string {
	if d := os.Getenv("LOTSE_DATA_DIR"); d != "" {
		return d
	}
	return daemon.DefaultDataDir
}

// byteSize is a flag's number of bytes: 512MiB, 20g.
type byteSize int64

func (b *byteSize) String() string {
	if *b == 0 {
		return "0" // which help doesn't show as the default
	}
	return units.BytesSize(float64(*b))
}

func (b *byteSize) Set(s string) error {
	n, err := units.RAMInBytes(s)
	*b = byteSize(n)
	return err
}

func (b *byteSize) Type() string { return "size" }
