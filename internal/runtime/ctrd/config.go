package ctrd

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strconv"
)

// disabledPlugins are those we never use; each costs memory or looks outside our directories.
var disabledPlugins = []string{
	"io.containerd.differ.v1.erofs",
	"io.containerd.grpc.v1.sandbox-controllers",
	"io.containerd.grpc.v1.sandboxes",
	"io.containerd.grpc.v1.streaming",
	"io.containerd.grpc.v1.transfer",
	"io.containerd.image-verifier.v1.bindir",
	"io.containerd.internal.v1.opt",
	"io.containerd.monitor.container.v1.restart",
	"io.containerd.monitor.task.v1.cgroups",
	"io.containerd.mount-handler.v1.erofs",
	"io.containerd.nri.v1.nri",
	"io.containerd.snapshotter.v1.blockfile",
	"io.containerd.snapshotter.v1.erofs",
	"io.containerd.snapshotter.v1.native",
	"io.containerd.streaming.v1.manager",
	"io.containerd.transfer.v1.local",
	"io.containerd.ttrpc.v1.streaming",
}

// renderConfig is containerd's whole configuration. Without imports = [] it would read /etc/containerd.
//
// socket_dir: by default shims put their sockets into /run/containerd/s, which all containerds of a machine share.
// oom_score: the shims get this plus one, containers their own; when memory is short, those go first.
func (s *Supervisor) renderConfig() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "version = 4\nroot = %s\nstate = %s\ntemp = %s\nimports = []\n",
		toml(s.root()), toml(s.state()), toml(s.temp()))
	if s.limits.mayRaise {
		b.WriteString("oom_score = -500\n")
	}
	b.WriteString("disabled_plugins = [\n")
	for _, p := range disabledPlugins {
		fmt.Fprintf(&b, "  %s,\n", toml(p))
	}
	b.WriteString("]\n\n[debug]\nlevel = \"warn\"\n")
	fmt.Fprintf(&b, "\n[plugins.\"io.containerd.server.v1.grpc\"]\naddress = %s\n", toml(s.Address()))
	fmt.Fprintf(&b, "\n[plugins.\"io.containerd.server.v1.ttrpc\"]\naddress = %s\n", toml(s.Address()+".ttrpc"))
	fmt.Fprintf(&b, "\n[plugins.\"io.containerd.shim.v1.manager\"]\nsocket_dir = %s\n", toml(s.sockets()))
	return b.Bytes()
}

func (s *Supervisor) binary(name string) string { return filepath.Join(s.o.BinDir, name) }

// toml quotes as TOML's basic strings do; Go's quoting agrees for all printable paths.
func toml(v string) string { return strconv.Quote(v) }
