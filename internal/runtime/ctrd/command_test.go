package ctrd

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/runtime"
)

func TestNewCommand_EntryPointAndCommand(t *testing.T) {
	list := func(s ...string) []string { return append([]string{}, s...) }
	for _, test := range []struct {
		name             string
		imageEntry, cmd  []string
		entry, container []string
		want             []string // nil = refused
	}{
		{"image's both", list("e"), list("c"), nil, nil, list("e", "c")},
		{"command of one's own", list("e"), list("c"), nil, list("x", "y"), list("e", "x", "y")},
		{"entry point of one's own drops the image's command", list("e"), list("c"), list("x"), nil, list("x")},
		{"both of one's own", list("e"), list("c"), list("x"), list("y"), list("x", "y")},
		{"empty command drops the image's", list("e"), list("c"), nil, list(), list("e")},
		{"empty entry point resets the image's", list("e"), list("c"), list(), list("y"), list("y")},
		{"nothing at all", nil, nil, nil, nil, nil},
		{"nothing left", list("e"), list("c"), list(), nil, nil},
		{"only a command in the image", nil, list("c"), nil, nil, list("c")},
	} {
		got, err := newCommand(ocispec.ImageConfig{Entrypoint: test.imageEntry, Cmd: test.cmd}, "h",
			runtime.ContainerSpec{EntryPoint: test.entry, Command: test.container})
		if test.want == nil {
			if !errors.Is(err, runtime.ErrUnrunnable) {
				t.Errorf("%s: error %v, want ErrUnrunnable", test.name, err)
			}
			continue
		}
		if diff := cmp.Diff(test.want, got.args); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", test.name, err, diff)
		}
	}
}

func TestNewCommand_TheRest(t *testing.T) {
	image := ocispec.ImageConfig{Cmd: []string{"c"}, User: "app", WorkingDir: "srv", Env: []string{"A=1", "B=1", "PATH=/x"}}
	got, err := newCommand(image, "host", runtime.ContainerSpec{Env: []string{"B=2", "C=3", "C=4"}})
	want := command{args: []string{"c"}, cwd: "/srv", user: "app", env: []string{"PATH=/x", "HOSTNAME=host", "A=1", "B=2", "C=4"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(command{})); diff != "" || err != nil {
		t.Errorf("newCommand() = %v (-want +got)\n%s", err, diff)
	}
	got, err = newCommand(image, "host", runtime.ContainerSpec{User: "0", WorkingDir: "/w"})
	if got.user != "0" || got.cwd != "/w" || err != nil {
		t.Errorf("newCommand() = %+v, %v, want user 0 in /w", got, err)
	}
}

func TestCapabilities(t *testing.T) {
	without := func(drop ...string) []string {
		got, err := capabilities(nil, drop)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, test := range []struct {
		name      string
		add, drop []string
		want      []string
	}{
		{"default", nil, nil, defaultCapabilities},
		{"add one that is there", []string{"chown"}, nil, defaultCapabilities},
		{"add", []string{"SYS_PTRACE"}, nil, append(without(), "CAP_SYS_PTRACE")},
		{"drop all, add one", []string{"CAP_KILL"}, []string{"ALL"}, []string{"CAP_KILL"}},
		{"drop all", nil, []string{"all"}, nil},
		{"drop and add the same", []string{"CAP_KILL"}, []string{"KILL"}, append(without("KILL"), "CAP_KILL")},
	} {
		got, err := capabilities(test.add, test.drop)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", test.name, err, diff)
		}
	}
	all, err := capabilities([]string{"ALL"}, []string{"SYS_ADMIN"})
	if err != nil || len(all) < 38 || cmp.Diff(all, append(all, "CAP_SYS_ADMIN")) == "" {
		t.Errorf("all but one = %v, %v", all, err)
	}
	if _, err := capabilities(nil, []string{"FLY"}); !errors.Is(err, runtime.ErrUnrunnable) {
		t.Errorf("unknown capability: %v, want ErrUnrunnable", err)
	}
}
