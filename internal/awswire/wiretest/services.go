// Package wiretest judges awswire by the real SDK clients: every operation of a client is sent to
// a Mux with random input, and what arrives at the handler and at the client is compared.
package wiretest

import (
	"context"
	"reflect"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lotse-project/lotse/internal/awswire"
)

// A Service is an AWS service with its SDK client.
type Service struct {
	Name   string // of the SDK package
	API    awswire.API
	Client func(aws.Config) any
}

// Services lists the services whose operations awswire knows. Source of the fields: botocore's
// service models, metadata.
func Services() []Service {
	return []Service{
		{"acm", awswire.API{SigningName: "acm", Protocol: awswire.JSON11, Target: "CertificateManager"},
			func(c aws.Config) any { return acm.NewFromConfig(c) }},
		{"ecs", awswire.API{SigningName: "ecs", Protocol: awswire.JSON11, Target: "AmazonEC2ContainerServiceV20141113"},
			func(c aws.Config) any { return ecs.NewFromConfig(c) }},
		{"ecr", awswire.API{SigningName: "ecr", Protocol: awswire.JSON11, Target: "AmazonEC2ContainerRegistry_V20150921"},
			func(c aws.Config) any { return ecr.NewFromConfig(c) }},
		{"cloudwatchlogs", awswire.API{SigningName: "logs", Protocol: awswire.JSON11, Target: "Logs_20140328"},
			func(c aws.Config) any { return cloudwatchlogs.NewFromConfig(c) }},
		{"secretsmanager", awswire.API{SigningName: "secretsmanager", Protocol: awswire.JSON11, Target: "secretsmanager"},
			func(c aws.Config) any { return secretsmanager.NewFromConfig(c) }},
		{"ssm", awswire.API{SigningName: "ssm", Protocol: awswire.JSON11, Target: "AmazonSSM"},
			func(c aws.Config) any { return ssm.NewFromConfig(c) }},
		{"efs", awswire.API{SigningName: "elasticfilesystem", Protocol: awswire.RestJSON},
			func(c aws.Config) any { return efs.NewFromConfig(c) }},
		{"elasticloadbalancingv2", awswire.API{SigningName: "elasticloadbalancing", Protocol: awswire.Query, Version: "2015-12-01",
			Namespace: "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"},
			func(c aws.Config) any { return elasticloadbalancingv2.NewFromConfig(c) }},
		{"iam", awswire.API{SigningName: "iam", Protocol: awswire.Query, Version: "2010-05-08",
			Namespace: "https://iam.amazonaws.com/doc/2010-05-08/"},
			func(c aws.Config) any { return iam.NewFromConfig(c) }},
		{"sts", awswire.API{SigningName: "sts", Protocol: awswire.Query, Version: "2011-06-15",
			Namespace: "https://sts.amazonaws.com/doc/2011-06-15/"},
			func(c aws.Config) any { return sts.NewFromConfig(c) }},
		{"ec2", awswire.API{SigningName: "ec2", Protocol: awswire.EC2, Version: "2016-11-15",
			Namespace: "http://ec2.amazonaws.com/doc/2016-11-15/"},
			func(c aws.Config) any { return ec2.NewFromConfig(c) }},
	}
}

// An Operation is one method of a client.
type Operation struct {
	Name    string
	In, Out reflect.Type // structs
	call    func(ctx context.Context, client, in any) (out any, err error)
}

// Operations finds the operations among a client's methods.
func Operations(client any) []Operation {
	var out []Operation
	t := reflect.TypeOf(client)
	for i := range t.NumMethod() {
		m := t.Method(i)
		if m.Type.NumIn() != 4 || m.Type.NumOut() != 2 || m.Type.In(2).Kind() != reflect.Pointer ||
			strings.TrimSuffix(m.Type.In(2).Elem().Name(), "Input") != m.Name {
			continue
		}
		out = append(out, Operation{Name: m.Name, In: m.Type.In(2).Elem(), Out: m.Type.Out(0).Elem(),
			call: func(ctx context.Context, client, in any) (any, error) {
				res := m.Func.CallSlice([]reflect.Value{reflect.ValueOf(client), reflect.ValueOf(ctx), reflect.ValueOf(in), reflect.Zero(m.Type.In(3))})
				err, _ := res[1].Interface().(error)
				return res[0].Interface(), err
			}})
	}
	return out
}
