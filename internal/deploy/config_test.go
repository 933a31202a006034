package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "My Shop")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if text != "" {
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return LoadConfig(dir)
}

func TestLoadConfig_NeedsNoFile(t *testing.T) {
	c, err := load(t, "")
	if err != nil || c.Name != "my-shop" {
		t.Errorf("LoadConfig = %+v, %v; want name my-shop", c, err)
	}
}

func TestLoadConfig_Refuses(t *testing.T) {
	for text, want := range map[string]string{
		"helthcheck: {}":                 `unknown key "helthcheck"`,
		"nam: shop":                      `did you mean "name"?`,
		"http: {helthcheck: {path: /}}":  "helthcheck",
		"deployment: {timeout: 30}":      "write a number with a unit",
		"name: Shop_1":                   "lower-case letters",
		"image: {build: {dockerfil: x}}": `did you mean "dockerfile"?`,
		"- a\n- b":                       "want a mapping",
		"name: [":                        "yaml",
	} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("LoadConfig(%q) = %v; want an error with %q", text, err, want)
		}
	}
}

func TestLoadConfig_ExpandsVariablesInValuesOnly(t *testing.T) {
	t.Setenv("LEVEL", "debug: {x")
	c, err := load(t, "name: shop\nvariables: {A: '${LEVEL}', B: '${NOPE:-7}', C: '${NOPE}'}\nimage: {build: ./app, port: 80}\nx-note: kept out\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.Variables["A"] != "debug: {x" || c.Variables["B"] != "7" || c.Variables["C"] != "" || c.Image.Build.Context != "./app" {
		t.Errorf("LoadConfig = %+v", c)
	}
}

func TestApp_Defaults(t *testing.T) {
	a := App{Config: Config{Name: "shop"}, Env: "local", Lotse: true}
	h := a.http()
	if h.Path != "/" || h.HealthCheck.SuccessCodes != "200-399" || time.Duration(h.DeregistrationDelay) != 20*time.Second || a.Host() != "shop.localhost" || a.count() != 2 {
		t.Errorf("defaults = %+v, host %q", h, a.Host())
	}
	a.HTTP = &HTTP{HealthCheck: HealthCheck{Path: "/healthz"}}
	if got := a.http().HealthCheck.SuccessCodes; got != "200" {
		t.Errorf("success codes of a path of one's own = %q, want 200", got)
	}
}

func TestConditions_Bands(t *testing.T) {
	for _, tc := range []struct {
		app      App
		fields   string
		priority int
	}{
		{App{Config: Config{Name: "a"}, Lotse: true}, "host-header", 5000},
		{App{Config: Config{Name: "a"}}, "path-pattern", 40000},
		{App{Config: Config{Name: "a", HTTP: &HTTP{Path: "/api"}}}, "path-pattern", 10000},
		{App{Config: Config{Name: "a", HTTP: &HTTP{Path: "/api", Host: "a.example.com"}}}, "host-header path-pattern", 1000},
	} {
		cs, p := conditions(tc.app)
		var fields []string
		for _, c := range cs {
			fields = append(fields, *c.Field)
		}
		if strings.Join(fields, " ") != tc.fields || p != tc.priority {
			t.Errorf("conditions(%+v) = %v, %d; want %s, %d", tc.app, fields, p, tc.fields, tc.priority)
		}
	}
}

func TestURLOf(t *testing.T) {
	for _, tc := range [][4]string{
		{"shop.localhost", "127.0.0.1:80", "/", "http://shop.localhost/"},
		{"shop.localhost", "127.0.0.1:8080", "/x", "http://shop.localhost:8080/x"},
		{"a.example.com", "a.example.com:80", "/", "http://a.example.com/"},
	} {
		if got := urlOf(tc[0], tc[1], tc[2]); got != tc[3] {
			t.Errorf("urlOf(%q, %q, %q) = %q, want %q", tc[0], tc[1], tc[2], got, tc[3])
		}
	}
}
