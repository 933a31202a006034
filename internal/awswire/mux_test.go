package awswire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lotse-project/lotse/internal/awswire"
)

const (
	signedFor = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/%/aws4_request, SignedHeaders=host, Signature=0"
	ecsTarget = "AmazonEC2ContainerServiceV20141113."
)

func echo[In, Out any](_ context.Context, _ *In) (*Out, error) { return new(Out), nil }

// newMux serves a few operations of each service. Whoever has an Authorization is let in.
func newMux(log *slog.Logger) *awswire.Mux {
	if log == nil {
		log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	m := awswire.NewMux(awswire.MuxOptions{Log: log, Coverage: "doc/coverage.md",
		Authenticate: func(r *http.Request, _ []byte, api *awswire.API, _ string) (context.Context, error) {
			if r.Header.Get("Authorization") == "" && !r.URL.Query().Has("X-Amz-Credential") {
				return nil, &awswire.Error{Code: "MissingAuthenticationToken", Message: "Missing Authentication Token", Status: 403}
			}
			return r.Context(), nil
		}})
	e := &awswire.API{SigningName: "ecs", Protocol: awswire.JSON11, Target: strings.TrimSuffix(ecsTarget, ".")}
	awswire.Handle(e, echo[ecs.CreateServiceInput, ecs.CreateServiceOutput])
	awswire.Handle(e, echo[ecs.ListClustersInput, ecs.ListClustersOutput])
	awswire.Handle(e, func(_ context.Context, in *ecs.DescribeClustersInput) (*ecs.DescribeClustersOutput, error) {
		return nil, &awswire.Error{Code: "ClusterNotFoundException", Message: `Cluster "x" not found.`, Err: errors.New("secret cause")}
	})
	awswire.Handle(e, func(context.Context, *ecs.CreateClusterInput) (*ecs.CreateClusterOutput, error) {
		panic("secret panic")
	})
	awswire.Handle(e, func(context.Context, *ecs.DeleteClusterInput) (*ecs.DeleteClusterOutput, error) {
		return nil, errors.New("secret failure")
	})
	m.Add(e)
	c := &awswire.API{SigningName: "ecr", Protocol: awswire.JSON11, Target: "AmazonEC2ContainerRegistry_V20150921"}
	awswire.Handle(c, echo[ecr.CreateRepositoryInput, ecr.CreateRepositoryOutput])
	m.Add(c)
	l := &awswire.API{SigningName: "logs", Protocol: awswire.JSON11, Target: "Logs_20140328", MaxBody: 100}
	awswire.Handle(l, echo[cloudwatchlogs.CreateLogGroupInput, cloudwatchlogs.CreateLogGroupOutput])
	m.Add(l)
	b := &awswire.API{SigningName: "elasticloadbalancing", Protocol: awswire.Query, Version: "2015-12-01", Namespace: "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"}
	awswire.Handle(b, echo[elasticloadbalancingv2.CreateListenerInput, elasticloadbalancingv2.CreateListenerOutput])
	awswire.Handle(b, echo[elasticloadbalancingv2.DeleteListenerInput, elasticloadbalancingv2.DeleteListenerOutput])
	m.Add(b)
	i := &awswire.API{SigningName: "iam", Protocol: awswire.Query, Version: "2010-05-08", Namespace: "https://iam.amazonaws.com/doc/2010-05-08/"}
	awswire.Handle(i, echo[iam.CreateRoleInput, iam.CreateRoleOutput])
	awswire.Handle(i, echo[iam.DeleteRoleInput, iam.DeleteRoleOutput])
	awswire.Handle(i, func(context.Context, *iam.GetRoleInput) (*iam.GetRoleOutput, error) {
		return nil, &awswire.Error{Code: "NoSuchEntity", Message: "The role with name <x> cannot be found.", Status: 404}
	})
	m.Add(i)
	s := &awswire.API{SigningName: "sts", Protocol: awswire.Query, Version: "2011-06-15", Namespace: "https://sts.amazonaws.com/doc/2011-06-15/"}
	awswire.Handle(s, func(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
		return &sts.GetCallerIdentityOutput{Account: aws.String("000000000000"), UserId: aws.String(awswire.RequestID(ctx))}, nil
	})
	m.Add(s)
	v := &awswire.API{SigningName: "ec2", Protocol: awswire.EC2, Version: "2016-11-15", Namespace: "http://ec2.amazonaws.com/doc/2016-11-15/"}
	awswire.Handle(v, func(_ context.Context, in *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
		out := &ec2.DescribeVpcsOutput{}
		for _, id := range in.VpcIds {
			out.Vpcs = append(out.Vpcs, ec2types.Vpc{VpcId: aws.String(id), IsDefault: aws.Bool(true), Tags: []ec2types.Tag{}})
		}
		return out, nil
	})
	awswire.Handle(v, echo[ec2.DeleteVpcInput, ec2.DeleteVpcOutput])
	awswire.Handle(v, echo[ec2.CreateVpcInput, ec2.CreateVpcOutput])
	m.Add(v)
	return m
}

// jsonRequest is a signed JSON request; target is Prefix.Operation.
func jsonRequest(target, body string) *http.Request {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", target)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("Authorization", strings.Replace(signedFor, "%", "ecs", 1))
	return r
}

// queryRequest is a signed query request for a service.
func queryRequest(service, body string) *http.Request {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("Authorization", strings.Replace(signedFor, "%", service, 1))
	return r
}

var uuidText = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

const xmlHead = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

func TestMux_Answers(t *testing.T) {
	m := newMux(nil)
	iamError := func(code, text string) string {
		return `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>` + code + `</Code><Message>` + text + `</Message></Error><RequestId>ID</RequestId></ErrorResponse>`
	}
	ec2Error := func(code, text string) string {
		return xmlHead + `<Response><Errors><Error><Code>` + code + `</Code><Message>` + text + `</Message></Error></Errors><RequestID>ID</RequestID></Response>`
	}
	jsonError := func(code, text string) string { return `{"__type":"` + code + `","message":"` + text + `"}` }
	const unknownJSON = "The request names no operation that is known here."
	tests := []struct {
		name   string
		r      *http.Request
		status int
		body   string
	}{
		{"json", jsonRequest(ecsTarget+"ListClusters", "{}"), 200, `{"clusterArns":[]}`},
		{"json without a body", jsonRequest(ecsTarget+"ListClusters", ""), 200, `{"clusterArns":[]}`},
		{"json error", jsonRequest(ecsTarget+"DescribeClusters", "{}"), 400, jsonError("ClusterNotFoundException", `Cluster \"x\" not found.`)},
		{"bad json", jsonRequest(ecsTarget+"ListClusters", "{"), 400, jsonError("SerializationException", "The request body is not valid JSON.")},
		{"json of another form", jsonRequest(ecsTarget+"ListClusters", "[]"), 400, jsonError("SerializationException", "Expected a structure.")},
		{"number for a string", jsonRequest(ecsTarget+"ListClusters", `{"nextToken":1}`), 400, jsonError("SerializationException", "NUMBER_VALUE cannot be converted to String")},
		{"string for a number", jsonRequest(ecsTarget+"ListClusters", `{"maxResults":"1"}`), 400, jsonError("SerializationException", "STRING_VALUE cannot be converted to Integer")},
		{"number too large", jsonRequest(ecsTarget+"ListClusters", `{"maxResults":2147483648}`), 400, jsonError("SerializationException", "NUMBER_VALUE cannot be converted to Integer")},
		{"structure for a string", jsonRequest(ecsTarget+"ListClusters", `{"nextToken":{}}`), 400, jsonError("SerializationException", "Start of structure or map found where not expected.")},
		{"json nested too deeply", jsonRequest(ecsTarget+"ListClusters", `{"x":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`}`), 400, jsonError("SerializationException", "The request body is not valid JSON.")},
		{"unknown member", jsonRequest(ecsTarget+"ListClusters", `{"colour":"red"}`), 400, jsonError("InvalidParameterException", "Lotse does not know colour of ListClusters, so it does not accept it.")},
		{"unknown member that asks for nothing", jsonRequest(ecsTarget+"ListClusters", `{"colour":null, "size" : [] }`), 200, `{"clusterArns":[]}`},
		{"missing member, ecs", jsonRequest(ecsTarget+"CreateService", `{}`), 400, jsonError("InvalidParameterException", "ServiceName cannot be empty.")},
		{"unknown value, ecs", jsonRequest(ecsTarget+"CreateService", `{"serviceName":"x","propagateTags":"ALL"}`), 400, jsonError("InvalidParameterException", "1 validation error detected: Value 'ALL' at 'propagateTags' failed to satisfy constraint: Member must satisfy enum value set: [TASK_DEFINITION, SERVICE, NONE]")},
		{"union", jsonRequest(ecsTarget+"CreateService", `{"serviceName":"x","serviceConnectConfiguration":{"enabled":true,"containerConfigurations":[{"logLevel":"x"}]}}`), 400, jsonError("InvalidParameterException", "Lotse does not act on serviceConnectConfiguration.containerConfigurations.1.member of CreateService yet, so it does not accept it.")},
		{"missing member, ecr", jsonRequest("AmazonEC2ContainerRegistry_V20150921.CreateRepository", `{}`), 400, jsonError("InvalidParameterException", "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must not be null'")},
		{"missing member, logs", jsonRequest("Logs_20140328.CreateLogGroup", `{}`), 400, jsonError("InvalidParameterException", "1 validation error detected: Value null at 'logGroupName' failed to satisfy constraint: Member must not be null")},
		{"too large", jsonRequest("Logs_20140328.CreateLogGroup", `{"logGroupName":"`+strings.Repeat("x", 100)+`"}`), 413, jsonError("RequestEntityTooLarge", "The request is larger than 100 bytes.")},
		{"operation that AWS has", jsonRequest(ecsTarget+"CreateTaskSet", `{`), 501, jsonError("NotImplemented", "Lotse does not have ecs:CreateTaskSet. What it has is listed in doc/coverage.md.")},
		{"operation that nobody has", jsonRequest(ecsTarget+"Frobnicate", `{}`), 404, jsonError("UnknownOperationException", "The operation Frobnicate is not known.")},
		{"target that nobody has", jsonRequest("Nope.Frobnicate", `{}`), 404, jsonError("UnknownOperationException", unknownJSON)},
		{"service that we don't have", func() *http.Request {
			r := jsonRequest("DynamoDB_20120810.ListTables", `{}`)
			r.Header.Set("Authorization", strings.Replace(signedFor, "%", "dynamodb", 1))
			return r
		}(), 501, jsonError("NotImplemented", "Lotse does not have dynamodb:ListTables. What it has is listed in doc/coverage.md.")},
		{"failure", jsonRequest(ecsTarget+"DeleteCluster", `{"cluster":"x"}`), 500, jsonError("InternalFailure", "The request could not be served because of an internal failure. The server's log names its cause under this request id.")},
		{"panic", jsonRequest(ecsTarget+"CreateCluster", `{}`), 500, jsonError("InternalFailure", "The request could not be served because of an internal failure. The server's log names its cause under this request id.")},

		{"query", queryRequest("sts", "Action=GetCallerIdentity&Version=2011-06-15"), 200,
			xmlHead + `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Account>000000000000</Account><UserId>ID</UserId></GetCallerIdentityResult><ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></GetCallerIdentityResponse>`},
		{"query by GET, presigned", httptest.NewRequest("GET", "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Credential=A%2F20260101%2Fus-east-1%2Fsts%2Faws4_request&X-Amz-Signature=0", nil), 200,
			xmlHead + `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Account>000000000000</Account><UserId>ID</UserId></GetCallerIdentityResult><ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></GetCallerIdentityResponse>`},
		{"iam without a result", queryRequest("iam", "Action=DeleteRole&Version=2010-05-08&RoleName=x"), 200,
			xmlHead + `<DeleteRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></DeleteRoleResponse>`},
		{"elb without members", queryRequest("elasticloadbalancing", "Action=DeleteListener&Version=2015-12-01&ListenerArn=x"), 200,
			xmlHead + `<DeleteListenerResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><DeleteListenerResult></DeleteListenerResult><ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata></DeleteListenerResponse>`},
		{"query error", queryRequest("iam", "Action=GetRole&Version=2010-05-08&RoleName=x"), 404, iamError("NoSuchEntity", "The role with name &lt;x&gt; cannot be found.")},
		{"missing members, query", queryRequest("iam", "Action=CreateRole&Version=2010-05-08&Tags.member.1.Key=a"), 400, iamError("ValidationError",
			"3 validation errors detected: Value null at &#39;assumeRolePolicyDocument&#39; failed to satisfy constraint: Member must not be null; Value null at &#39;roleName&#39; failed to satisfy constraint: Member must not be null; Value null at &#39;tags.1.member.value&#39; failed to satisfy constraint: Member must not be null")},
		{"bad number, query", queryRequest("iam", "Action=CreateRole&Version=2010-05-08&MaxSessionDuration=long"), 400, iamError("MalformedInput", "Value &#39;long&#39; at &#39;maxSessionDuration&#39; is not of type integer.")},
		{"list without member", queryRequest("iam", "Action=CreateRole&Version=2010-05-08&Tags.1.Key=a"), 400, iamError("MalformedInput", "Expected list members.")},
		{"unknown action", queryRequest("iam", "Action=Frobnicate&Version=2010-05-08"), 400, iamError("InvalidAction", "Could not find operation Frobnicate for version 2010-05-08")},
		{"unknown version", queryRequest("iam", "Action=CreateRole&Version=1999-01-01"), 400, iamError("InvalidAction", "Could not find operation CreateRole for version 1999-01-01")},
		{"no version", queryRequest("iam", "Action=CreateRole"), 400, iamError("InvalidAction", "Could not find operation CreateRole for version NO_VERSION_SPECIFIED")},
		{"action that AWS has", queryRequest("iam", "Action=CreateGroup&Version=2010-05-08"), 501,
			strings.Replace(iamError("NotImplemented", "Lotse does not have iam:CreateGroup. What it has is listed in doc/coverage.md."), "Sender", "Receiver", 1)},
		{"bad query string", queryRequest("iam", "Action=CreateRole&Version=2010-05-08&RoleName=%zz"), 400, iamError("MalformedQueryString", "The query string contains a syntax error.")},
		{"parameter twice", queryRequest("iam", "Action=CreateRole&Version=2010-05-08&RoleName=a&RoleName=b"), 400, iamError("MalformedQueryString", "The parameter RoleName is there more than once.")},

		{"ec2", queryRequest("ec2", "Action=DescribeVpcs&Version=2016-11-15&VpcId.1=vpc-a&VpcId.3=vpc-b"), 200,
			xmlHead + `<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>ID</requestId><vpcSet><item><isDefault>true</isDefault><tagSet></tagSet><vpcId>vpc-a</vpcId></item><item><isDefault>true</isDefault><tagSet></tagSet><vpcId>vpc-b</vpcId></item></vpcSet></DescribeVpcsResponse>`},
		{"ec2 without members", queryRequest("ec2", "Action=DeleteVpc&Version=2016-11-15&VpcId=vpc-a"), 200,
			xmlHead + `<DeleteVpcResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>ID</requestId><return>true</return></DeleteVpcResponse>`},
		{"missing member, ec2", queryRequest("ec2", "Action=DeleteVpc&Version=2016-11-15"), 400, ec2Error("MissingParameter", "The request must contain the parameter VpcId")},
		{"unknown value, ec2", queryRequest("ec2", "Action=CreateVpc&Version=2016-11-15&InstanceTenancy=lordly"), 400, ec2Error("InvalidParameterValue", "Value (lordly) for parameter InstanceTenancy is invalid.")},
		{"bad boolean, ec2", queryRequest("ec2", "Action=CreateVpc&Version=2016-11-15&DryRun=perhaps"), 400, ec2Error("InvalidParameterValue", "Value (perhaps) for parameter DryRun is invalid. Expected a value of type boolean.")},
		{"unknown parameter, ec2", queryRequest("ec2", "Action=DeleteVpc&Version=2016-11-15&VpcId=x&Force=true"), 400, ec2Error("UnknownParameter", "The parameter Force is not recognized")},
		{"bad index, ec2", queryRequest("ec2", "Action=DescribeVpcs&Version=2016-11-15&VpcId.one=vpc-a"), 400, ec2Error("InvalidParameterValue", "The parameter VpcId is malformed. &#34;one&#34; is not the number of a list member.")},

		{"unsigned json", func() *http.Request {
			r := jsonRequest(ecsTarget+"Frobnicate", "{")
			r.Header.Del("Authorization")
			return r
		}(), 403, jsonError("MissingAuthenticationToken", "Missing Authentication Token")},
		{"unsigned nothing", httptest.NewRequest("GET", "/", nil), 403, jsonError("MissingAuthenticationToken", "Missing Authentication Token")},
		{"signed nothing", func() *http.Request {
			r := httptest.NewRequest("PUT", "/bucket/key", nil)
			r.Header.Set("Authorization", strings.Replace(signedFor, "%", "s3", 1))
			return r
		}(), 501, jsonError("NotImplemented", "Lotse does not have s3. What it has is listed in doc/coverage.md.")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			m.ServeHTTP(w, tt.r)
			id := w.Header().Get("X-Amzn-Requestid")
			if !uuidText.MatchString(id) {
				t.Errorf("x-amzn-RequestId = %q, want a UUID", id)
			}
			if got := strings.ReplaceAll(w.Body.String(), id, "ID"); w.Code != tt.status || got != tt.body {
				t.Errorf("got  %d %s\nwant %d %s", w.Code, got, tt.status, tt.body)
			}
			want := "text/xml"
			if strings.HasPrefix(tt.body, "{") {
				want = "application/x-amz-json-1.1"
			}
			if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, want) {
				t.Errorf("Content-Type = %q, want %q", got, want)
			}
		})
	}
}

func TestMux_LogsWhatItHides(t *testing.T) {
	var log strings.Builder
	m := newMux(slog.New(slog.NewTextHandler(&log, nil)))
	for op, secret := range map[string]string{"CreateCluster": "secret panic", "DeleteCluster": "secret failure"} {
		body := map[string]string{"CreateCluster": `{}`, "DeleteCluster": `{"cluster":"x"}`}[op]
		w := httptest.NewRecorder()
		m.ServeHTTP(w, jsonRequest(ecsTarget+op, body))
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: the caller sees %s", op, w.Body)
		}
		if !strings.Contains(log.String(), secret) || !strings.Contains(log.String(), w.Header().Get("X-Amzn-Requestid")) {
			t.Errorf("%s: the log lacks %q or the request id:\n%s", op, secret, log.String())
		}
	}
}

func TestMux_OperationsListsAll(t *testing.T) {
	var got []string
	for api, op := range newMux(nil).Operations() {
		got = append(got, api.SigningName+":"+op)
	}
	if len(got) != 16 || got[0] != "ecs:CreateCluster" || got[len(got)-1] != "ec2:DescribeVpcs" {
		t.Errorf("Operations = %d %v", len(got), got)
	}
}

func TestWriteError_OutsideOfAMux(t *testing.T) {
	w := httptest.NewRecorder()
	awswire.WriteError(w, httptest.NewRequest("GET", "/_lotse/x", nil), awswire.JSON11, errors.New("secret"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") || !uuidText.MatchString(w.Header().Get("X-Amzn-Requestid")) {
		t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
	}
}

// Nothing found is an empty list, not a missing one.
func TestEmptyLists(t *testing.T) {
	a := &awswire.API{SigningName: "ecs", Protocol: awswire.JSON11, Target: "T"}
	awswire.Handle(a, func(context.Context, *ecs.ListClustersInput) (*ecs.ListClustersOutput, error) {
		return &ecs.ListClustersOutput{}, nil
	})
	m := awswire.NewMux(awswire.MuxOptions{Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
		return r.Context(), nil
	}})
	m.Add(a)
	r := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
	r.Header.Set("X-Amz-Target", "T.ListClusters")
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	if got := w.Body.String(); got != `{"clusterArns":[]}` {
		t.Errorf("%s", got)
	}
}

// What Explain makes of an error of ours is what the caller sees; every other one stays inside.
func TestExplain(t *testing.T) {
	full := errors.New("disk full")
	a := &awswire.API{SigningName: "ecs", Protocol: awswire.JSON11, Target: "T"}
	fail := full
	awswire.Handle(a, func(context.Context, *ecs.ListClustersInput) (*ecs.ListClustersOutput, error) {
		return nil, fmt.Errorf("write: %w", fail)
	})
	m := awswire.NewMux(awswire.MuxOptions{
		Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
			return r.Context(), nil
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Explain: func(err error) *awswire.Error {
			if errors.Is(err, full) {
				return &awswire.Error{Code: "InsufficientStorage", Message: "no room", Status: 507}
			}
			return nil
		}})
	m.Add(a)
	for err, want := range map[error]int{full: 507, errors.New("secret"): 500} {
		fail = err
		r := httptest.NewRequest("POST", "/", strings.NewReader("{}"))
		r.Header.Set("X-Amz-Target", "T.ListClusters")
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if w.Code != want || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
}
