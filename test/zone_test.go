package test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// With cross-zone load balancing off, each node of a load balancer asks its own zone's targets; and the name of the load
// balancer, asked for by a task, is without a zone that has no target left.
func TestZones(t *testing.T) {
	s := start(t)
	c := ecs.NewFromConfig(s.Config())
	lotse(t, s, "image", "import", "example.com/zone:1", zoneImage(t))
	aws(t, s, "ecs", "create-cluster", "--cluster-name", "test")
	_, err := c.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: awssdk.String("zone"), NetworkMode: ecstypes.NetworkModeAwsvpc,
		RequiresCompatibilities: []ecstypes.Compatibility{ecstypes.CompatibilityFargate}, Cpu: awssdk.String("256"), Memory: awssdk.String("512"),
		ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: awssdk.String("main"), Image: awssdk.String("example.com/zone:1")}}})
	if err != nil {
		t.Fatal(err)
	}
	subnets := strings.Fields(aws(t, s, "ec2", "describe-subnets", "--query", "sort_by(Subnets,&AvailabilityZone)[:2].SubnetId"))
	security := aws(t, s, "ec2", "describe-security-groups", "--query", "SecurityGroups[0].GroupId")
	aws(t, s, "ec2", "authorize-security-group-ingress", "--group-id", security, "--protocol", "tcp", "--port", "80", "--cidr", "0.0.0.0/0")
	vpc := aws(t, s, "ec2", "describe-vpcs", "--query", "Vpcs[0].VpcId")
	group := aws(t, s, "elbv2", "create-target-group", "--name", "zone", "--protocol", "HTTP", "--port", "8080", "--vpc-id", vpc, "--target-type", "ip",
		"--health-check-interval-seconds", "5", "--health-check-timeout-seconds", "2", "--unhealthy-threshold-count", "2", "--query", "TargetGroups[0].TargetGroupArn")
	aws(t, s, "elbv2", "modify-target-group-attributes", "--target-group-arn", group, "--attributes", "Key=load_balancing.cross_zone.enabled,Value=false")
	lb := strings.Fields(aws(t, s, append([]string{"elbv2", "create-load-balancer", "--name", "zone", "--query", "LoadBalancers[0].[LoadBalancerArn,DNSName]", "--subnets"}, subnets...)...))
	aws(t, s, "elbv2", "create-listener", "--load-balancer-arn", lb[0], "--port", "80", "--protocol", "HTTP", "--default-actions", "Type=forward,TargetGroupArn="+group)

	public, private := map[string]string{}, map[string]string{}
	for _, line := range strings.Split(aws(t, s, "ec2", "describe-network-interfaces", "--query", "NetworkInterfaces[?Association.PublicIp].[SubnetId,Association.PublicIp,PrivateIpAddress]"), "\n") {
		f := strings.Fields(line)
		public[f[0]], private[f[0]] = f[1], f[2]
	}
	ips := map[string]string{}
	for _, subnet := range subnets {
		task := launch(t, c, &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{subnet}}}, "zone")
		v := await(t, c, task, "runs", func(v ecstypes.Task) bool { return *v.LastStatus == "RUNNING" })
		ips[subnet] = *v.Containers[0].NetworkInterfaces[0].PrivateIpv4Address
		aws(t, s, "elbv2", "register-targets", "--target-group-arn", group, "--targets", "Id="+ips[subnet])
	}
	eventually(t, 30*time.Second, func() error {
		if got := aws(t, s, "elbv2", "describe-target-health", "--target-group-arn", group, "--query", "TargetHealthDescriptions[].TargetHealth.State"); got != "healthy\thealthy" {
			return errors.New(got)
		}
		return nil
	})
	for _, subnet := range subnets {
		for range 4 {
			if got := fetch(t, "http://"+public[subnet]+"/"); got != ips[subnet] {
				t.Errorf("the node in %s was answered by %s, want %s", subnet, got, ips[subnet])
			}
		}
	}
	names := func(want ...string) {
		t.Helper()
		eventually(t, 30*time.Second, func() error {
			got := fetch(t, "http://"+public[subnets[0]]+"/lookup?"+lb[1])
			if got != strings.Join(want, " ") {
				return fmt.Errorf("%s = %s, want %s", lb[1], got, want)
			}
			return nil
		})
	}
	names(private[subnets[0]], private[subnets[1]])
	aws(t, s, "elbv2", "deregister-targets", "--target-group-arn", group, "--targets", "Id="+ips[subnets[1]])
	names(private[subnets[0]])
	resp, err := http.Get("http://" + net.JoinHostPort(public[subnets[1]], "80") + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the node without a target answers %s", resp.Status)
	}
}

// zoneImage is a server that tells its address and, at /lookup?NAME, what its resolver says of a name.
func zoneImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "main.go", `package main

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		fmt.Fprint(w, a.IP)
	})
	http.HandleFunc("/lookup", func(w http.ResponseWriter, r *http.Request) {
		ips, err := (&net.Resolver{PreferGo: true}).LookupNetIP(r.Context(), "ip4", r.URL.RawQuery)
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		var out []string
		for _, ip := range ips {
			out = append(out, ip.Unmap().String())
		}
		slices.Sort(out)
		fmt.Fprint(w, strings.Join(out, " "))
	})
	panic(http.ListenAndServe(":8080", nil))
}
`)
	write(t, dir, "go.mod", "module zone\n\ngo 1.26\n")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "zone", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return imageOf(t, filepath.Join(dir, "zone"), map[string]any{"Entrypoint": []string{"/zone"}})
}
