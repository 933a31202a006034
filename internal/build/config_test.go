package build

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseConfig(t *testing.T) {
	for name, tt := range map[string]struct {
		config string
		want   ConfigInfo
		port   uint16
	}{
		"nothing": {config: `{"os":"linux","architecture":"amd64","config":{}}`},
		"one port": {
			config: `{"config":{"ExposedPorts":{"8080/tcp":{}}}}`,
			want:   ConfigInfo{ExposedPorts: []Port{{8080, "tcp"}}}, port: 8080,
		},
		"without protocol": {
			config: `{"config":{"ExposedPorts":{"80":{}}}}`,
			want:   ConfigInfo{ExposedPorts: []Port{{80, "tcp"}}}, port: 80,
		},
		"one TCP port among others": {
			config: `{"config":{"ExposedPorts":{"53/udp":{},"53/tcp":{}}}}`,
			want:   ConfigInfo{ExposedPorts: []Port{{53, "tcp"}, {53, "udp"}}}, port: 53,
		},
		"several": {
			config: `{"config":{"ExposedPorts":{"9090/tcp":{},"80/tcp":{}}}}`,
			want:   ConfigInfo{ExposedPorts: []Port{{80, "tcp"}, {9090, "tcp"}}},
		},
		"health check": {
			config: `{"config":{"Healthcheck":{"Test":["CMD","/bin/check","x"],"Interval":30000000000,"Timeout":2000000000,"StartPeriod":1000000000,"Retries":3}}}`,
			want: ConfigInfo{Healthcheck: &Healthcheck{Command: []string{"CMD", "/bin/check", "x"}, Interval: 30 * time.Second,
				Timeout: 2 * time.Second, StartPeriod: time.Second, Retries: 3}},
		},
		"health check switched off": {config: `{"config":{"Healthcheck":{"Test":["NONE"]}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseConfig([]byte(tt.config))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if p := got.Port(); p != tt.port {
				t.Errorf("Port() = %d, want %d", p, tt.port)
			}
		})
	}
	for _, bad := range []string{``, `[]`, `{"config":{"ExposedPorts":{"http/tcp":{}}}}`, `{"config":{"ExposedPorts":{"70000/tcp":{}}}}`, `{"config":{"ExposedPorts":{"0":{}}}}`} {
		if _, err := ParseConfig([]byte(bad)); err == nil {
			t.Errorf("ParseConfig(%q) = nil error", bad)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"config":{"ExposedPorts":{"8080/tcp":{}},"Healthcheck":{"Test":["CMD","x"]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig(b)
		if err == nil && c.Healthcheck != nil && len(c.Healthcheck.Command) < 2 {
			t.Errorf("a health check without command: %q", b)
		}
	})
}
