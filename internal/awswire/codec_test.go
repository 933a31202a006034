package awswire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func shapeOf[T any](p Protocol) *shape {
	return (&schema{protocol: p, shapes: map[reflect.Type]*shape{}}).of(reflect.TypeFor[T]())
}

func decodeJSONTo[T any](body string) (*T, error) {
	v := new(T)
	c := &checker{service: "ecs", op: "Test"}
	if err := decodeJSON([]byte(body), shapeOf[T](JSON11), reflect.ValueOf(v).Elem(), c); err != nil {
		return v, err
	}
	return v, c.err()
}

func TestDecodeJSON_ReadsEveryForm(t *testing.T) {
	body := ` {
		"family" : "caf\u00e9 \ud83d\ude00 \"q\" \\ \/", "cpu":null, "unknown": null,
		"containerDefinitions": [ {"name":"a","memory":1e2,"essential":false,"environment":[],"dockerLabels":{"k":"v","":"w"}},
			{"portMappings":[{"containerPort":80.0}]} ]
	} `
	got, err := decodeJSONTo[ecs.RegisterTaskDefinitionInput](body)
	if err != nil {
		t.Fatal(err)
	}
	want := &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("café 😀 \"q\" \\ /"),
		ContainerDefinitions: []ecstypes.ContainerDefinition{
			{Name: aws.String("a"), Memory: aws.Int32(100), Essential: aws.Bool(false), Environment: []ecstypes.KeyValuePair{}, DockerLabels: map[string]string{"k": "v", "": "w"}},
			{PortMappings: []ecstypes.PortMapping{{ContainerPort: aws.Int32(80)}}},
		},
	}
	if d := gocmp.Diff(want, got, ignoreSerde); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

var ignoreSerde = gocmp.FilterPath(func(p gocmp.Path) bool { return p.Last().String() == ".noSmithyDocumentSerde" }, gocmp.Ignore())

func TestDecodeJSON_RefusesWhatDoesNotFit(t *testing.T) {
	for _, body := range []string{
		`null`, `"x"`, `[`, `{}{}`, `{"family":"` + "\xff" + `"}`, `{"family":true}`, `{"containerDefinitions":{}}`, `{"containerDefinitions":["x"]}`,
		`{"containerDefinitions":[null]}`, `{"containerDefinitions":[{"memory":1.5}]}`, `{"containerDefinitions":[{"memory":1e300}]}`,
		`{"containerDefinitions":[{"dockerLabels":{"a":null}}]}`, `{"containerDefinitions":[{"dockerLabels":[]}]}`, `{"ipcMode":"all"}`, `{"Family":"x"}`,
	} {
		if v, err := decodeJSONTo[ecs.RegisterTaskDefinitionInput](body); err == nil {
			t.Errorf("%s is taken for %+v", body, v)
		} else if public(err).Status >= 500 || public(err).Code == "InternalFailure" {
			t.Errorf("%s is answered with %v", body, err)
		}
	}
}

func TestDecodeForm_ReadsEveryForm(t *testing.T) {
	form, err := url.ParseQuery("Action=X&Version=1&VpcId.10=c&VpcId.2=b&VpcId.1=a&DryRun=TRUE&Filter.1.Name=n&Filter.1.Value.1=&MaxResults=5&NextToken=&Colour=")
	if err != nil {
		t.Fatal(err)
	}
	s := shapeOf[ec2.DescribeVpcsInput](EC2)
	got := &ec2.DescribeVpcsInput{}
	c := &checker{service: "ec2"}
	if err := cmp.Or(decodeForm(form, EC2, s, reflect.ValueOf(got).Elem(), c), c.err()); err != nil {
		t.Fatal(err)
	}
	want := &ec2.DescribeVpcsInput{VpcIds: []string{"a", "b", "c"}, DryRun: aws.Bool(true), MaxResults: aws.Int32(5), NextToken: aws.String(""),
		Filters: []ec2types.Filter{{Name: aws.String("n"), Values: []string{""}}}}
	if d := gocmp.Diff(want, got, ignoreSerde); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}

	role := &iam.CreateRoleInput{}
	if err := decodeForm(url.Values{"Tags": {""}}, Query, shapeOf[iam.CreateRoleInput](Query), reflect.ValueOf(role).Elem(), &checker{}); err != nil || role.Tags == nil {
		t.Errorf("Tags= gives %v, %v; want the empty list", role.Tags, err)
	}
}

func TestTimes_KeepMilliseconds(t *testing.T) {
	for text, want := range map[string]time.Time{
		"1557119253.821": time.UnixMilli(1557119253821), "1557119253": time.UnixMilli(1557119253000), "0": time.UnixMilli(0), "-1.5": time.UnixMilli(-1500), "1.557119253821E9": time.UnixMilli(1557119253821),
	} {
		got, ok := epoch(text)
		if !ok || !got.Equal(want) {
			t.Errorf("epoch(%s) = %v, %v; want %v", text, got, ok, want)
		}
		b := appendJSON(nil, &shape{kind: kindTime}, reflect.ValueOf(got))
		if again, _ := epoch(string(b)); !again.Equal(want) {
			t.Errorf("%v is written as %s", want, b)
		}
	}
	if got, ok := epoch("1e30"); ok {
		t.Errorf("epoch(1e30) = %v", got)
	}
}

func TestEncodeJSON_KeepsZerosAndEmptyLists(t *testing.T) {
	out := &ecs.DescribeServicesOutput{Failures: []ecstypes.Failure{}, Services: []ecstypes.Service{{ServiceName: aws.String("\x01\"\xff</&"), CreatedAt: aws.Time(time.UnixMilli(1557119253821))}}}
	got := string(appendJSON(nil, shapeOf[ecs.DescribeServicesOutput](JSON11), reflect.ValueOf(out)))
	want := `{"failures":[],"services":[{"createdAt":1557119253.821,"desiredCount":0,"enableECSManagedTags":false,"enableExecuteCommand":false,"pendingCount":0,"runningCount":0,"serviceName":"\u0001\"` + "\ufffd" + `</&"}]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"family":"x","containerDefinitions":[{"name":"a","dockerLabels":{"a":"b"}}]}`, `{"x":[{"y":[1,2,"}"]}]}`, `{"family":"\ud800\n"}`, `{"volumes":[{"host":{}}]}`} {
		f.Add([]byte(s))
	}
	sh := shapeOf[ecs.RegisterTaskDefinitionInput](JSON11)
	f.Fuzz(func(t *testing.T, body []byte) {
		var in, again ecs.RegisterTaskDefinitionInput
		c := &checker{service: "ecs"}
		if decodeJSON(body, sh, reflect.ValueOf(&in).Elem(), c) != nil || c.err() != nil {
			return
		}
		b := appendJSON(nil, sh, reflect.ValueOf(in))
		if !json.Valid(b) {
			t.Fatalf("%q is written as bad JSON: %s", body, b)
		}
		if err := decodeJSON(b, sh, reflect.ValueOf(&again).Elem(), &checker{service: "ecs"}); err != nil {
			t.Fatalf("%q is written as %s, which is not read: %v", body, b, err)
		}
		if d := gocmp.Diff(in, again, ignoreSerde, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%q comes back changed:\n%s", body, d)
		}
	})
}

func FuzzDecodeForm(f *testing.F) {
	for _, s := range []string{"", "RoleName=a&Tags.member.1.Key=a&Tags.member.1.Value=", "Tags=", "Tags.member.07.Key=a", "Tags.member.1.Key.x=a", "Filter.1.Value.2=a&Filter.1.Name=x&DryRun=TRUE", ".=.&..=", "MaxSessionDuration=-1", "IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0/8"} {
		f.Add(s)
	}
	role, rules := shapeOf[iam.CreateRoleInput](Query), shapeOf[ec2.AuthorizeSecurityGroupIngressInput](EC2)
	f.Fuzz(func(t *testing.T, query string) {
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		for service, s := range map[string]*shape{"iam": role, "ec2": rules} {
			p := map[string]Protocol{"iam": Query, "ec2": EC2}[service]
			v := reflect.New(s.typ).Elem()
			c := &checker{service: service}
			if err := decodeForm(form, p, s, v, c); err != nil {
				if public(err).Code == "InternalFailure" {
					t.Errorf("%q is a failure of ours: %v", query, err)
				}
				continue
			}
			c.requiredIn(s, v)
			_ = c.err()
			w := newXMLWriter(&API{SigningName: service})
			w.answer(&API{SigningName: service, Protocol: p}, "X", s, v, "id")
			for d := xml.NewDecoder(&w.Buffer); ; {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%q is written as bad XML: %v", query, err)
				}
			}
		}
	})
}

var createService = &ecs.CreateServiceInput{
	ServiceName: aws.String("web"), Cluster: aws.String("prod"), TaskDefinition: aws.String("web:7"), DesiredCount: aws.Int32(3), LaunchType: ecstypes.LaunchTypeFargate,
	LoadBalancers:        []ecstypes.LoadBalancer{{ContainerName: aws.String("web"), ContainerPort: aws.Int32(80), TargetGroupArn: aws.String("arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/w/1")}},
	NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{"subnet-1", "subnet-2"}, SecurityGroups: []string{"sg-1"}}},
}

func BenchmarkDecodeJSON(b *testing.B) {
	s := shapeOf[ecs.CreateServiceInput](JSON11)
	body := appendJSON(nil, s, reflect.ValueOf(createService))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var in ecs.CreateServiceInput
		c := &checker{service: "ecs"}
		if err := decodeJSON(body, s, reflect.ValueOf(&in).Elem(), c); err != nil {
			b.Fatal(err)
		}
		c.requiredIn(s, reflect.ValueOf(&in).Elem())
	}
}

func BenchmarkEncodeJSON(b *testing.B) {
	s := shapeOf[ecs.CreateServiceInput](JSON11)
	b.ReportAllocs()
	for b.Loop() {
		appendJSON(make([]byte, 0, 1024), s, reflect.ValueOf(createService))
	}
}

func BenchmarkDecodeForm(b *testing.B) {
	s := shapeOf[sts.AssumeRoleInput](Query)
	form := url.Values{"Action": {"AssumeRole"}, "RoleArn": {"arn:aws:iam::1:role/x"}, "RoleSessionName": {"s"}, "DurationSeconds": {"900"}, "Tags.member.1.Key": {"a"}, "Tags.member.1.Value": {"b"}}
	b.ReportAllocs()
	for b.Loop() {
		var in sts.AssumeRoleInput
		if err := decodeForm(form, Query, s, reflect.ValueOf(&in).Elem(), &checker{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeXML(b *testing.B) {
	api := &API{SigningName: "ec2", Protocol: EC2, Namespace: "http://ec2.amazonaws.com/doc/2016-11-15/"}
	s := shapeOf[ec2.DescribeSubnetsOutput](EC2)
	out := &ec2.DescribeSubnetsOutput{}
	for range 10 {
		out.Subnets = append(out.Subnets, ec2types.Subnet{SubnetId: aws.String("subnet-1"), VpcId: aws.String("vpc-1"), CidrBlock: aws.String("172.31.0.0/20"), AvailableIpAddressCount: aws.Int32(4091)})
	}
	v := reflect.ValueOf(out).Elem()
	b.ReportAllocs()
	for b.Loop() {
		w := newXMLWriter(api)
		w.answer(api, "DescribeSubnets", s, v, "id")
		if !bytes.Contains(w.Bytes(), []byte("subnet-1")) {
			b.Fatal("nothing written")
		}
	}
}
