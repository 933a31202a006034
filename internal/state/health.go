package state

import "time"

// The values of a container's and a task's healthStatus. Source: ECS API Reference, HealthStatus.
const (
	Healthy   = "HEALTHY"
	Unhealthy = "UNHEALTHY"
	Unknown   = "UNKNOWN" // still evaluating
)

// ContainerHealth is what a container's own health check says of its present run.
type ContainerHealth struct {
	Status   string    // "" without a health check
	Since    time.Time // of Status
	ExitCode int       // of the last check that was noted; -1 when it took too long or could not run
	Output   string    // of that check, its begin
}

// Health is the health of the task, "" when no essential container has a health check. A container that isn't essential
// doesn't count. Source: DG healthcheck.
func (s TaskStatus) Health() string {
	health := ""
	for _, c := range s.Containers {
		switch {
		case !c.Essential:
		case c.Health.Status == Unhealthy:
			return Unhealthy
		case c.Health.Status == Unknown, health == "":
			health = c.Health.Status
		}
	}
	return health
}
