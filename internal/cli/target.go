package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/lotse-project/lotse/internal/deploy"
	"github.com/lotse-project/lotse/internal/sdkhttp"
)

// localProfile is the profile that `lotse login` writes; it is taken when nothing else is named,
// so that the command line never falls through to real AWS by itself.
const localProfile = "lotse"

// A target is where the commands go: an endpoint with credentials.
type target struct {
	cfg      aws.Config
	endpoint string // "" is AWS
	clients  deploy.Clients
	account  string
	local    *local // nil on AWS
}

// target finds the endpoint: flags, environment, AWS_PROFILE, profile lotse.
func (a *app) target(ctx context.Context) (*target, error) {
	var opts []func(*config.LoadOptions) error
	named := true
	switch {
	case a.flags.profile != "":
		opts = append(opts, config.WithSharedConfigProfile(a.flags.profile))
	case os.Getenv("AWS_PROFILE") != "" || os.Getenv("AWS_ACCESS_KEY_ID") != "":
	case a.flags.endpoint != "":
	default:
		named = false
		opts = append(opts, config.WithSharedConfigProfile(localProfile))
	}
	if a.flags.region != "" {
		opts = append(opts, config.WithRegion(a.flags.region))
	}
	opts = append(opts, config.WithRetryMaxAttempts(3), config.WithLogger(logging.Nop{})) // its warnings are about connections, not about the user
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	var none config.SharedConfigProfileNotExistError
	if errors.As(err, &none) && !named {
		return nil, &deploy.Failure{Exit: deploy.ExitRefused, Code: "D-AUTH-702", Cause: "No server is named: there are no AWS credentials in the environment, and no profile.",
			Fix: `Start one with "sudo lotse server run", then: eval "$(sudo lotse server env)"`}
	}
	if err != nil {
		return nil, err
	}
	if cfg.HTTPClient == nil { // set only where AWS_CA_BUNDLE is; else each client of the SDK makes its own
		cfg.HTTPClient = awshttp.NewBuildableClient()
	}
	cfg.HTTPClient = sdkhttp.Client{HTTPClient: cfg.HTTPClient}
	t := &target{cfg: cfg, endpoint: cmp.Or(a.flags.endpoint, os.Getenv("AWS_ENDPOINT_URL"), aws.ToString(cfg.BaseEndpoint))}
	if cfg.Region == "" {
		return nil, &deploy.Failure{Exit: deploy.ExitRefused, Code: "D-TGT-006", Cause: "No region is set.", Fix: "Pass --region, or set AWS_REGION."}
	}
	if t.endpoint != "" {
		t.cfg.BaseEndpoint = aws.String(t.endpoint)
	}
	t.clients = deploy.Clients{
		ECS: ecs.NewFromConfig(t.cfg), ECR: ecr.NewFromConfig(t.cfg), ELB: elasticloadbalancingv2.NewFromConfig(t.cfg), EC2: ec2.NewFromConfig(t.cfg),
		Logs: cloudwatchlogs.NewFromConfig(t.cfg), IAM: iam.NewFromConfig(t.cfg), STS: sts.NewFromConfig(t.cfg),
	}
	if err := t.detect(ctx); err != nil {
		return nil, err
	}
	id, err := t.clients.STS.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return nil, credentialFailure(err, cfg.Region)
	}
	t.account = aws.ToString(id.Account)
	return t, nil
}

// detect asks whether the endpoint is a Lotse server.
func (t *target) detect(ctx context.Context) error {
	if t.endpoint == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(t.endpoint, "/")+"/_lotse/health", nil)
	if err != nil {
		return &deploy.Failure{Exit: deploy.ExitRefused, Code: "D-TGT-001", Cause: fmt.Sprintf("%q is no URL.", t.endpoint), Err: err}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return &deploy.Failure{Exit: deploy.ExitRefused, Code: "D-TGT-001", Cause: "Nothing answers at " + t.endpoint + ".", Fix: "Start the server: sudo lotse server run", Err: err}
	}
	defer resp.Body.Close()
	var h struct{ Server, Front string }
	if json.NewDecoder(resp.Body).Decode(&h) == nil && h.Server == "lotse" {
		t.local = &local{t: t, front: h.Front}
	}
	return nil
}

// banner says where the changes go, before the first.
func (t *target) banner() string {
	where := "AWS"
	if t.endpoint != "" {
		where = t.endpoint
	}
	return fmt.Sprintf("%s  account %s  region %s", where, t.account, t.cfg.Region)
}

// workflow is the application in dir, at this target.
func (a *app) workflow(ctx context.Context, dir string, r deploy.Reporter) (*deploy.Workflow, *target, error) {
	c, err := deploy.LoadConfig(dir)
	if err != nil {
		return nil, nil, err
	}
	e, known := c.Environments[a.flags.env]
	if !known && a.flags.env != "local" {
		return nil, nil, &deploy.ConfigError{Reason: fmt.Sprintf("lotse.yml has no environment %q", a.flags.env)}
	}
	if a.flags.profile == "" {
		a.flags.profile = e.Profile
	}
	if a.flags.region == "" {
		a.flags.region = e.Region
	}
	t, err := a.target(ctx)
	if err != nil {
		return nil, nil, err
	}
	if e.Account != "" && e.Account != t.account {
		return nil, nil, &deploy.Failure{Exit: deploy.ExitRefused, Code: "D-TGT-005", Cause: fmt.Sprintf("Environment %s is guarded for account %s; these credentials are of %s.", a.flags.env, e.Account, t.account)}
	}
	w := &deploy.Workflow{Clients: t.clients, Report: r, App: deploy.App{Config: c, Dir: dir, Env: a.flags.env, Account: t.account, Region: t.cfg.Region, Lotse: t.local != nil, Port: c.Image.Port}}
	if t.local != nil {
		t.local.inputs, t.local.scratch = a.inputs, a.scratch
		if a.flags.verbose {
			t.local.display = a.err
		}
		w.Local = t.local
	}
	return w, t, nil
}

// credentialFailure makes an authentication error readable.
func credentialFailure(err error, region string) error {
	if strings.Contains(err.Error(), "valid Region") || strings.Contains(err.Error(), "valid region") {
		return &deploy.Failure{Exit: deploy.ExitRefused, Code: "D-TGT-006", Cause: fmt.Sprintf("There is no region %q.", region), Fix: "Pass another --region, or set AWS_REGION.", Err: err}
	}
	return &deploy.Failure{Exit: deploy.ExitRefused, Code: "D-AUTH-702", Cause: "The credentials are not accepted.",
		Fix: `On a Lotse server: eval "$(sudo lotse server env)"`, Err: err}
}
