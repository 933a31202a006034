// Package archtest holds the arrows between the packages. Changing an arrow means changing a reason here.
package archtest

import (
	"encoding/json"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lotse-project/lotse/internal/"

// A room is a package and what of ours it may import, with the reason.
type room struct {
	may    []string
	reason string
}

var (
	services    = []string{"arn", "awsauth", "awslogs", "awswire", "lazyregexp", "policy", "segment", "state", "store"}
	controllers = []string{"arn", "awslogs", "lbconfig", "linklocal", "network", "reconcile", "runtime", "state", "store"}
)

const (
	leaf       = "a leaf: it can be understood, tested and replaced alone"
	service    = "services meet in state, never in one another: to check a target group, read its record"
	controller = "controllers act on the world; services and other controllers are none of their business"
)

var rooms = map[string]room{
	"arn":              {nil, leaf},
	"store":            {nil, leaf},
	"segment":          {nil, leaf},
	"awswire":          {nil, leaf},
	"sdkhttp":          {nil, leaf},
	"awswire/wiretest": {[]string{"awswire", "sdkhttp"}, "the SDK judges any API"},
	"policy":           {[]string{"lazyregexp"}, leaf},
	"reconcile":        {nil, leaf},
	"lbconfig":         {nil, leaf},
	"network":          {nil, leaf},
	"linklocal":        {nil, leaf},
	"proc":             {nil, leaf},
	"runtime":          {nil, leaf},
	"runtime/fake":     {[]string{"runtime"}, "an engine in memory"},
	"runtime/contract": {[]string{"runtime", "runtime/fake"}, "the suite of every engine, tried on the fake"},
	"runtime/ctrd":     {[]string{"lazyregexp", "oci", "proc", "runtime", "segment"}, "containerd's only home: engine and blob store"},
	"lazyregexp":       {nil, leaf},
	"lifecycle":        {nil, leaf},
	"oci":              {[]string{"lazyregexp"}, leaf},
	"oci/ocitest":      {[]string{"oci"}, "the suite of every blob store"},
	"seal":             {nil, leaf},
	"awsauth":          {[]string{"arn", "awswire"}, "its refusals are AWS errors, and a caller has a scope"},
	"state":            {[]string{"arn", "policy", "store"}, "records and tables, and the questions about them that several services ask"},
	"lb":               {[]string{"lbconfig", "proc", "seal"}, "the data plane knows no store: it serves while the control plane is down; certificates' keys come to it sealed"},
	"iam":              {append([]string{"seal"}, services...), service + "; and iam seals session tokens"},
	"vpc":              {services, service},
	"elb":              {services, service},
	"logpattern":       {nil, leaf},
	"awslogs":          {nil, leaf},
	"logs":             {append([]string{"logpattern"}, services...), service},
	"ecs":              {services, service},
	"efs":              {services, service},
	"acm":              {append([]string{"seal"}, services...), service},
	"ssm":              {append([]string{"seal"}, services...), service},
	"secrets":          {append([]string{"seal"}, services...), service},
	"ecr":              {append([]string{"lifecycle", "oci"}, services...), service + "; and ecr keeps the registry's records"},
	"scheduler":        {controllers, controller},
	"task":             {controllers, controller},
	"target":           {controllers, controller},
	"accesslog":        {controllers, "it writes down what the balancer logged, where the records say"},
	"metric":           {[]string{"lbconfig", "segment"}, "it writes down what the balancer measured, and reads it"},
	"fabric":           {controllers, controller},
	"build":            {[]string{"proc"}, "the builder's client and daemon: usable without a server"},
	"deploy":           {nil, "it uses the public AWS API like any other client, so that it works against AWS too"},
	"cli":              {[]string{"build", "daemon", "deploy", "sdkhttp"}, "the command line; daemon only for `lotse server`"},
	"archtest":         {nil, "it reads the others' imports"},
	"awswire/gen":      {nil, "it makes awswire's tables out of the SDK"},
}

// Libraries with one home.
var homes = map[string][]string{
	"database/sql":                         {"store"},
	"modernc.org/sqlite":                   {"store"},
	"github.com/vishvananda/netlink":       {"network"},
	"github.com/google/nftables":           {"network"},
	"github.com/containerd/containerd/v2/": {"runtime/ctrd"},
	"github.com/moby/buildkit/":            {"build"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var ps []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

func TestArrows(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		r, known := rooms[name]
		if !known && name != "daemon" { // daemon may import everything
			t.Errorf("%s is not in this test's list: add it, with what it may import and why", name)
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			if to == "daemon" && name != "cli" {
				t.Errorf("%s imports daemon: it is the composition root, imported by the command line alone", name)
			}
			if name != "daemon" && !slices.Contains(r.may, to) && path.Dir(to) != name {
				t.Errorf("%s imports %s, but %s", name, to, r.reason)
			}
		}
	}
}

func TestHomes(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			for lib, at := range homes {
				if (imp == lib || strings.HasSuffix(lib, "/") && strings.HasPrefix(imp, lib)) && !slices.Contains(at, name) {
					t.Errorf("%s imports %s, whose home is %v", name, imp, at)
				}
			}
		}
	}
}
