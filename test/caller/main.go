// Command caller is what runs in a container of TestTaskRole: an ordinary program with an ordinary
// AWS SDK, which nobody told where it runs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		fmt.Println("config:", err)
		os.Exit(1)
	}
	for range 2 {
		id, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			fmt.Println("identity:", err)
			os.Exit(1)
		}
		fmt.Println("identity:", aws.ToString(id.Arn))
		_, err = ecs.NewFromConfig(cfg).DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{"test"}})
		fmt.Println("describe:", code(err))
		_, err = ecs.NewFromConfig(cfg).DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("test")})
		fmt.Println("delete:", code(err))
		var stats struct {
			Memory struct{ Usage, Limit uint64 } `json:"memory_stats"`
			CPU    struct {
				Usage struct {
					Total uint64 `json:"total_usage"`
				} `json:"cpu_usage"`
			} `json:"cpu_stats"`
			Networks map[string]any
		}
		err = get("/stats", &stats)
		fmt.Println("stats:", err, stats.Memory.Usage > 0, stats.Memory.Limit, stats.CPU.Usage.Total > 0, len(stats.Networks))
		var task struct {
			KnownStatus, LaunchType string
			EphemeralStorageMetrics struct{ Reserved int64 }
		}
		err = get("/taskWithTags", &task)
		fmt.Println("task:", err, task.LaunchType, task.EphemeralStorageMetrics.Reserved)
		time.Sleep(2 * time.Second) // the server is killed and started meanwhile
	}
}

// get asks the metadata endpoint.
func get(path string, out any) error {
	resp, err := http.Get(os.Getenv("ECS_CONTAINER_METADATA_URI_V4") + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(out)
}

func code(err error) string {
	var e smithy.APIError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &e):
		return e.ErrorCode() + " " + e.ErrorMessage()
	}
	return err.Error()
}
