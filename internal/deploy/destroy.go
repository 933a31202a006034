package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// Destroy takes away what Up made, in the reverse order. What is shared by the environment goes
// with its last service. It may be repeated.
func (w *Workflow) Destroy(ctx context.Context) error {
	w.start = time.Now()
	for _, s := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"service", w.deleteService},
		{"balancer", w.deleteBalancer},
		{"network", w.deleteGroups},
		{"task def", w.deregister},
		{"images", w.deleteRepository},
		{"logs", w.deleteLogs},
		{"cluster", w.deleteCluster},
	} {
		if err := w.phase(s.name, ExitProvision, "Something could not be removed; run lotse destroy again.", func() (string, error) { return s.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// Private

const gone = "not there"

func (w *Workflow) deleteService(ctx context.Context) (string, error) {
	a := w.App
	_, err := w.ECS.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: aws.String(a.Cluster()), Service: aws.String(a.Service()), Force: aws.Bool(true)})
	if isCode(err, "ServiceNotFoundException") || isCode(err, "ClusterNotFoundException") {
		return gone, nil
	}
	if err != nil {
		return "", err
	}
	// Until it is INACTIVE its tasks still use the target group and the security group.
	err = until(ctx, 5*time.Minute, "the service's tasks to stop", func() (bool, error) {
		d, err := w.ECS.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String(a.Cluster()), Services: []string{a.Service()}})
		if err != nil || len(d.Services) == 0 {
			return err == nil, err
		}
		return aws.ToString(d.Services[0].Status) == "INACTIVE", nil
	})
	return "drained and deleted", err
}

// deleteBalancer removes rule and target group, and the balancer when no rule is left on it.
func (w *Workflow) deleteBalancer(ctx context.Context) (string, error) {
	a := w.App
	tg, err := w.ELB.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{a.TargetGroup()}})
	if err != nil && !isCode(err, "TargetGroupNotFound") {
		return "", err
	}
	lbs, err := w.ELB.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{a.Balancer()}})
	if err != nil && !isCode(err, "LoadBalancerNotFound") {
		return "", err
	}
	rest := 0
	if err == nil {
		if rest, err = w.deleteRules(ctx, aws.ToString(lbs.LoadBalancers[0].LoadBalancerArn), tg); err != nil {
			return "", err
		}
		if rest == 0 {
			if _, err := w.ELB.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: lbs.LoadBalancers[0].LoadBalancerArn}); err != nil {
				return "", err
			}
		}
	}
	if tg != nil && len(tg.TargetGroups) > 0 {
		if _, err := w.ELB.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: tg.TargetGroups[0].TargetGroupArn}); err != nil {
			return "", err
		}
	}
	if rest > 0 {
		return fmt.Sprintf("rule and target group deleted; %d other services use %s", rest, a.Balancer()), nil
	}
	return "rule, target group, listener and balancer deleted", nil
}

// deleteRules deletes the rules that lead to tg and counts the others.
func (w *Workflow) deleteRules(ctx context.Context, balancer string, tg *elb.DescribeTargetGroupsOutput) (rest int, err error) {
	ls, err := w.ELB.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: aws.String(balancer)})
	if err != nil {
		return 0, err
	}
	for _, l := range ls.Listeners {
		rules, err := w.ELB.DescribeRules(ctx, &elb.DescribeRulesInput{ListenerArn: l.ListenerArn})
		if err != nil {
			return 0, err
		}
		for _, r := range rules.Rules {
			if aws.ToBool(r.IsDefault) {
				continue
			}
			ours := tg != nil && len(tg.TargetGroups) > 0 && len(r.Actions) > 0 && aws.ToString(r.Actions[0].TargetGroupArn) == aws.ToString(tg.TargetGroups[0].TargetGroupArn)
			if !ours {
				rest++
				continue
			}
			if _, err := w.ELB.DeleteRule(ctx, &elb.DeleteRuleInput{RuleArn: r.RuleArn}); err != nil {
				return 0, err
			}
		}
	}
	return rest, nil
}

// deleteGroups deletes the task's group, and the balancer's when the balancer is gone.
// Interfaces go a moment after what they belonged to: a group still in use is tried again.
func (w *Workflow) deleteGroups(ctx context.Context) (string, error) {
	for _, name := range []string{w.App.TaskGroup(), w.App.BalancerGroup()} {
		found, err := w.EC2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{{Name: aws.String("group-name"), Values: []string{name}}}})
		if err != nil {
			return "", err
		}
		for _, g := range found.SecurityGroups {
			shared := name == w.App.BalancerGroup()
			if shared {
				if _, err := w.ELB.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{w.App.Balancer()}}); err == nil {
					continue
				}
			}
			if err := until(ctx, time.Minute, "security group "+name+" to be free", func() (bool, error) {
				_, err := w.EC2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: g.GroupId})
				if isCode(err, "DependencyViolation") {
					return false, nil
				}
				return err == nil, err
			}); err != nil {
				return "", err
			}
		}
	}
	return "security groups deleted", nil
}

func (w *Workflow) deregister(ctx context.Context) (string, error) {
	n := 0
	p := ecs.NewListTaskDefinitionsPaginator(w.ECS, &ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String(w.App.Family())})
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, a := range page.TaskDefinitionArns {
			if _, err := w.ECS.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String(a)}); err != nil {
				return "", err
			}
			n++
		}
	}
	return fmt.Sprintf("%d revisions deregistered", n), nil
}

func (w *Workflow) deleteRepository(ctx context.Context) (string, error) {
	_, err := w.ECR.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String(w.App.Repository()), Force: true})
	if isCode(err, "RepositoryNotFoundException") {
		return gone, nil
	}
	return "repository deleted", err
}

func (w *Workflow) deleteLogs(ctx context.Context) (string, error) {
	_, err := w.Clients.Logs.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String(w.App.LogGroup())})
	if isCode(err, "ResourceNotFoundException") {
		return gone, nil
	}
	return "log group deleted", err
}

// deleteCluster deletes cluster and execution role when no service is left in them.
func (w *Workflow) deleteCluster(ctx context.Context) (string, error) {
	a := w.App
	l, err := w.ECS.ListServices(ctx, &ecs.ListServicesInput{Cluster: aws.String(a.Cluster())})
	if isCode(err, "ClusterNotFoundException") {
		return gone, nil
	}
	if err != nil {
		return "", err
	}
	if len(l.ServiceArns) > 0 {
		return fmt.Sprintf("kept: %d other services", len(l.ServiceArns)), nil
	}
	if _, err := w.ECS.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String(a.Cluster())}); err != nil {
		return "", err
	}
	if !a.Lotse {
		return "deleted", nil // the role on AWS is not ours
	}
	_, err = w.IAM.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String(a.ExecutionRole()), PolicyArn: aws.String(executionPolicy)})
	if err != nil && !isCode(err, "NoSuchEntity") {
		return "", err
	}
	_, err = w.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String(a.ExecutionRole())})
	if isCode(err, "NoSuchEntity") {
		err = nil
	}
	return "cluster and execution role deleted", err
}

// until polls with a bound; every wait says what it waits for.
func until(ctx context.Context, limit time.Duration, what string, done func() (bool, error)) error {
	deadline := time.Now().Add(limit)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return &Failure{Exit: ExitDeadline, Cause: fmt.Sprintf("Waited %s in vain for %s.", limit, what), Err: errors.New("deadline passed")}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
