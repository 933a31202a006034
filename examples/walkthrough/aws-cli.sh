#!/usr/bin/env bash
# The whole way by hand, as people do it on AWS: repository, push, task definition, cluster, load
# balancer, service, security groups, a rolling update, and taking it all away again, with nothing
# but the AWS CLI, skopeo and curl. Two classic mistakes are made on the way.
#
#   eval "$(sudo lotse server env)"
#   examples/walkthrough/aws-cli.sh IMAGE1 IMAGE2
#
# IMAGE1 and IMAGE2 are two versions of examples/hello, wherever skopeo finds them:
# docker-daemon:hello:v1, docker-archive:hello-v1.tar, oci-archive:…, docker://…
#
# Optional: FRONT, the server's --front (default 127.0.0.1:80), and SHORT_TOKEN_ENDPOINT, a server
# whose registry logins expire at once, for the second mistake.
set -euo pipefail

image1=${1:?first version, e.g. docker-archive:hello-v1.tar}
image2=${2:?second version}
endpoint=${AWS_ENDPOINT_URL:?set by: eval "\$(sudo lotse server env)"}
region=${AWS_REGION:-us-east-1}
front=${FRONT:-127.0.0.1:80}
name=walk
export AWS_DEFAULT_REGION=$region AWS_PAGER="" AWS_EC2_METADATA_DISABLED=true
unset AWS_ENDPOINT_URL # old CLIs ignore it: given explicitly, so that both are the same
work=$(mktemp -d)
probes=()
clean() { for p in "${probes[@]:-}"; do [ -z "$p" ] || kill "$p" 2>/dev/null || true; done; rm -rf "$work"; }
trap clean EXIT

step() { printf '\n== %s\n' "$*"; }
run() { # shows a command and runs it
	printf '$ %s\n' "$*" >&2
	"$@"
}
aws() { command aws --endpoint-url "$endpoint" --output text "$@"; }
fail() { echo "walkthrough: $*" >&2; exit 1; }
page() { curl -sS --max-time 5 -H "Host: $1" "http://$front/"; }

step "Who am I?"
run aws sts get-caller-identity --query Arn
account=$(aws sts get-caller-identity --query Account)

step "A repository, and two pushes"
uri=$(run aws ecr create-repository --repository-name $name --query repository.repositoryUri)
login() { aws ecr get-login-password | skopeo login --authfile "$work/auth" --tls-verify=false --username AWS --password-stdin "${uri%%/*}"; }
push() { run skopeo copy -q --authfile "$work/auth" --dest-tls-verify=false "$1" "docker://$uri:$2"; }
login
push "$image1" v1
push "$image2" v2
run aws ecr describe-images --repository-name $name --query 'imageDetails[].[imageTags[0],imageSizeInBytes]'

step "Mistake 1: the wrong region"
if aws ecr describe-images --region eu-central-1 --repository-name $name 2>"$work/error"; then
	fail "the repository was found in a region where it is not"
fi
tail -1 "$work/error"
grep -q RepositoryNotFoundException "$work/error" || fail "AWS says RepositoryNotFoundException"

if [ -n "${SHORT_TOKEN_ENDPOINT-}" ]; then
	step "Mistake 2: an expired registry login"
	password=$(command aws --endpoint-url "$SHORT_TOKEN_ENDPOINT" --output text ecr get-login-password)
	sleep 2
	if skopeo inspect --tls-verify=false --creds "AWS:$password" "docker://${SHORT_TOKEN_ENDPOINT#http://}/$name:v1" >/dev/null 2>"$work/error"; then
		fail "an expired login was accepted"
	fi
	tail -1 "$work/error"
	grep -q 'authorization token has expired' "$work/error" || fail "AWS says: Your authorization token has expired. Reauthenticate and try again."
fi

step "The default VPC: two subnets in two zones"
vpc=$(run aws ec2 describe-vpcs --filters Name=is-default,Values=true --query 'Vpcs[0].VpcId')
read -r -a subnets <<<"$(aws ec2 describe-subnets --filters "Name=vpc-id,Values=$vpc" --query 'sort_by(Subnets,&AvailabilityZone)[:2].SubnetId')"
echo "$vpc: ${subnets[*]}"

step "Security groups: the world to the balancer, the balancer to the tasks"
alb_group=$(run aws ec2 create-security-group --group-name $name-alb --description "balancer" --vpc-id "$vpc" --query GroupId)
task_group=$(run aws ec2 create-security-group --group-name $name-task --description "tasks" --vpc-id "$vpc" --query GroupId)
run aws ec2 authorize-security-group-ingress --group-id "$alb_group" --protocol tcp --port 80 --cidr 0.0.0.0/0 >/dev/null
run aws ec2 authorize-security-group-ingress --group-id "$task_group" --protocol tcp --port 8080 --source-group "$alb_group" >/dev/null

step "Load balancer, target group, listener"
alb=$(run aws elbv2 create-load-balancer --name $name --subnets "${subnets[@]}" --security-groups "$alb_group" --query 'LoadBalancers[0].LoadBalancerArn')
dns=$(aws elbv2 describe-load-balancers --load-balancer-arns "$alb" --query 'LoadBalancers[0].DNSName')
group=$(run aws elbv2 create-target-group --name $name --protocol HTTP --port 8080 --target-type ip --vpc-id "$vpc" \
	--health-check-path /healthz --health-check-interval-seconds 5 --health-check-timeout-seconds 3 --healthy-threshold-count 2 \
	--query 'TargetGroups[0].TargetGroupArn')
run aws elbv2 modify-target-group-attributes --target-group-arn "$group" --attributes Key=deregistration_delay.timeout_seconds,Value=20 >/dev/null
listener=$(run aws elbv2 create-listener --load-balancer-arn "$alb" --protocol HTTP --port 80 \
	--default-actions "Type=forward,TargetGroupArn=$group" --query 'Listeners[0].ListenerArn')
run aws elbv2 wait load-balancer-available --load-balancer-arns "$alb"

step "Execution role, log group, cluster, task definition"
trust='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
role=$(run aws iam create-role --role-name $name-execution --assume-role-policy-document "$trust" --query Role.Arn)
policy=arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy
run aws iam attach-role-policy --role-name $name-execution --policy-arn $policy
run aws logs create-log-group --log-group-name /walk
run aws ecs create-cluster --cluster-name $name --query cluster.status
register() { # TAG
	cat >"$work/containers.json" <<-JSON
		[{"name": "web", "image": "$uri:$1", "essential": true, "portMappings": [{"containerPort": 8080}],
		  "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/walk", "awslogs-region": "$region", "awslogs-stream-prefix": "web"}}}]
	JSON
	run aws ecs register-task-definition --family $name --requires-compatibilities FARGATE --network-mode awsvpc --cpu 256 --memory 512 \
		--execution-role-arn "$role" --container-definitions "file://$work/containers.json" --query taskDefinition.taskDefinitionArn
}
first=$(register v1)

step "The service: two tasks behind the balancer"
network="awsvpcConfiguration={subnets=[${subnets[0]},${subnets[1]}],securityGroups=[$task_group],assignPublicIp=DISABLED}"
run aws ecs create-service --cluster $name --service-name $name --task-definition "$first" --desired-count 2 --launch-type FARGATE \
	--network-configuration "$network" --load-balancers "targetGroupArn=$group,containerName=web,containerPort=8080" \
	--deployment-configuration minimumHealthyPercent=100,maximumPercent=200 --query service.status
run aws ecs wait services-stable --cluster $name --services $name
run aws elbv2 wait target-in-service --target-group-arn "$group"
page "$dns"

step "Security groups, seen from outside and from within"
open_group=$(run aws ec2 create-security-group --group-name $name-open --description "open" --vpc-id "$vpc" --query GroupId)
run aws ec2 authorize-security-group-ingress --group-id "$open_group" --protocol tcp --port 8080 --cidr 0.0.0.0/0 >/dev/null
task=$(run aws ecs run-task --cluster $name --task-definition "$first" --launch-type FARGATE --query 'tasks[0].taskArn' \
	--network-configuration "awsvpcConfiguration={subnets=[${subnets[0]}],securityGroups=[$open_group],assignPublicIp=ENABLED}")
run aws ecs wait tasks-running --cluster $name --tasks "$task"
eni=$(aws ecs describe-tasks --cluster $name --tasks "$task" --query "tasks[0].attachments[0].details[?name=='networkInterfaceId'].value | [0]")
public=$(run aws ec2 describe-network-interfaces --network-interface-ids "$eni" --query 'NetworkInterfaces[0].Association.PublicIp')
# The container listens a moment after the task is RUNNING.
for _ in 1 2 3 4 5 6 7 8 9 10; do curl -sS --max-time 3 "http://$public:8080/" && break; sleep 0.2; done

echo "and now its group admits only the balancer's:"
run aws ec2 revoke-security-group-ingress --group-id "$open_group" --protocol tcp --port 8080 --cidr 0.0.0.0/0 >/dev/null
run aws ec2 authorize-security-group-ingress --group-id "$open_group" --protocol tcp --port 8080 --source-group "$alb_group" >/dev/null
set +e
curl -sS --max-time 3 "http://$public:8080/" 2>"$work/error"
code=$?
set -e
cat "$work/error"
[ $code = 28 ] || fail "a request that no group admits must time out (curl 28), not end with $code"
page "$dns"

step "A rolling update under traffic"
(
	while :; do
		curl -sS -o /dev/null -w '%{http_code}\n' --max-time 5 -H "Host: $dns" "http://$front/" || echo lost
	done >"$work/answers"
) 2>/dev/null &
probes+=($!)
second=$(register v2)
run aws ecs update-service --cluster $name --service $name --task-definition "$second" --query service.serviceName
run aws ecs wait services-stable --cluster $name --services $name
kill "${probes[0]}" && wait "${probes[0]}" 2>/dev/null || true
probes=()
page "$dns"
page "$dns" | grep -q v2 || fail "the new version does not answer"
total=$(wc -l <"$work/answers")
bad=$(grep -vc '^200$' "$work/answers" || true)
echo "$total requests, $bad of them failed"
[ "$bad" = 0 ] || fail "$bad of $total requests failed during the update"
aws ecs describe-services --cluster $name --services $name --query 'services[0].events[:5].message' | tr '\t' '\n'

step "What the containers wrote"
run aws logs filter-log-events --log-group-name /walk --query 'events[-1].message'

step "Everything away again"
run aws ecs stop-task --cluster $name --task "$task" --query task.desiredStatus
run aws ecs update-service --cluster $name --service $name --desired-count 0 --query service.desiredCount
run aws ecs delete-service --cluster $name --service $name --query service.status
run aws ecs wait services-inactive --cluster $name --services $name
run aws ecs wait tasks-stopped --cluster $name --tasks "$task"
run aws elbv2 delete-listener --listener-arn "$listener"
run aws elbv2 delete-load-balancer --load-balancer-arn "$alb"
run aws elbv2 delete-target-group --target-group-arn "$group"
run aws ec2 delete-security-group --group-id "$open_group" >/dev/null
run aws ec2 delete-security-group --group-id "$task_group" >/dev/null
run aws ec2 delete-security-group --group-id "$alb_group" >/dev/null
run aws ecs deregister-task-definition --task-definition "$first" --query taskDefinition.status
run aws ecs deregister-task-definition --task-definition "$second" --query taskDefinition.status
run aws ecs delete-cluster --cluster $name --query cluster.status
run aws iam detach-role-policy --role-name $name-execution --policy-arn $policy
run aws iam delete-role --role-name $name-execution
run aws logs delete-log-group --log-group-name /walk
run aws ecr delete-repository --repository-name $name --force --query repository.repositoryName
echo
echo "done: account $account is as it was"
