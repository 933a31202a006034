package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

const (
	benchConnections = 64
	benchStretch     = time.Second // each of a pair of measurements
)

// BenchmarkBalancer is how many requests per second 64 connections bring through the front and
// the balancer to the example's only task, and directly to the task's public address: both of
// the same second, as it were, so that the ratio says something on a noisy machine. Client,
// balancer and task share the machine's processors.
func BenchmarkBalancer(b *testing.B) {
	s, _ := benchApp(b)
	c := newBenchService(b, s)
	direct := c.expose(b, ec2.NewFromConfig(s.Config()))
	var through, without, ratio samples
	for b.Loop() {
		t, w := requests(b, s.Front, "hello.localhost"), requests(b, direct, "hello.localhost")
		through, without, ratio = append(through, t), append(without, w), append(ratio, t/w)
	}
	through.report(b, "front", "requests/s")
	without.report(b, "direct", "requests/s")
	ratio.report(b, "ratio", "front/direct")
}

// Private

// expose has the service run a single task, which has a public address that answers everybody,
// and returns that address.
func (c *benchService) expose(b *testing.B, vpc *ec2.Client) string {
	b.Helper()
	n := *c.network.AwsvpcConfiguration
	subnets, err := vpc.DescribeSubnets(b.Context(), &ec2.DescribeSubnetsInput{SubnetIds: n.Subnets[:1]})
	if err != nil {
		b.Fatal(err)
	}
	group, err := vpc.CreateSecurityGroup(b.Context(), &ec2.CreateSecurityGroupInput{GroupName: sdk.String("open"), Description: sdk.String("bench"), VpcId: subnets.Subnets[0].VpcId})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := vpc.AuthorizeSecurityGroupIngress(b.Context(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: group.GroupId, IpPermissions: []ec2types.IpPermission{{
		IpProtocol: sdk.String("tcp"), FromPort: sdk.Int32(8080), ToPort: sdk.Int32(8080), IpRanges: []ec2types.IpRange{{CidrIp: sdk.String("0.0.0.0/0")}}}}}); err != nil {
		b.Fatal(err)
	}
	n.SecurityGroups, n.AssignPublicIp = []string{*group.GroupId}, types.AssignPublicIpEnabled
	if _, err := c.UpdateService(b.Context(), &ecs.UpdateServiceInput{Cluster: sdk.String(benchCluster), Service: sdk.String("hello"), DesiredCount: sdk.Int32(1),
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &n}}); err != nil {
		b.Fatal(err)
	}
	until(b, "the service runs one task", func() (bool, error) {
		s := c.describe(b)
		return len(s.Deployments) == 1 && s.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted && s.RunningCount == 1, nil
	})
	enis, err := vpc.DescribeNetworkInterfaces(b.Context(), &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{{Name: sdk.String("group-id"), Values: []string{*group.GroupId}}}})
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range enis.NetworkInterfaces {
		if e.Association != nil {
			return net.JoinHostPort(*e.Association.PublicIp, "8080")
		}
	}
	b.Fatal("the task has no public address")
	return ""
}

// requests drives an address with one request after the other on each connection and returns
// how many were answered per second.
func requests(b *testing.B, addr, host string) float64 {
	b.Helper()
	var n atomic.Int64
	var clients sync.WaitGroup
	began := time.Now()
	for range benchConnections {
		clients.Go(func() {
			if err := drive(addr, host, began.Add(benchStretch), &n); err != nil {
				b.Error(addr, err)
			}
		})
	}
	clients.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}

func drive(addr, host string, end time.Time, n *atomic.Int64) error {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(end.Add(10 * time.Second))
	request := fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", host)
	in := bufio.NewReader(c)
	for time.Now().Before(end) {
		if _, err := c.Write(request); err != nil {
			return err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answered %s", resp.Status)
		}
		n.Add(1)
	}
	return nil
}
