package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"golang.org/x/sync/errgroup"
)

// BenchmarkAPI is signed calls of ECS per second from 32 clients at once: one that reads and one that writes. In the
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
	read := signedCall(b, cfg, "DescribeClusters", `{"clusters":["bench"]}`)
	for _, call := range []struct {
		name    string
		request func(i int) []byte
	}{
		{"describe-clusters", func(int) []byte { return read }},
		{"create-cluster", func(i int) []byte {
			return signedCall(b, cfg, "CreateCluster", fmt.Sprintf(`{"clusterName":"bench-%d"}`, i))
		}},
	} {
		requests := make([][]byte, max(200, b.N))
		for i := range requests {
			requests[i] = call.request(i)
		}
		began := time.Now()
		if err := send(strings.TrimPrefix(*cfg.BaseEndpoint, "http://"), requests); err != nil {
			b.Fatalf("%s: %v", call.name, err)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(len(requests))/time.Since(began).Seconds(), call.name+"/s")
	}
}

// signedCall is a call's request as it goes over the wire. An SDK's client takes more of the machine for a call than
// the server; so what is measured is signed before.
func signedCall(b *testing.B, cfg sdk.Config, op, body string) []byte {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, *cfg.BaseEndpoint+"/", strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113."+op)
	key, err := cfg.Credentials.Retrieve(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(b.Context(), key, req, hex.EncodeToString(sum[:]), "ecs", cfg.Region, time.Now()); err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	if err := req.Write(&out); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// send has 32 clients send the requests, each one after the other on a connection that it keeps while the server
// does. Any answer but a 200 is an error.
func send(address string, requests [][]byte) error {
	var next atomic.Int64
	var clients errgroup.Group
	for range 32 {
		clients.Go(func() error {
			var conn net.Conn
			var r *bufio.Reader
			defer func() {
				if conn != nil {
					conn.Close()
				}
			}()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(requests) {
					return nil
				}
				if conn == nil {
					var err error
					if conn, err = net.Dial("tcp", address); err != nil {
						return err
					}
					r = bufio.NewReader(conn)
				}
				if _, err := conn.Write(requests[i]); err != nil {
					return err
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					return err
				}
				answer, err := io.ReadAll(resp.Body)
				if err != nil {
					return err
				}
				if resp.StatusCode != http.StatusOK {
					return fmt.Errorf("%s: %s", resp.Status, answer)
				}
				if resp.Close {
					conn.Close()
					conn = nil
				}
			}
		})
	}
	return clients.Wait()
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
