package iam

import (
	"errors"
	"reflect"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// A need is an action on a resource that a call asks for, with what conditions may ask about.
type need struct {
	Action, Resource string
	Request          policy.Request
}

// resources says on which resources an operation acts, by service and operation. {Member} is a
// member of the input, {Member?x} is x where the caller gave none; a list stands for each of its
// items. An ARN takes the place of the whole when it stands at the end, else its name counts.
// What isn't here acts on "*", which only a policy with the resource "*" allows.
// Source: Service Authorization Reference, "Resource types" of each service.
var resources = map[string]map[string]string{
	"ecs": {
		"DeleteCluster": "cluster/{Cluster?default}", "UpdateCluster": "cluster/{Cluster?default}", "UpdateClusterSettings": "cluster/{Cluster?default}",
		"PutClusterCapacityProviders": "cluster/{Cluster?default}", "DescribeClusters": "cluster/{Clusters?default}",
		"RegisterTaskDefinition": "task-definition/{Family}:*", "DeleteTaskDefinitions": "task-definition/{TaskDefinitions}",
		"RunTask": "task-definition/{TaskDefinition}", "StartTask": "task-definition/{TaskDefinition}",
		"StopTask": "task/{Cluster?default}/{Task}", "DescribeTasks": "task/{Cluster?default}/{Tasks}", "ExecuteCommand": "task/{Cluster?default}/{Task}",
		"GetTaskProtection": "task/{Cluster?default}/{Tasks?*}", "UpdateTaskProtection": "task/{Cluster?default}/{Tasks}",
		"CreateService": "service/{Cluster?default}/{ServiceName}", "UpdateService": "service/{Cluster?default}/{Service}",
		"DeleteService": "service/{Cluster?default}/{Service}", "DescribeServices": "service/{Cluster?default}/{Services}",
		"ListServiceDeployments": "service/{Cluster?default}/{Service}", "DescribeServiceDeployments": "{ServiceDeploymentArns}",
		"DescribeServiceRevisions": "{ServiceRevisionArns}", "StopServiceDeployment": "{ServiceDeploymentArn}",
		"TagResource": "{ResourceArn}", "UntagResource": "{ResourceArn}", "ListTagsForResource": "{ResourceArn}",
	},
	"ecr": {
		"DescribeRepositories": "repository/{RepositoryNames?*}", "TagResource": "{ResourceArn}", "UntagResource": "{ResourceArn}", "ListTagsForResource": "{ResourceArn}",
		"": "repository/{RepositoryName}", // all others that have the member
	},
	"elasticloadbalancing": {
		"CreateLoadBalancer": "loadbalancer/app/{Name}/*", "DeleteLoadBalancer": "{LoadBalancerArn}", "ModifyLoadBalancerAttributes": "{LoadBalancerArn}",
		"SetSecurityGroups": "{LoadBalancerArn}", "SetSubnets": "{LoadBalancerArn}", "SetIpAddressType": "{LoadBalancerArn}", "CreateListener": "{LoadBalancerArn}",
		"CreateTargetGroup": "targetgroup/{Name}/*", "DeleteTargetGroup": "{TargetGroupArn}", "ModifyTargetGroup": "{TargetGroupArn}",
		"ModifyTargetGroupAttributes": "{TargetGroupArn}", "RegisterTargets": "{TargetGroupArn}", "DeregisterTargets": "{TargetGroupArn}",
		"DeleteListener": "{ListenerArn}", "ModifyListener": "{ListenerArn}", "ModifyListenerAttributes": "{ListenerArn}", "CreateRule": "{ListenerArn}",
		"DeleteRule": "{RuleArn}", "ModifyRule": "{RuleArn}", "AddTags": "{ResourceArns}", "RemoveTags": "{ResourceArns}",
	},
	"logs": {
		"DescribeLogGroups": "log-group:*", "TagResource": "{ResourceArn}", "UntagResource": "{ResourceArn}", "ListTagsForResource": "{ResourceArn}",
		"FilterLogEvents": "log-group:{LogGroupName|LogGroupIdentifier}:log-stream:",
		"":                "log-group:{LogGroupName}:log-stream:{LogStreamName?}",
	},
	"ssm": {
		"GetParameters": "parameter/{Names}", "DeleteParameters": "parameter/{Names}", "GetParametersByPath": "parameter/{Path}",
		"AddTagsToResource": "parameter/{ResourceId}", "RemoveTagsFromResource": "parameter/{ResourceId}", "ListTagsForResource": "parameter/{ResourceId}",
		"": "parameter/{Name}",
	},
	"secretsmanager": {
		"CreateSecret": "secret:{Name}", "": "secret:{SecretId}",
	},
	"acm": {"": "{CertificateArn}"},
	"elasticfilesystem": {
		"DescribeAccessPoints": "access-point/{AccessPointId?*}", "DeleteAccessPoint": "access-point/{AccessPointId}",
		"TagResource": "{ResourceId}", "UntagResource": "{ResourceId}", "ListTagsForResource": "{ResourceId}",
		"CreateFileSystem": "*", "DescribeFileSystems": "file-system/{FileSystemId?*}", "": "file-system/{FileSystemId?*}",
	},
	"iam": {
		"GetPolicy": "{PolicyArn}", "GetPolicyVersion": "{PolicyArn}", "ListRoles": "role/", "": "role/{RoleName}",
	},
}

// free are operations that need no permission, or whose handler asks for it.
// Source: STS API reference, GetCallerIdentity; AssumeRole asks the trust policy first.
var free = map[string]bool{"sts:GetCallerIdentity": true, "sts:AssumeRole": true}

// needsOf lists what a call needs.
func needsOf(tx store.Reader, c awsauth.Caller, service, op string, in any) ([]need, error) {
	if free[service+":"+op] {
		return nil, nil
	}
	r := request(c)
	if cluster := member(in, "Cluster"); service == "ecs" {
		r["ecs:cluster"] = arn.Scope{Account: c.Account, Region: c.Region}.ARN("ecs", "cluster/"+lastPart(first(cluster, "default")))
	}
	var out []need
	for _, res := range resourcesOf(c, service, op, in) {
		res, err := known(tx, c, service, res)
		if err != nil {
			return nil, err
		}
		out = append(out, need{service + ":" + op, res, r})
	}
	if service == "ecs" && hasTags(in) && op != "TagResource" { // tagResourceAuthorization is on
		tag := request(c)
		tag["ecs:CreateAction"] = op
		out = append(out, need{"ecs:TagResource", tagged(c, op, in), tag})
	}
	passed, err := passedRoles(tx, c, service, op, in)
	for _, role := range passed {
		pass := request(c)
		pass["iam:PassedToService"] = "ecs-tasks.amazonaws.com"
		out = append(out, need{"iam:PassRole", role, pass})
	}
	return out, err
}

// Private

// request is what is known of every request.
func request(c awsauth.Caller) policy.Request {
	r := policy.Request{"aws:PrincipalAccount": c.Account, "aws:RequestedRegion": c.Region, "aws:userid": c.UserID, "aws:PrincipalType": "Account"}
	if c.Role != "" {
		r["aws:PrincipalType"] = "AssumedRole"
	}
	return r
}

var placeholder = lazyregexp.New(`\{([A-Za-z|]+)(\?[^}]*)?\}`)

// resourcesOf are the ARNs that the table says.
func resourcesOf(c awsauth.Caller, service, op string, in any) []string {
	sc := arn.Scope{Account: c.Account, Region: c.Region}
	if service == "iam" {
		sc.Region = ""
	}
	template, ok := resources[service][op]
	if !ok {
		template = resources[service][""]
	}
	done := []string{template}
	for _, p := range placeholder.FindAllStringSubmatchIndex(template, -1) {
		whole := template[p[0]:p[1]]
		var values []string
		for _, name := range strings.Split(template[p[2]:p[3]], "|") {
			values = append(values, member(in, name)...)
		}
		if len(values) == 0 && p[4] >= 0 {
			values = []string{template[p[4]+1 : p[5]]}
		}
		var next []string
		for _, v := range values {
			for _, t := range done {
				switch {
				case arn.IsARN(v) && p[1] == len(template):
					t = v
				case arn.IsARN(v):
					t = strings.Replace(t, whole, lastPart(v), 1)
				case strings.HasSuffix(template[:p[0]], "/"): // a parameter's own slash shows once
					t = strings.Replace(t, whole, strings.TrimPrefix(v, "/"), 1)
				default:
					t = strings.Replace(t, whole, v, 1)
				}
				next = append(next, t)
			}
		}
		done = next
	}
	for i, t := range done {
		if t != "" && !arn.IsARN(t) {
			done[i] = sc.ARN(service, t)
		} else if t == "" {
			done[i] = "*"
		}
	}
	if len(done) == 0 {
		return []string{"*"} // the operation has no such member
	}
	return done
}

// known is a resource's true ARN where it has more than its name: a role's path, the characters
// at the end of a secret's, and a task definition's revision.
func known(tx store.Reader, c awsauth.Caller, service, resource string) (string, error) {
	a, err := arn.Parse(resource)
	if err != nil {
		return resource, nil
	}
	sc := arn.Scope{Account: c.Account, Region: c.Region}
	found := resource
	switch {
	case service == "iam" && a.Type() == "role" && a.Name() != "":
		var r state.Role
		r, err = state.RoleOf(tx, c.Account, a.Name())
		found = r.ARN()
	case service == "secretsmanager":
		var s store.Object[state.Secret]
		s, err = state.Secrets.Get(tx, sc.Key(strings.TrimPrefix(a.Resource, "secret:")))
		found = s.Val.ARN()
	case service == "ecs" && a.Type() == "task-definition" && !strings.Contains(a.Name(), ":"):
		var td store.Object[state.TaskDefinition]
		td, err = state.LatestRevision(tx, sc, a.Name())
		found = aws.ToString(td.Val.Definition.TaskDefinitionArn)
	}
	if errors.Is(err, store.ErrNotFound) {
		return resource, nil // the operation says so, to those who may know
	}
	return found, err
}

// passedRoles are the roles that the caller gives to tasks: those it names, and those of the
// definition that it has run. Source: ECS developer guide, "Task execution IAM role", iam:PassRole.
func passedRoles(tx store.Reader, c awsauth.Caller, service, op string, in any) ([]string, error) {
	if service != "ecs" {
		return nil, nil
	}
	var given []string
	for _, path := range []string{"TaskRoleArn", "ExecutionRoleArn", "Overrides.TaskRoleArn", "Overrides.ExecutionRoleArn"} {
		given = append(given, member(in, path)...)
	}
	switch op {
	case "RunTask", "CreateService", "UpdateService":
		for _, name := range member(in, "TaskDefinition") {
			full, err := known(tx, c, "ecs", arn.Scope{Account: c.Account, Region: c.Region}.ARN("ecs", "task-definition/"+lastPart(name)))
			if err != nil {
				return nil, err
			}
			td, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(full))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, err
			}
			given = append(given, aws.ToString(td.Val.Definition.TaskRoleArn), aws.ToString(td.Val.Definition.ExecutionRoleArn))
		}
	}
	var out []string
	for _, role := range given {
		if role == "" {
			continue
		}
		r, err := state.RoleOf(tx, c.Account, role)
		if err == nil {
			role = r.ARN()
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		out = append(out, role)
	}
	return out, nil
}

func hasTags(in any) bool {
	v := reflect.Indirect(reflect.ValueOf(in)).FieldByName("Tags")
	return v.IsValid() && v.Len() > 0
}

// tagged is what a creation with tags tags. Source: ECS developer guide, "Grant permission to tag
// resources on creation".
func tagged(c awsauth.Caller, op string, in any) string {
	sc := arn.Scope{Account: c.Account, Region: c.Region}
	switch op {
	case "CreateCluster":
		return sc.ARN("ecs", "cluster/"+first(member(in, "ClusterName"), "default"))
	case "RunTask":
		return sc.ARN("ecs", "task/"+lastPart(first(member(in, "Cluster"), "default"))+"/*")
	}
	return resourcesOf(c, "ecs", op, in)[0]
}

// member gives the values of an input's member, a string or a list of them; nil where it has none.
func member(in any, path string) []string {
	v := reflect.Indirect(reflect.ValueOf(in))
	for _, name := range strings.Split(path, ".") {
		if v.Kind() != reflect.Struct {
			return nil
		}
		v = reflect.Indirect(v.FieldByName(name))
	}
	switch {
	case v.Kind() == reflect.String && v.String() != "":
		return []string{v.String()}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String && v.Len() > 0:
		out := make([]string, v.Len())
		for i := range out {
			out[i] = v.Index(i).String()
		}
		return out
	}
	return nil
}

func lastPart(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

func first(values []string, otherwise string) string {
	if len(values) > 0 && values[0] != "" {
		return values[0]
	}
	return otherwise
}
