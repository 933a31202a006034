package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// FileName is the application's one configuration file. Every key of it is optional.
const FileName = "lotse.yml"

// A Config is what lotse.yml may say. A key that isn't here is an error, never ignored.
type Config struct {
	Name         string                 `yaml:"name"`
	Image        Image                  `yaml:"image"`
	HTTP         *HTTP                  `yaml:"http"`
	CPU          int                    `yaml:"cpu"`    // units, 1024 = 1 vCPU; default 256
	Memory       int                    `yaml:"memory"` // MiB; default 512
	Count        *int                   `yaml:"count"`  // tasks at first start; default 2
	Command      []string               `yaml:"command"`
	EntryPoint   []string               `yaml:"entrypoint"`
	Variables    map[string]string      `yaml:"variables"`
	Tags         map[string]string      `yaml:"tags"`
	Deployment   Deployment             `yaml:"deployment"`
	Environments map[string]Environment `yaml:"environments"`
}

// Image says where the image comes from.
type Image struct {
	Build    Build  `yaml:"build"`
	Location string `yaml:"location"` // a ready image: nothing is built
	Port     int    `yaml:"port"`     // default: the image's single EXPOSE
}

// Build is a folder, or a mapping.
type Build struct {
	Dockerfile string            `yaml:"dockerfile"`
	Context    string            `yaml:"context"`
	Target     string            `yaml:"target"`
	Platform   string            `yaml:"platform"`
	Args       map[string]string `yaml:"args"`
	Contexts   map[string]string `yaml:"contexts"`   // named ones, as of --build-context; folders are relative to lotse.yml
	Secrets    []string          `yaml:"secrets"`    // as of --secret
	SSH        []string          `yaml:"ssh"`        // as of --ssh
	CacheFrom  []string          `yaml:"cache_from"` // as of --cache-from
	CacheTo    []string          `yaml:"cache_to"`   // as of --cache-to
}

// UnmarshalYAML accepts "build: ." for "build: {context: .}".
func (b *Build) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&b.Context)
	}
	type plain Build
	if err := known(n, "image.build", "dockerfile", "context", "target", "platform", "args", "contexts", "secrets", "ssh", "cache_from", "cache_to"); err != nil {
		return err
	}
	return n.Decode((*plain)(b))
}

// HTTP is how requests reach the service.
type HTTP struct {
	Host                string      `yaml:"host"`
	Path                string      `yaml:"path"` // default /
	HealthCheck         HealthCheck `yaml:"healthcheck"`
	DeregistrationDelay Duration    `yaml:"deregistration_delay"` // default 20 s
}

// HealthCheck is the target group's check.
type HealthCheck struct {
	Path               string   `yaml:"path"`
	SuccessCodes       string   `yaml:"success_codes"`
	Interval           Duration `yaml:"interval"`            // default 5 s
	Timeout            Duration `yaml:"timeout"`             // default 3 s
	HealthyThreshold   int      `yaml:"healthy_threshold"`   // default 2
	UnhealthyThreshold int      `yaml:"unhealthy_threshold"` // default 2
	GracePeriod        Duration `yaml:"grace_period"`        // default 60 s
}

// Deployment steers the rollout.
type Deployment struct {
	CircuitBreaker *struct {
		Rollback *bool `yaml:"rollback"`
	} `yaml:"circuit_breaker"`
	Timeout Duration `yaml:"timeout"` // default 10 min
}

// Environment overrides for one place to run.
type Environment struct {
	Profile string `yaml:"profile"`
	Region  string `yaml:"region"`
	Account string `yaml:"account"` // any other account is refused
	Count   *int   `yaml:"count"`
}

// Duration is a number with a unit: 20s, 5m.
type Duration time.Duration

// UnmarshalYAML refuses bare numbers: seconds or milliseconds?
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %q is not a duration: write a number with a unit, such as 20s or 5m", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

func (d Duration) or(def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// A ConfigError is a fault in lotse.yml or in what it can't guess.
type ConfigError struct{ Reason string }

func (e *ConfigError) Error() string { return e.Reason }

// LoadConfig reads DIR/lotse.yml; without one the defaults hold and the name is the folder's.
func LoadConfig(dir string) (Config, error) {
	c, err := LoadUnnamed(dir)
	if err == nil && !appName.MatchString(c.Name) {
		err = &ConfigError{fmt.Sprintf("name %q: 2 to 20 lower-case letters, digits and hyphens, beginning with a letter; it names repository, service, target group and more", c.Name)}
	}
	return c, err
}

// LoadUnnamed is LoadConfig for those who need no name.
func LoadUnnamed(dir string) (Config, error) {
	var c Config
	abs, err := filepath.Abs(dir)
	if err != nil {
		return c, err
	}
	if st, err := os.Stat(abs); err != nil || !st.IsDir() {
		return c, &ConfigError{fmt.Sprintf("%s is not a folder: pass the one that holds your Dockerfile", dir)}
	}
	b, err := os.ReadFile(filepath.Join(abs, FileName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return c, err
	}
	if err == nil {
		if err := decode(b, &c); err != nil {
			return c, &ConfigError{fmt.Sprintf("%s: %v", filepath.Join(dir, FileName), err)}
		}
	}
	if c.Name == "" {
		c.Name = toName(filepath.Base(abs))
	}
	return c, nil
}

// Private

// appName fits every resource that carries it: an ALB's and a target group's name has 32 characters.
var appName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,18}[a-z0-9]$`)

var notName = regexp.MustCompile(`[^a-z0-9]+`)

func toName(folder string) string {
	return strings.Trim(notName.ReplaceAllString(strings.ToLower(folder), "-"), "-")
}

func decode(b []byte, c *Config) error {
	var root yaml.Node
	if err := yaml.Unmarshal(b, &root); err != nil {
		return err
	}
	if len(root.Content) == 0 {
		return nil
	}
	expand(&root)
	if err := known(root.Content[0], "", "name", "image", "http", "cpu", "memory", "count", "command", "entrypoint", "variables", "tags", "deployment", "environments"); err != nil {
		return err
	}
	d := yaml.NewDecoder(bytes.NewReader(mustMarshal(&root)))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func mustMarshal(n *yaml.Node) []byte {
	b, err := yaml.Marshal(n)
	if err != nil {
		panic(err) // it was parsed from text a moment ago
	}
	return b
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}`)

// expand replaces ${VAR} and ${VAR:-default} in string values, after parsing, so that a value can't change the file's shape.
func expand(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.Value = variable.ReplaceAllStringFunc(n.Value, func(s string) string {
			m := variable.FindStringSubmatch(s)
			if v, ok := os.LookupEnv(m[1]); ok {
				return v
			}
			return m[3]
		})
	}
	for _, c := range n.Content {
		expand(c)
	}
}

// known drops x- keys and refuses unknown ones with the nearest known name.
func known(n *yaml.Node, where string, keys ...string) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want a mapping of keys to values", n.Line)
	}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i].Value
		if strings.HasPrefix(k, "x-") {
			continue
		}
		if !slices.Contains(keys, k) {
			return fmt.Errorf("line %d: unknown key %q%s%s", n.Content[i].Line, k, in(where), didYouMean(k, keys))
		}
		kept = append(kept, n.Content[i], n.Content[i+1])
	}
	n.Content = kept
	return nil
}

func in(where string) string {
	if where == "" {
		return ""
	}
	return " in " + where
}

// didYouMean names the key nearest by edits, if it is near.
func didYouMean(k string, keys []string) string {
	best, least := "", 4
	for _, c := range keys {
		if d := distance(k, c); d < least {
			best, least = c, d
		}
	}
	if best == "" {
		return "; known are " + strings.Join(keys, ", ")
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance counts the edits between two words (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
