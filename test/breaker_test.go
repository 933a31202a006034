package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// An update to an image that isn't there ends at its first failure, is rolled back, and the service is stable at the
// first look of AWS's waiter. A deployment that is stopped goes back as well.
func TestUpdateThatFails(t *testing.T) {
	s := start(t)
	dir := hello(t, "hello")
	lotse(t, s, "up", dir, "--image", importHello(t, s, "v1"))
	service := []string{"--cluster", "lotse-local", "--service", "hello"}
	good := aws(t, s, "ecs", "describe-services", "--cluster", "lotse-local", "--services", "hello", "--query", "services[0].taskDefinition")
	role := aws(t, s, "ecs", "describe-task-definition", "--task-definition", good, "--query", "taskDefinition.executionRoleArn")
	bad := aws(t, s, "ecs", "register-task-definition", "--family", "hello", "--network-mode", "awsvpc", "--requires-compatibilities", "FARGATE", "--cpu", "256", "--memory", "512",
		"--execution-role-arn", role, "--container-definitions", `[{"name":"hello","image":"localhost/nope:1","portMappings":[{"containerPort":8080}]}]`, "--query", "taskDefinition.taskDefinitionArn")
	latest := func(field string) string {
		return aws(t, s, append([]string{"ecs", "list-service-deployments", "--query", "serviceDeployments[0]." + field}, service...)...)
	}
	end := traffic(t, s, "hello.localhost")
	aws(t, s, append([]string{"ecs", "update-service", "--task-definition", bad, "--deployment-configuration", "deploymentCircuitBreaker={enable=true,rollback=true}"}, service...)...)
	eventually(t, 60*time.Second, func() error {
		if status := latest("status"); status != "ROLLBACK_SUCCESSFUL" {
			return fmt.Errorf("the deployment is %s", status)
		}
		return nil
	})
	if why := latest("statusReason"); why != "Service deployment rolled back because the circuit breaker threshold was exceeded." {
		t.Errorf("because %s", why)
	}
	began := time.Now()
	aws(t, s, "ecs", "wait", "services-stable", "--cluster", "lotse-local", "--services", "hello")
	t.Logf("services-stable: %.1f s", time.Since(began).Seconds())
	if now := aws(t, s, "ecs", "describe-services", "--cluster", "lotse-local", "--services", "hello", "--query", "services[0].taskDefinition"); now != good {
		t.Errorf("it runs %s, want %s", now, good)
	}

	aws(t, s, append([]string{"ecs", "update-service", "--task-definition", bad, "--deployment-configuration", "deploymentCircuitBreaker={enable=false,rollback=false}"}, service...)...)
	aws(t, s, "ecs", "stop-service-deployment", "--service-deployment-arn", latest("serviceDeploymentArn"))
	eventually(t, 60*time.Second, func() error {
		if status := latest("status"); status != "ROLLBACK_SUCCESSFUL" {
			return fmt.Errorf("the deployment is %s", status)
		}
		return nil
	})
	end()
	if log := lotse(t, s, "history", "hello"); !strings.Contains(log, "CannotPullContainerError") {
		t.Errorf("the history doesn't tell why:\n%s", log)
	}
}
