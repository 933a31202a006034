package state

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// ECS's records. Clusters, task definitions, services, deployments and tasks are intent,
// written by the API (service tasks and rollbacks: by the scheduler); the Statuses tables
// with the same keys are written by one controller each.
var (
	Clusters           = store.NewTable[Cluster]("ecs.cluster")                    // scope/name
	Families           = store.NewTable[Family]("ecs.family")                      // scope/family
	TaskDefinitions    = store.NewTable[TaskDefinition]("ecs.task-definition")     // scope/family/%010d revision
	Services           = store.NewTable[Service]("ecs.service")                    // scope/cluster/name
	Deployments        = store.NewTable[Deployment]("ecs.deployment")              // scope/cluster/service/%010d sequence
	ServiceStatuses    = store.NewTable[ServiceStatus]("ecs.service.status")       // as Services; written by scheduler
	DeploymentStatuses = store.NewTable[DeploymentStatus]("ecs.deployment.status") // as Deployments; those that are Gone, moved by scheduler
	ServiceActions     = store.NewTable[ServiceAction]("ecs.action")               // scope/cluster/service/%020d revision/%03d
	Tasks              = store.NewTable[Task]("ecs.task")                          // scope/cluster/id
	TaskStatuses       = store.NewTable[TaskStatus]("ecs.task.status")             // as Tasks; written by task
	RunTokens          = store.NewTable[RunToken]("ecs.run-token")                 // scope/cluster/clientToken
	AccountSettings    = store.NewTable[AccountSetting]("ecs.account-setting")     // scope/principal's ARN/name
)

// A RunToken is the clientToken of a RunTask that has started tasks. SDKs send one with every call.
type RunToken struct {
	Request string   // digest of the request
	Tasks   []string // ids
	At      time.Time
}

// RunTokenLife is how long a clientToken is remembered.
const RunTokenLife = 24 * time.Hour

// An AccountSetting is what a principal has set; the root's holds for all who have none.
type AccountSetting struct{ Value string }

// LogMode is an account's defaultLogDriverMode; "" when it has none.
func LogMode(tx store.Reader, sc arn.Scope) (string, error) {
	o, err := AccountSettings.Get(tx, sc.Key("arn:aws:iam::"+sc.Account+":root", string(ecstypes.SettingNameDefaultLogDriverMode)))
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return o.Val.Value, err
}

// A Cluster groups services and tasks.
type Cluster struct {
	Scope     arn.Scope
	Name      string
	Status    string // ACTIVE, INACTIVE
	CreatedAt time.Time
	Tags      map[string]string

	CapacityProviders []string       // FARGATE, FARGATE_SPOT
	DefaultStrategy   []StrategyItem // for tasks and services that name neither launch type nor strategy
}

// A StrategyItem is one capacity provider of a strategy: Base tasks of a service or a RunTask go to it first,
// the others are divided by Weight.
type StrategyItem struct {
	Provider     string
	Base, Weight int
}

// ARN names the cluster.
func (c Cluster) ARN() string { return c.Scope.ARN("ecs", "cluster/"+c.Name) }

// A Family remembers the last revision number, which never goes back (DG: task definition revisions).
type Family struct{ Last int }

// A TaskDefinition is one immutable revision; only its status and tags change.
type TaskDefinition struct {
	Scope      arn.Scope
	Definition ecstypes.TaskDefinition // as DescribeTaskDefinition shows it
	Tags       map[string]string
}

// A Service keeps DesiredCount tasks of its newest deployment running.
type Service struct {
	Scope          arn.Scope
	Cluster, Name  string
	CreatedAt      time.Time
	CreatedBy      string
	DeletedAt      time.Time // zero while ACTIVE; then DRAINING until no task is left
	DesiredCount   int
	MinimumHealthy int // percent of DesiredCount, 0 to 100; default 100
	Maximum        int // percent of DesiredCount, 100 to 200 and above; default 200
	CircuitBreaker CircuitBreaker
	GracePeriod    int    // seconds after a task's start in which failing health is ignored
	PropagateTags  string // "", TASK_DEFINITION, SERVICE
	ManagedTags    bool   // enableECSManagedTags
	RoleARN        string // "" without a load balancer
	Tags           map[string]string
	Rebalance      bool // availabilityZoneRebalancing ENABLED
	Sequence       int  // of the newest deployment made by the API or the scheduler; the next takes Sequence+1
	ClientToken    string
	StopDeployment DeploymentStop
}

// A DeploymentStop is the wish of StopServiceDeployment; the zero value is none.
type DeploymentStop struct {
	ID string // Deployment.ID
	// Rollback: to what served before; else the deployment ends and what runs stays.
	Rollback bool
}

// CircuitBreaker stops a deployment whose tasks keep failing.
type CircuitBreaker struct {
	Enable, Rollback bool
	KeepCount        bool   // resetOnHealthyTask false: a healthy task doesn't take the count back to 0
	ThresholdType    string // "" for BOUNDED_PERCENT of 50; else BOUNDED_PERCENT, UNBOUNDED_PERCENT, COUNT
	ThresholdValue   int    // percent of the desired count, or the threshold itself
}

// Threshold is how many failed tasks end a deployment: half of the desired count rounded up, at least 3 and at most
// 200, unless configured otherwise. Source: DG deployment-circuit-breaker: desired 1 → 3, 25 → 13, 400 → 200;
// API reference, ThresholdConfiguration.
func (b CircuitBreaker) Threshold(desired int) int {
	percent := func(p int) int { return (desired*p + 99) / 100 }
	switch b.ThresholdType {
	case "COUNT":
		return b.ThresholdValue
	case "UNBOUNDED_PERCENT":
		return max(1, percent(b.ThresholdValue)) // 0 would fail a deployment that has not begun
	case "BOUNDED_PERCENT":
		return min(200, max(3, percent(b.ThresholdValue)))
	}
	return min(200, max(3, percent(50)))
}

// ARN names the service.
func (s Service) ARN() string { return s.Scope.ARN("ecs", "service/"+s.Cluster+"/"+s.Name) }

// ClusterARN names the service's cluster.
func (s Service) ClusterARN() string { return s.Scope.ARN("ecs", "cluster/"+s.Cluster) }

// Key is the service's key in Services and ServiceStatuses.
func (s Service) Key() string { return s.Scope.Key(s.Cluster, s.Name) }

// AwsvpcConfiguration is where tasks get their addresses.
type AwsvpcConfiguration struct {
	Subnets        []string
	SecurityGroups []string // never empty: the VPC's default group when the caller named none
	AssignPublicIP bool
}

// A ServiceLoadBalancer registers a container's port in a target group.
type ServiceLoadBalancer struct {
	TargetGroupARN, Container string
	Port                      int
}

// A Deployment is one wish of what a service should run. It never changes; the one with the
// highest Sequence is PRIMARY.
type Deployment struct {
	Sequence int
	ID       string // ecs-svc/<19 digits>
	ARNID    string // 21 characters, last part of the service deployment's ARN
	// RevisionID is the last part of the service revision's ARN: the 19 digits of ID (by them Terraform finds the service
	// deployment of deployments[].id), but for a rollback, which has the revision that served.
	RevisionID        string
	TaskDefinitionARN string
	LaunchType        string         // "" with a strategy
	Strategy          []StrategyItem // capacity providers; empty with a launch type
	PlatformVersion   string
	Network           AwsvpcConfiguration
	LoadBalancers     []ServiceLoadBalancer
	CreatedAt         time.Time
	RollbackOf        string   // ID of the failed deployment that this one rolls back; "" otherwise
	Source            []string // revision ids that were in use when it was made
}

// A ServiceStatus is what the scheduler has done about a Service.
type ServiceStatus struct {
	Status      string                      // ACTIVE, DRAINING, INACTIVE
	Deployments map[string]DeploymentStatus // by Deployment.ID, of those that aren't Gone
	Oldest      int                         // the least Sequence of a deployment that isn't Gone
	Events      []ServiceEvent              // newest first, at most 100
	Steady      bool                        // the steady-state event was given for the present state
	InactiveAt  time.Time
	Noted       map[string]string   // what the last event of a kind was about, for suppression
	Told        map[string][]string // task id → facts that have become events or been counted
}

// A DeploymentStatus is a deployment's progress.
type DeploymentStatus struct {
	RolloutState       string // IN_PROGRESS, COMPLETED, FAILED
	RolloutStateReason string
	FailedTasks        int    // consecutive
	Unhealable         string // why a task could not start, if trying again is no use
	StartedAt          time.Time
	UpdatedAt          time.Time
	FinishedAt         time.Time
	Superseded         bool              // a newer deployment came before it completed
	Gone               bool              // replaced, and none of its tasks is left
	Reason             string            // what ended it before it completed, in the words of the service deployments API
	NoCandidate        bool              // it was to be rolled back, and no deployment had completed before it
	FailedAt           time.Time         // last failure, for the start throttle
	Images             map[string]string // container → digest, once the first task has resolved it
}

// A ServiceAction is one line of a service's log: what its scheduler did or told, and why.
type ServiceAction struct {
	At         time.Time
	Deployment string // Deployment.ID
	Task       string // id, "" if it is about the service
	What       string // START, STOP, EVENT
	Why        string
}

// A ServiceEvent is one line of a service's story, in ECS's words.
type ServiceEvent struct {
	ID        string
	CreatedAt time.Time
	Message   string
}

// A Task is the wish to run a task definition once.
type Task struct {
	Scope             arn.Scope
	ID                string // 32 hex digits
	Cluster           string
	TaskDefinitionARN string
	Group             string // family:F or service:S
	Service           string // name; "" for RunTask
	Deployment        string // ID of the service's deployment, in StartedBy too
	StartedBy         string
	LaunchType        string
	CapacityProvider  string // FARGATE or FARGATE_SPOT of a strategy; "" with a launch type
	PlatformVersion   string
	CPU               int // units of 1/1024 vCPU for the whole task
	Memory            int // MiB for the whole task
	Overrides         ecstypes.TaskOverride
	Network           AwsvpcConfiguration
	LoadBalancers     []ServiceLoadBalancer
	Zone              string            // where the scheduler wants it; "": where least is used
	Rebalances        bool              // started to balance the service's zones
	Images            map[string]string // container → digest fixed by the deployment
	Tags              map[string]string
	CreatedAt         time.Time
	Stop              *Stop     // nil: should run
	ProtectedUntil    time.Time // until when the scheduler leaves it alone; zero or past: it doesn't
}

// Stop is why and when a task was told to stop.
type Stop struct {
	At           time.Time
	Code, Reason string // stopCode and stoppedReason as AWS gives them
}

// Unhealable reports a failed start that no further try mends: an image that isn't there or is of another architecture,
// a secret that isn't there. What can pass by itself, as a registry that doesn't answer, is tried again within a start.
func (s Stop) Unhealable() bool {
	return s.Code == "TaskFailedToStart" && !strings.Contains(s.Reason, "no space left on device") &&
		(strings.HasPrefix(s.Reason, "CannotPullContainerError") || strings.HasPrefix(s.Reason, "ResourceInitializationError"))
}

// ARN names the task.
func (t Task) ARN() string { return t.Scope.ARN("ecs", "task/"+t.Cluster+"/"+t.ID) }

// Key is the task's key in Tasks and TaskStatuses.
func (t Task) Key() string { return t.Scope.Key(t.Cluster, t.ID) }

// A TaskStatus is how far a task's life has come.
//
//	PROVISIONING → PENDING → ACTIVATING → RUNNING → DEACTIVATING → STOPPING → DEPROVISIONING → STOPPED
type TaskStatus struct {
	LastStatus   string
	Version      int         // grows with every change
	Done         []string    // named steps that are done, in order
	DoneAt       []time.Time // when each of Done was
	Stop         *Stop       // the first reason that ended it, the task's own (an essential container exited) or the intent's
	AttachmentID string
	ENI          string // eni-…
	Subnet       string
	VPC          string
	Address      string // private IPv4
	Public       string // public IPv4, "" without
	Zone         string
	Containers   []ContainerStatus

	PullStartedAt, PullStoppedAt, ConnectivityAt time.Time
	StartedAt, StoppingAt, ExecutionStoppedAt    time.Time
	StoppedAt                                    time.Time
	Targets                                      []string // target keys it registered
}

// A ContainerStatus is one container of a task.
type ContainerStatus struct {
	Name, Image, Digest string
	RuntimeID           string
	ARNID               string
	LastStatus          string // PENDING, RUNNING, STOPPED
	ExitCode            *int
	Reason              string
	StartedAt           time.Time // of the last run
	StoppingAt          time.Time // the stop signal was sent
	StoppedAt           time.Time
	LogStream           string
	Essential           bool
	Health              ContainerHealth
	Restarts            int // by its restart policy
}

// Container is the status of the container of that name, nil when there is none.
func (s *TaskStatus) Container(name string) *ContainerStatus {
	for i := range s.Containers {
		if s.Containers[i].Name == name {
			return &s.Containers[i]
		}
	}
	return nil
}

// Is reports whether the named step is done.
func (s TaskStatus) Is(step string) bool { return slices.Contains(s.Done, step) }

// TaskDefinitionKey is the key of the revision that an ARN made by us names:
// …:task-definition/FAMILY:REVISION.
func TaskDefinitionKey(s string) string {
	a, _ := arn.Parse(s)
	family, rev, _ := strings.Cut(a.Name(), ":")
	n, _ := strconv.Atoi(rev)
	return arn.Scope{Account: a.Account, Region: a.Region}.Key(family, fmt.Sprintf("%010d", n))
}

// LatestRevision is a family's newest ACTIVE revision. store.ErrNotFound: it has none.
func LatestRevision(tx store.Reader, sc arn.Scope, family string) (store.Object[TaskDefinition], error) {
	var last store.Object[TaskDefinition]
	for td, err := range TaskDefinitions.List(tx, sc.Key(family, "")) {
		if err != nil {
			return last, err
		}
		if td.Val.Definition.Status == ecstypes.TaskDefinitionStatusActive {
			last = td
		}
	}
	if last.Key == "" {
		return last, store.ErrNotFound
	}
	return last, nil
}

// CannotAssume is what ECS says of a role that a task can't have, in an error of the API or in a
// service's event.
func CannotAssume(role string) string {
	return "ECS was unable to assume the role '" + role + "' that was provided for this task. Please verify that the role being passed has " +
		"the proper trust relationship and permissions and that your IAM user has permissions to pass this role."
}
