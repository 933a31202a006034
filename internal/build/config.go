package build

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/docker-image-spec/specs-go/v1"
)

// ConfigInfo is what an image's config says about running it.
type ConfigInfo struct {
	ExposedPorts []Port       // in ascending order
	Healthcheck  *Healthcheck // nil: none
}

// A Port is one that EXPOSE names.
type Port struct {
	Number   uint16
	Protocol string // "tcp", "udp" or "sctp"
}

// Port is the one TCP port that the image exposes; 0 when it exposes none or several.
func (c ConfigInfo) Port() uint16 {
	var found uint16
	for _, p := range c.ExposedPorts {
		if p.Protocol != "tcp" {
			continue
		}
		if found != 0 {
			return 0
		}
		found = p.Number
	}
	return found
}

// Healthcheck is a Dockerfile's HEALTHCHECK. ECS ignores it in the image; it counts only in a container definition,
// whose members are the same. Source: ECS API Reference, HealthCheck.
type Healthcheck struct {
	Command     []string // with "CMD" or "CMD-SHELL" first, as ECS wants it
	Interval    time.Duration
	Timeout     time.Duration
	StartPeriod time.Duration
	Retries     int // 0, like the durations: not said
}

// ParseConfig reads an image's config, application/vnd.oci.image.config.v1+json, which holds Docker's members too.
func ParseConfig(b []byte) (ConfigInfo, error) {
	_, c, err := parseConfig(b)
	return c, err
}

// Private

// parseConfig gives the platform too, "linux/arm64".
func parseConfig(b []byte) (platform string, c ConfigInfo, err error) {
	var img v1.DockerOCIImage
	if err := json.Unmarshal(b, &img); err != nil {
		return "", c, fmt.Errorf("image config: %w", err)
	}
	platform = img.OS + "/" + img.Architecture
	if img.Variant != "" {
		platform += "/" + img.Variant
	}
	for p := range img.Config.ExposedPorts {
		port, err := parsePort(p)
		if err != nil {
			return platform, c, fmt.Errorf("image config: ExposedPorts: %w", err)
		}
		c.ExposedPorts = append(c.ExposedPorts, port)
	}
	sortPorts(c.ExposedPorts)
	c.Healthcheck = healthcheck(img.Config.Healthcheck)
	return platform, c, nil
}

// parsePort reads "8080/tcp" or "8080".
func parsePort(s string) (Port, error) {
	n, proto, ok := strings.Cut(s, "/")
	if !ok {
		proto = "tcp"
	}
	number, err := strconv.ParseUint(n, 10, 16)
	if err != nil || number == 0 {
		return Port{}, fmt.Errorf("%q is not a port", s)
	}
	return Port{uint16(number), strings.ToLower(proto)}, nil
}

func healthcheck(h *v1.HealthcheckConfig) *Healthcheck {
	if h == nil || len(h.Test) < 2 || h.Test[0] == "NONE" {
		return nil
	}
	return &Healthcheck{Command: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries}
}

// sortPorts sorts by number, then protocol.
func sortPorts(ports []Port) {
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), strings.Compare(a.Protocol, b.Protocol))
	})
}
