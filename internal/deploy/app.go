package deploy

import (
	"fmt"
	"time"
)

// An App is a Config in one environment: the names and values of all that is made.
type App struct {
	Config
	Dir     string
	Env     string // environment, "local" unless told otherwise
	Account string
	Region  string
	Lotse   bool // the endpoint is a Lotse server, not AWS
	Port    int
}

// The names of what is made. Shared by the environment:
func (a App) Cluster() string       { return "lotse-" + a.Env }
func (a App) Balancer() string      { return "lotse-" + a.Env }
func (a App) BalancerGroup() string { return "lotse-" + a.Env + "-alb" }
func (a App) ExecutionRole() string { return "lotse-" + a.Env + "-execution" }

// And of the application alone:
func (a App) Repository() string  { return a.Name }
func (a App) Family() string      { return a.Name }
func (a App) Service() string     { return a.Name }
func (a App) TargetGroup() string { return a.Name }
func (a App) TaskGroup() string   { return "lotse-" + a.Env + "-" + a.Name }
func (a App) LogGroup() string    { return "/lotse/" + a.Env + "/" + a.Name }

// Owner is the tag that says whose a resource is.
func (a App) Owner() string { return a.Name + "/" + a.Env }

// Host is the name that requests come under. On a Lotse endpoint it defaults to NAME.localhost,
// so that two services never share a rule; on AWS there is none.
func (a App) Host() string {
	if a.HTTP != nil && a.HTTP.Host != "" {
		return a.HTTP.Host
	}
	if a.Lotse {
		return a.Name + ".localhost"
	}
	return ""
}

// http is the http section with its defaults.
func (a App) http() HTTP {
	var h HTTP
	if a.HTTP != nil {
		h = *a.HTTP
	}
	if h.Path == "" {
		h.Path = "/"
	}
	if h.HealthCheck.SuccessCodes == "" {
		// A redirect to a login page is the classic false alarm of the default path.
		h.HealthCheck.SuccessCodes = "200"
		if h.HealthCheck.Path == "" {
			h.HealthCheck.SuccessCodes = "200-399"
		}
	}
	if h.HealthCheck.Path == "" {
		h.HealthCheck.Path = h.Path
	}
	c := &h.HealthCheck
	c.Interval = Duration(c.Interval.or(5 * time.Second))
	c.Timeout = Duration(c.Timeout.or(3 * time.Second))
	c.GracePeriod = Duration(c.GracePeriod.or(60 * time.Second))
	h.DeregistrationDelay = Duration(max(0, h.DeregistrationDelay.or(20*time.Second)))
	if c.HealthyThreshold == 0 {
		c.HealthyThreshold = 2
	}
	if c.UnhealthyThreshold == 0 {
		c.UnhealthyThreshold = 2
	}
	return h
}

func (a App) count() int32 {
	if e, ok := a.Environments[a.Env]; ok && e.Count != nil {
		return int32(*e.Count)
	}
	if a.Count != nil {
		return int32(*a.Count)
	}
	return 2
}

func (a App) size() (cpu, memory string) {
	c, m := a.CPU, a.Memory
	if c == 0 {
		c = 256
	}
	if m == 0 {
		m = 512
	}
	return fmt.Sprint(c), fmt.Sprint(m)
}
