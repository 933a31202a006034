// Package deploy takes a folder with a Dockerfile to a URL, and through updates: build, push,
// task definition, service, load balancer. It uses the public AWS API through the SDK like any
// other client; what only a Lotse endpoint has (building on the server, adopting the result
// without copying it, asking which target answered) lies behind the interface Local.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Clients are the SDK's clients of one account and region.
type Clients struct {
	ECS  *ecs.Client
	ECR  *ecr.Client
	ELB  *elasticloadbalancingv2.Client
	EC2  *ec2.Client
	Logs *cloudwatchlogs.Client
	IAM  *iam.Client
	STS  *sts.Client
}

// Local is what a Lotse endpoint adds to the AWS API.
type Local interface {
	// Build builds a context on the server and leaves the image in its content store.
	Build(ctx context.Context, in BuildInput) (BuildOutput, error)
	// Adopt gives an image that is in the content store to a repository under a tag. No bytes are copied.
	Adopt(ctx context.Context, repository, tag, digest string) error
	// Answered tells which target answered the request with this trace id, as address:port; "" if not known.
	Answered(ctx context.Context, traceID string) (string, error)
	// Front is where the machine takes requests for all balancers, told apart by Host: "127.0.0.1:80".
	Front(ctx context.Context) (string, error)
	// AccessLog waits for lines of a load balancer's access log, in ALB's format, from number from on, and gives the
	// number of the next; with a target group only those of its targets. -1 asks for the last ones and doesn't wait.
	AccessLog(ctx context.Context, balancer, group string, from int64) (lines []string, next int64, err error)
}

// BuildInput is what to build.
type BuildInput struct {
	Dir   string // the folder of lotse.yml
	Build Build
	Line  func(string) // each line of progress
}

// BuildOutput is what came of it.
type BuildOutput struct {
	Digest        string
	Tag           string // from git or from the content
	Port          int    // the single EXPOSE, 0 if there is none or several
	HasHealth     bool   // the image carries a HEALTHCHECK
	Steps, Cached int
	Platform      string
}

// Exit codes, stable for scripts. Source: doc/guide.md.
const (
	ExitUnexpected   = 1
	ExitRefused      = 10 // pre-flight: nothing was changed
	ExitBuild        = 11
	ExitPush         = 12
	ExitProvision    = 13
	ExitRolledBack   = 20
	ExitFailed       = 21 // failed, not rolled back
	ExitDeadline     = 22 // still running
	ExitSuperseded   = 23
	ExitLost         = 75
	ExitUsage        = 64
	ExitInterrupted  = 130
	defaultTimeout   = 10 * time.Minute
	executionPolicy  = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
	ownerTag         = "owner"
	catchAllPriority = 40000
	hostPriority     = 5000
)

// A Failure ends a command with an exit code, a cause, and what to do.
type Failure struct {
	Exit  int
	Code  string // of the catalogue of diagnoses, such as D-EXIT-301; may be ""
	Cause string
	Known []string // what is certain
	Fix   string
	Logs  []string // last lines of a container or a build
	Err   error
}

func (f *Failure) Error() string {
	if f.Err != nil {
		return fmt.Sprintf("%s: %v", f.Cause, f.Err)
	}
	return f.Cause
}

func (f *Failure) Unwrap() error { return f.Err }

// fail wraps err once: an inner Failure keeps its own cause.
func fail(exit int, cause string, err error) error {
	if err == nil {
		return nil
	}
	var f *Failure
	if errors.As(err, &f) {
		return err
	}
	return &Failure{Exit: exit, Cause: cause, Err: err}
}
