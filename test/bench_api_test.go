package test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// BenchmarkAPI is signed calls of ECS per second from eight clients at once: one that reads and one that writes. In the
// same run it is measured of moto's server, if there is one.
func BenchmarkAPI(b *testing.B) {
	b.Run("lotse", func(b *testing.B) {
		s := benchServer(b)
		if err := s.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		calls(b, s.Config())
	})
	b.Run("moto", func(b *testing.B) {
		c := sdk.Config{Region: "us-east-1", BaseEndpoint: sdk.String(moto(b)), Credentials: sdk.CredentialsProviderFunc(
			func(context.Context) (sdk.Credentials, error) {
				return sdk.Credentials{AccessKeyID: "key", SecretAccessKey: "secret"}, nil
			})}
		calls(b, c)
	})
}

// BenchmarkTasksAtOnce is from the first call of RunTask until all tasks RUN, of an image that is on the machine.
func BenchmarkTasksAtOnce(b *testing.B) {
	s, _ := benchApp(b, "--task-memory", "200000")
	c := newBenchService(b, s)
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var took samples
			rate := 0.0
			for b.Loop() {
				began := time.Now()
				var tasks []string
				for len(tasks) < n {
					out, err := c.RunTask(b.Context(), &ecs.RunTaskInput{Cluster: sdk.String(benchCluster), TaskDefinition: sdk.String("hello"), LaunchType: types.LaunchTypeFargate,
						NetworkConfiguration: c.network, Count: sdk.Int32(int32(min(10, n-len(tasks))))})
					if err != nil {
						b.Fatal(err)
					}
					if len(out.Failures) > 0 {
						b.Fatal(*out.Failures[0].Reason)
					}
					for _, t := range out.Tasks {
						tasks = append(tasks, *t.TaskArn)
					}
				}
				c.awaitTasks(b, "RUNNING", tasks...)
				took.add(time.Since(began))
				rate = float64(n) / time.Since(began).Seconds()
				c.stopTasks(b, tasks...)
			}
			took.report(b, "running", "s")
			b.ReportMetric(rate, "tasks/s")
		})
	}
}

// Private

// calls measures a read and a write, each for as long as the benchmark asks for, at least 200 of them.
func calls(b *testing.B, cfg sdk.Config) {
	c := ecs.NewFromConfig(cfg, func(o *ecs.Options) { o.RetryMaxAttempts = 1 })
	if _, err := c.CreateCluster(b.Context(), &ecs.CreateClusterInput{ClusterName: sdk.String("bench")}); err != nil {
		b.Fatal(err)
	}
	for name, call := range map[string]func(i int) error{
		"describe-clusters": func(int) error {
			_, err := c.DescribeClusters(b.Context(), &ecs.DescribeClustersInput{Clusters: []string{"bench"}})
			return err
		},
		"create-cluster": func(i int) error {
			_, err := c.CreateCluster(b.Context(), &ecs.CreateClusterInput{ClusterName: sdk.String(fmt.Sprint("bench-", i))})
			return err
		},
	} {
		n, began := max(200, b.N), time.Now()
		next := make(chan int)
		failed := make(chan error, 8)
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for i := range next {
					if err := call(i); err != nil {
						select {
						case failed <- err:
						default:
						}
					}
				}
			})
		}
		for i := range n {
			next <- i
		}
		close(next)
		clients.Wait()
		select {
		case err := <-failed:
			b.Fatalf("%s: %v", name, err)
		default:
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(n)/time.Since(began).Seconds(), name+"/s")
	}
}

// moto starts moto's server and returns its address.
func moto(b *testing.B) string {
	b.Helper()
	if _, err := exec.LookPath("moto_server"); err != nil {
		b.Skip("there is no moto_server")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	cmd := exec.Command("moto_server", "-H", "127.0.0.1", "-p", port)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	url := "http://127.0.0.1:" + port
	until(b, "moto answers", func() (bool, error) {
		resp, err := http.Get(url + "/moto-api/")
		if err != nil {
			return false, nil
		}
		return true, resp.Body.Close()
	})
	return url
}
