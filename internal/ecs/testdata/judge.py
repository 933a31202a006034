"""boto3 judges ECS: results, error types and the requests that tools make, in their order.

Arguments: endpoint, subnet, security group, role ARN. An AssertionError is the verdict.
"""
import sys

import boto3
from botocore.config import Config

endpoint, subnet, group, role = sys.argv[1:]
ecs = boto3.client("ecs", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
                   aws_secret_access_key="secret", config=Config(retries={"max_attempts": 1}))
network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group], "assignPublicIp": "DISABLED"}}


def refused(error, text, call, **args):
    try:
        out = call(**args)
    except getattr(ecs.exceptions, error) as e:  # the client knows it as that type
        assert e.response["Error"]["Code"] == error, e.response
        assert text in e.response["Error"]["Message"], e.response["Error"]["Message"]
        assert e.response["ResponseMetadata"]["RequestId"], e.response
        return
    raise AssertionError("%s %s was accepted: %s" % (call.__name__, args, out))


def terraform_cluster():
    """aws_ecs_cluster: create, read, update, tags, destroy; aws_ecs_cluster_capacity_providers."""
    read = dict(include=["TAGS", "CONFIGURATIONS", "SETTINGS"])
    arn = ecs.create_cluster(clusterName="tf", settings=[{"name": "containerInsights", "value": "disabled"}],
                             tags=[{"key": "a", "value": "1"}])["cluster"]["clusterArn"]
    c = ecs.describe_clusters(clusters=[arn], **read)["clusters"][0]
    assert c["status"] == "ACTIVE" and c["tags"] == [{"key": "a", "value": "1"}], c
    assert c["settings"] == [{"name": "containerInsights", "value": "disabled"}], c
    ecs.update_cluster(cluster=arn, settings=[{"name": "containerInsights", "value": "disabled"}])
    ecs.put_cluster_capacity_providers(cluster="tf", capacityProviders=["FARGATE", "FARGATE_SPOT"], defaultCapacityProviderStrategy=[
        {"capacityProvider": "FARGATE", "base": 1, "weight": 100}])
    c = ecs.describe_clusters(clusters=[arn], **read)["clusters"][0]
    assert sorted(c["capacityProviders"]) == ["FARGATE", "FARGATE_SPOT"], c
    assert c["defaultCapacityProviderStrategy"] == [{"capacityProvider": "FARGATE", "base": 1, "weight": 100}], c
    ecs.untag_resource(resourceArn=arn, tagKeys=["a"])
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "b", "value": "2"}])
    assert ecs.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "b", "value": "2"}]
    ecs.put_cluster_capacity_providers(cluster="tf", capacityProviders=[], defaultCapacityProviderStrategy=[])
    assert ecs.delete_cluster(cluster=arn)["cluster"]["status"] == "INACTIVE"
    gone = ecs.describe_clusters(clusters=[arn], **read)  # the provider takes INACTIVE for gone
    assert gone["clusters"][0]["status"] == "INACTIVE", gone


def terraform_task_definition():
    """aws_ecs_task_definition: create, read, destroy."""
    out = ecs.register_task_definition(
        family="tf", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512", executionRoleArn=role, taskRoleArn=role,
        containerDefinitions=[{"name": "app", "image": "app:1", "essential": True, "portMappings": [{"containerPort": 80, "hostPort": 80}],
                               "environment": [{"name": "A", "value": "b"}]}], tags=[{"key": "a", "value": "1"}])
    arn = out["taskDefinition"]["taskDefinitionArn"]
    td = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
    assert td["taskDefinition"]["taskRoleArn"] == role and td["tags"] == [{"key": "a", "value": "1"}], td
    assert td["taskDefinition"]["compatibilities"] == ["EC2", "FARGATE"], td
    again = {k: v for k, v in td["taskDefinition"].items() if k in (
        "family", "networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "taskRoleArn", "containerDefinitions", "volumes", "placementConstraints")}
    two = ecs.register_task_definition(**again)["taskDefinition"]["taskDefinitionArn"]  # what is described registers again
    assert ecs.deregister_task_definition(taskDefinition=arn)["taskDefinition"]["status"] == "INACTIVE"
    assert ecs.list_task_definitions(familyPrefix="tf", sort="DESC")["taskDefinitionArns"] == [two]
    if hasattr(ecs, "delete_task_definitions"):
        out = ecs.delete_task_definitions(taskDefinitions=[arn])
        assert out["taskDefinitions"][0]["status"] == "DELETE_IN_PROGRESS" and out["failures"] == [], out
    return two


def service(definition):
    """A service from create to delete."""
    s = ecs.create_service(
        cluster="default", serviceName="svc", clientToken="once", desiredCount=0, enableECSManagedTags=False, launchType="FARGATE", platformVersion="LATEST",
        taskDefinition=definition, schedulingStrategy="REPLICA", deploymentController={"type": "ECS"}, networkConfiguration=network,
        deploymentConfiguration={"maximumPercent": 200, "minimumHealthyPercent": 100, "deploymentCircuitBreaker": {"enable": False, "rollback": False}},
        tags=[{"key": "a", "value": "1"}])["service"]
    assert s["status"] == "ACTIVE" and s["deployments"][0]["status"] == "PRIMARY", s
    d = ecs.describe_services(cluster="default", services=["svc"], include=["TAGS"])
    assert d["failures"] == [] and d["services"][0]["tags"] == [{"key": "a", "value": "1"}], d
    assert d["services"][0]["schedulingStrategy"] == "REPLICA" and d["services"][0]["createdAt"].year >= 2026, d
    u = ecs.update_service(cluster="default", service="svc", taskDefinition=definition, forceNewDeployment=True, desiredCount=0,
                           networkConfiguration=network, platformVersion="LATEST")["service"]
    assert len(u["deployments"]) == 2, u
    assert ecs.list_services(cluster="default")["serviceArns"] == [s["serviceArn"]]
    refused("ServiceNotFoundException", "Service not found.", ecs.update_service, cluster="default", service="none", desiredCount=1)
    refused("ClusterContainsServicesException", "", ecs.delete_cluster, cluster="default")
    assert ecs.describe_services(cluster="default", services=["none"])["failures"][0]["reason"] == "MISSING"
    ecs.delete_service(cluster="default", service="svc", force=True)


def terraform_service(definition):
    """aws_ecs_service with wait_for_steady_state and sigint_rollback: create, read, update, tags, destroy."""
    def deployment_of(before):  # the provider finds it by the digits of the PRIMARY deployment's id
        s = ecs.describe_services(cluster="tfc", services=[arn])["services"][0]
        primary = [d for d in s["deployments"] if d["status"] == "PRIMARY"][0]
        assert s["deploymentController"]["type"] == "ECS" and primary["createdAt"] > before, s
        digits = primary["id"].split("/")[1]
        found = [d for d in ecs.list_service_deployments(cluster="tfc", service="web", createdAt={"after": before})["serviceDeployments"]
                 if digits in d["targetServiceRevisionArn"]]
        assert len(found) == 1, (primary, found)
        return found[0]["serviceDeploymentArn"]

    def status(deployment):
        return ecs.describe_service_deployments(serviceDeploymentArns=[deployment])["serviceDeployments"][0]["status"]

    refused("ClusterNotFoundException", "", ecs.create_service, cluster="tfc", serviceName="web", taskDefinition=definition, desiredCount=1, launchType="FARGATE", networkConfiguration=network)
    ecs.create_cluster(clusterName="tfc")
    ecs.put_cluster_capacity_providers(cluster="tfc", capacityProviders=["FARGATE", "FARGATE_SPOT"], defaultCapacityProviderStrategy=[])
    begun = ecs.describe_services(cluster="default", services=["svc"])["services"][0]["createdAt"]
    arn = ecs.create_service(
        cluster="tfc", serviceName="web", clientToken="terraform-2026", desiredCount=1, enableECSManagedTags=True, launchType="FARGATE", taskDefinition=definition,
        availabilityZoneRebalancing="ENABLED", schedulingStrategy="REPLICA", propagateTags="SERVICE", networkConfiguration=network, deploymentController={"type": "ECS"},
        deploymentConfiguration={"maximumPercent": 200, "minimumHealthyPercent": 100, "strategy": "ROLLING", "deploymentCircuitBreaker": {"enable": True, "rollback": True}},
        tags=[{"key": "a", "value": "1"}])["service"]["serviceArn"]
    first = deployment_of(begun)
    assert status(first) in ("PENDING", "IN_PROGRESS"), status(first)
    s = ecs.describe_services(cluster="tfc", services=[arn], include=["TAGS"])["services"][0]  # read
    assert s["tags"] == [{"key": "a", "value": "1"}] and s["propagateTags"] == "SERVICE" and s["enableECSManagedTags"] and not s["enableExecuteCommand"], s
    assert s["availabilityZoneRebalancing"] == "ENABLED" and s["deploymentConfiguration"]["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}, s
    assert s["placementConstraints"] == [] and s["placementStrategy"] == [] and s["serviceRegistries"] == [] and s["loadBalancers"] == [], s
    begun = s["createdAt"]
    ecs.update_service(cluster="tfc", service=arn, forceNewDeployment=True, taskDefinition=definition, deploymentConfiguration={"deploymentCircuitBreaker": {"enable": False, "rollback": False}})
    second = deployment_of(begun)
    assert second != first
    ecs.stop_service_deployment(serviceDeploymentArn=second, stopType="ROLLBACK")  # an interrupted apply
    ecs.update_service(cluster="tfc", service=arn, forceNewDeployment=False, placementConstraints=[], placementStrategy=[], loadBalancers=[], serviceRegistries=[], volumeConfigurations=[])
    ecs.update_service(cluster="tfc", service=arn, capacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}], forceNewDeployment=True)
    ecs.untag_resource(resourceArn=arn, tagKeys=["a"])
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "b", "value": "2"}])
    assert ecs.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "b", "value": "2"}]
    refused("InvalidParameterException", "scaled above 0", ecs.delete_service, cluster="tfc", service=arn, force=False)
    ecs.update_service(cluster="tfc", service=arn, desiredCount=0)  # destroy drains first
    ecs.delete_service(cluster="tfc", service=arn, force=False)
    gone = ecs.describe_services(cluster="tfc", services=[arn])["services"]
    assert gone == [] or gone[0]["status"] in ("DRAINING", "INACTIVE"), gone
    missing = ecs.describe_services(cluster="tfc", services=["none"])
    assert missing["failures"][0]["reason"] == "MISSING" and missing["services"] == [], missing


def ecspresso(definition):
    """ecspresso's init, verify, diff, deploy --wait-until=deployed, revisions, rollback, scale, refresh, tasks, run, wait, deregister, delete."""
    svc = dict(cluster="default", service="esp")
    ecs.create_service(cluster="default", serviceName="esp", taskDefinition=definition, desiredCount=0, launchType="FARGATE", networkConfiguration=network,
                       deploymentConfiguration={"maximumPercent": 200, "minimumHealthyPercent": 100}, schedulingStrategy="REPLICA", enableECSManagedTags=True, tags=[])
    look = ecs.describe_services(cluster="default", services=["esp"], include=["TAGS"])["services"][0]
    td = ecs.describe_task_definition(taskDefinition=look["taskDefinition"], include=["TAGS"])
    family = td["taskDefinition"]["family"]
    two = ecs.register_task_definition(**{k: v for k, v in td["taskDefinition"].items() if k in (
        "family", "networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "taskRoleArn", "containerDefinitions")})["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(taskDefinition=two, desiredCount=0, forceNewDeployment=False, networkConfiguration=network, enableECSManagedTags=True, enableExecuteCommand=False,
                       propagateTags="NONE", deploymentConfiguration={"maximumPercent": 200, "minimumHealthyPercent": 100}, **svc)
    active = [d for st in ("PENDING", "IN_PROGRESS") for d in ecs.list_service_deployments(status=[st], **svc)["serviceDeployments"]]
    active.sort(key=lambda d: d["createdAt"], reverse=True)
    dp = ecs.describe_service_deployments(serviceDeploymentArns=[active[0]["serviceDeploymentArn"]])["serviceDeployments"][0]
    assert {"pendingTaskCount", "runningTaskCount", "arn"} <= set(dp["targetServiceRevision"]) and len(dp["sourceServiceRevisions"]) == 1, dp
    revisions = [a for p in ecs.get_paginator("list_task_definitions").paginate(familyPrefix=family, sort="DESC", status="ACTIVE") for a in p["taskDefinitionArns"]]
    assert revisions[0] == two, revisions
    ecs.update_service(taskDefinition=definition, forceNewDeployment=False, **svc)  # rollback
    ecs.deregister_task_definition(taskDefinition=two)
    for desired in ("RUNNING", "STOPPED"):
        ecs.list_tasks(cluster="default", family=family, desiredStatus=desired)
        ecs.list_tasks(cluster="default", serviceName="esp", desiredStatus=desired)
    out = ecs.run_task(cluster="default", taskDefinition=definition, count=1, launchType="FARGATE", networkConfiguration=network, platformVersion="LATEST", enableECSManagedTags=True,
                       enableExecuteCommand=False, propagateTags="TASK_DEFINITION", overrides={}, tags=[])
    assert len(out["tasks"]) == 1, out
    ecs.stop_task(cluster="default", task=out["tasks"][0]["taskArn"], reason="Request stop task by user action.")
    ecs.update_service(desiredCount=1, **svc)  # scale
    ecs.update_service(forceNewDeployment=True, **svc)  # refresh
    ecs.delete_service(force=True, **svc)


def tasks(definition):
    run = dict(cluster="default", taskDefinition=definition, launchType="FARGATE", networkConfiguration=network)
    out = ecs.run_task(count=2, startedBy="judge", group="batch", clientToken="t", referenceId="r", propagateTags="TASK_DEFINITION", enableECSManagedTags=True,
                       overrides={"taskRoleArn": role, "containerOverrides": [{"name": "app", "command": ["x"], "environment": [{"name": "A", "value": "c"}]}]},
                       tags=[{"key": "k", "value": "v"}], **run)
    assert len(out["tasks"]) == 2 and out["failures"] == [], out
    t = out["tasks"][0]
    assert t["group"] == "batch" and t["overrides"]["taskRoleArn"] == role and t["attachments"][0]["type"] == "ElasticNetworkInterface", t
    refused("ConflictException", "clientToken", ecs.run_task, clientToken="t", count=3, **run)
    arns = sorted(x["taskArn"] for x in out["tasks"])
    assert sorted(ecs.list_tasks(cluster="default", startedBy="judge")["taskArns"]) == arns
    assert sorted(ecs.list_tasks(cluster="default", family="tf", launchType="FARGATE", desiredStatus="RUNNING")["taskArns"]) == arns
    pages = list(ecs.get_paginator("list_tasks").paginate(cluster="default", PaginationConfig={"PageSize": 1}))
    assert len(pages) == 2, pages
    d = ecs.describe_tasks(cluster="default", tasks=arns + ["0" * 32], include=["TAGS"])
    assert d["failures"][0]["reason"] == "MISSING" and {"key": "k", "value": "v"} in d["tasks"][0]["tags"], d
    p = ecs.update_task_protection(cluster="default", tasks=arns, protectionEnabled=True)
    assert [f["reason"] for f in p["failures"]] == ["TASK_NOT_VALID"] * 2, p
    assert ecs.stop_task(cluster="default", task=arns[0], reason="enough")["task"]["desiredStatus"] == "STOPPED"


def settings():
    assert len(ecs.list_account_settings(effectiveSettings=True)["settings"]) == 10
    assert ecs.put_account_setting(name="awsvpcTrunking", value="enabled")["setting"]["value"] == "enabled"
    assert ecs.list_account_settings()["settings"][0]["name"] == "awsvpcTrunking"
    ecs.delete_account_setting(name="awsvpcTrunking")
    names = [c["name"] for c in ecs.describe_capacity_providers()["capacityProviders"]]
    assert names == ["FARGATE", "FARGATE_SPOT"], names


def bad_input(definition):
    """AWS's error for what isn't there or can't be, whatever the operation."""
    run = dict(taskDefinition=definition, launchType="FARGATE", networkConfiguration=network)
    nowhere = {"cluster": "nowhere"}
    for call, args in [(ecs.run_task, run), (ecs.list_tasks, {}), (ecs.list_services, {}), (ecs.describe_services, {"services": ["x"]}),
                       (ecs.describe_tasks, {"tasks": ["x"]}), (ecs.stop_task, {"task": "x"}), (ecs.delete_service, {"service": "x"}), (ecs.update_cluster, {}),
                       (ecs.update_service, {"service": "x"}), (ecs.get_task_protection, {}), (ecs.list_container_instances, {}), (ecs.delete_cluster, {})]:
        refused("ClusterNotFoundException", "Cluster not found.", call, **{**args, **nowhere})
    refused("InvalidParameterException", "count should be between 1 and 10.", ecs.run_task, count=11, **run)
    refused("InvalidParameterException", "Override for container named db", ecs.run_task, overrides={"containerOverrides": [{"name": "db"}]}, **run)
    refused("ClientException", "TaskDefinition not found.", ecs.run_task, **{**run, "taskDefinition": "none"})
    refused("ClientException", "Unable to describe task definition.", ecs.describe_task_definition, taskDefinition="none:1")
    refused("InvalidParameterException", "Invalid revision number", ecs.describe_task_definition, taskDefinition="tf:x")
    refused("ClientException", "No Fargate configuration", ecs.register_task_definition, family="x", networkMode="awsvpc", cpu="256", memory="4096",
            containerDefinitions=[{"name": "a", "image": "a"}])
    refused("InvalidParameterException", "The ARN provided is invalid.", ecs.tag_resource, resourceArn="arn:aws:ecs:us-east-1:000000000000:what/x", tags=[{"key": "a", "value": "b"}])
    refused("PlatformUnknownException", "", ecs.run_task, **{**run, "platformVersion": "9.9"})
    refused("InvalidParameterException", "must be between 1 and 100", ecs.list_clusters, maxResults=101)


terraform_cluster()
ecs.create_cluster()
definition = terraform_task_definition()
bad_input(definition)
assert ecs.list_tasks()["taskArns"] == [] and ecs.list_services()["serviceArns"] == []  # bad input changed nothing
service(definition)
terraform_service(definition)
ecspresso(definition)
tasks(definition)
settings()
