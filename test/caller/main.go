// Command caller is what runs in a container of TestTaskRole: an ordinary program with an ordinary
// AWS SDK, which nobody told where it runs.
package main

import (
	"context"
	"errors"
	"fmt"
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
		time.Sleep(2 * time.Second) // the server is killed and started meanwhile
	}
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
