package build

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParse(t *testing.T) {
	output := func(s string) (any, error) { return ParseOutput(s) }
	from := func(s string) (any, error) { return ParseCache("--cache-from", s) }
	to := func(s string) (any, error) { return ParseCache("--cache-to", s) }
	secret := func(s string) (any, error) { return ParseSecret(s) }
	for _, c := range []struct {
		parse func(string) (any, error)
		text  string
		want  any // nil: an error
	}{
		{output, "out", Output{Type: "local", Dest: "out"}},
		{output, "-", Output{Type: "tar", Dest: "-"}},
		{output, "type=oci,dest=a.tar,compression=gzip", Output{Type: "oci", Dest: "a.tar", Attrs: map[string]string{"compression": "gzip"}}},
		{output, "type=docker", Output{Type: "docker", Dest: "-"}},
		{output, "type=image", Output{Type: "image"}},
		{output, "type=local", nil},
		{output, "type=image,dest=x", nil},
		{output, "type=s3,dest=x", nil},
		{output, "type=local,x", nil},
		{from, "localhost:4566/shop:cache", Cache{"registry", map[string]string{"ref": "localhost:4566/shop:cache"}}},
		{from, "type=local,src=dir", Cache{"local", map[string]string{"src": "dir"}}},
		{from, "type=inline", nil},
		{from, "type=registry", nil},
		{to, "type=inline", Cache{Type: "inline"}},
		{to, "type=registry,ref=shop:cache,mode=max", Cache{"registry", map[string]string{"ref": "shop:cache", "mode": "max"}}},
		{to, "type=local", nil},
		{to, "type=gha", nil},
		{secret, "id=a", Secret{ID: "a"}},
		{secret, "id=a,src=/x", Secret{ID: "a", File: "/x"}},
		{secret, "type=env,id=a,src=TOKEN", Secret{ID: "a", Env: "TOKEN"}},
		{secret, `id=a,"src=/x,y"`, Secret{ID: "a", File: "/x,y"}},
		{secret, "src=/x", nil},
		{secret, "id=a,sorce=/x", nil},
		{secret, "id=a,type=vault", nil},
	} {
		got, err := c.parse(c.text)
		if (err != nil) != (c.want == nil) {
			t.Errorf("%q: %v, want an error: %v", c.text, err, c.want == nil)
		}
		if d := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); c.want != nil && d != "" {
			t.Errorf("%q (-want +got):\n%s", c.text, d)
		}
	}
	if d := cmp.Diff([]Agent{{ID: "default"}, {ID: "x", Paths: []string{"/a", "/b"}}}, []Agent{ParseAgent("default"), ParseAgent("x=/a,/b")}); d != "" {
		t.Errorf("agents (-want +got):\n%s", d)
	}
}
