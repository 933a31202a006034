package daemon

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/awswire/wiretest"
)

//go:embed testdata/badinput.txt
var badInput string

// judged are the services of which every operation has a line in badinput.txt.
var judged = []string{"ecs", "logs", "ssm", "secretsmanager", "iam", "ec2", "elasticfilesystem", "elasticloadbalancing", "acm"}

// Every operation answers bad input with AWS's error code, and changes nothing.
func TestEveryOperationRefusesBadInput(t *testing.T) {
	b := newBadInputBench(t)
	for _, prelude := range []string{
		`ecs CreateCluster {"clusterName":"c"}`,
		`ecs RegisterTaskDefinition {"family":"web","networkMode":"awsvpc","cpu":"256","memory":"512","requiresCompatibilities":["FARGATE"],"containerDefinitions":[{"name":"app","image":"app"}]}`,
		`logs CreateLogGroup {"logGroupName":"g"}`,
		`logs CreateLogStream {"logGroupName":"g","logStreamName":"s"}`,
		`ssm PutParameter {"Name":"/p","Value":"x","Type":"String"}`,
		`secretsmanager CreateSecret {"Name":"s","SecretString":"x"}`,
		`iam CreateRole RoleName=r&AssumeRolePolicyDocument={"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`,
	} {
		f := strings.SplitN(prelude, " ", 3)
		b.good(f[0], f[1], f[2])
	}
	named := b.named()

	tried := map[string]bool{}
	for line := range strings.Lines(badInput) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		input := named.Replace(strings.TrimSpace(line[strings.Index(line, " "+f[2]+" ")+len(f[2])+2:]))
		tried[f[0]+" "+f[1]] = true
		before := b.rev()
		status, answer := b.ask(f[0], f[1], input)
		if !codes(answer)[f[2]] || status < 400 || status > 499 {
			t.Errorf("%s %s %s: %d %s, want %s", f[0], f[1], input, status, answer, f[2])
		}
		if after := b.rev(); after != before {
			t.Errorf("%s %s %s: the store went from revision %d to %d", f[0], f[1], input, before, after)
		}
	}
	for api, op := range b.s.api.Operations() {
		if api.Protocol != awswire.JSON11 {
			continue
		}
		for _, input := range []string{`{"`, `[]`, `"x"`} {
			if status, answer := b.ask(api.SigningName, op, input); status != http.StatusBadRequest || !codes(answer)["SerializationException"] {
				t.Errorf("%s %s %s: %d %s, want SerializationException", api.SigningName, op, input, status, answer)
			}
		}
	}
	for api, op := range b.s.api.Operations() { // what asks for nothing has an answer too
		if api.Protocol == awswire.RestJSON {
			continue
		}
		input := ""
		if api.Protocol == awswire.JSON11 {
			input = "{}"
		}
		if status, answer := b.ask(api.SigningName, op, input); status >= 500 {
			t.Errorf("%s %s without input: %d %s", api.SigningName, op, status, answer)
		}
	}
	for _, service := range judged {
		for api, op := range b.s.api.Operations() {
			if api.SigningName == service && !tried[service+" "+op] {
				t.Errorf("%s %s is not in badinput.txt", service, op)
			}
		}
	}
}

// named makes what the lines of badinput.txt refer to by $name.
func (b *badInputBench) named() *strings.Replacer {
	b.t.Helper()
	find := func(expr, answer string) []string { return regexp.MustCompile(expr).FindAllString(answer, -1) }
	const alb = "elasticloadbalancing"
	group := find(`sg-[0-9a-f]{17}`, b.good("ec2", "CreateSecurityGroup", "GroupName=g&GroupDescription=x"))[0]
	vpc := find(`vpc-[0-9a-f]{17}`, b.good("ec2", "DescribeVpcs", ""))[0]
	var subnets []string
	for _, id := range find(`subnet-[0-9a-f]{17}`, b.good("ec2", "DescribeSubnets", "")) {
		if !slices.Contains(subnets, id) {
			subnets = append(subnets, id)
		}
	}
	certificate := find(`arn:aws:acm:[^"]+`, b.good("acm", "RequestCertificate", `{"DomainName":"a.example.com"}`))[0]
	arn := func(typ, answer string) string {
		return find(`arn:aws:elasticloadbalancing:[^<]*:`+typ+`/[^<]+`, answer)[0]
	}
	balancer := arn("loadbalancer", b.good(alb, "CreateLoadBalancer", "Name=b&Subnets.member.1="+subnets[0]+"&Subnets.member.2="+subnets[1]))
	b.good(alb, "ModifyLoadBalancerAttributes", "LoadBalancerArn="+balancer+"&Attributes.member.1.Key=deletion_protection.enabled&Attributes.member.1.Value=true")
	targets := arn("targetgroup", b.good(alb, "CreateTargetGroup", "Name=t&TargetType=ip&Protocol=HTTP&Port=80&VpcId="+vpc))
	forward := func(member string) string {
		return "&" + member + ".member.1.Type=forward&" + member + ".member.1.TargetGroupArn=" + targets
	}
	listener := arn("listener", b.good(alb, "CreateListener", "LoadBalancerArn="+balancer+"&Port=80&Protocol=HTTP"+forward("DefaultActions")))
	secure := arn("listener", b.good(alb, "CreateListener", "LoadBalancerArn="+balancer+"&Port=443&Protocol=HTTPS&Certificates.member.1.CertificateArn="+certificate+""+forward("DefaultActions")))
	byDefault := arn("listener-rule", b.good(alb, "DescribeRules", "ListenerArn="+listener))
	rule := arn("listener-rule", b.good(alb, "CreateRule", "ListenerArn="+listener+"&Priority=1&Conditions.member.1.Field=path-pattern&Conditions.member.1.Values.member.1=/a"+forward("Actions")))
	return strings.NewReplacer("$group", group, "$vpc", vpc, "$subnet", subnets[0], "$other", subnets[1], "$certificate", certificate, "$balancer", balancer,
		"$targets", targets, "$listener", listener, "$secure", secure, "$default", byDefault, "$rule", rule)
}

type badInputBench struct {
	t   *testing.T
	s   *server
	web *httptest.Server
	key aws.Credentials
}

func newBadInputBench(t *testing.T) *badInputBench {
	s := closed(t)
	web := httptest.NewServer(s.handler())
	t.Cleanup(web.Close)
	k := rootKeyOf(t, s)
	return &badInputBench{t, s, web, aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey}}
}

// ask calls an operation as the root.
func (b *badInputBench) ask(service, op, input string) (status int, answer string) {
	b.t.Helper()
	for api, o := range b.s.api.Operations() {
		if api.SigningName != service || o != op {
			continue
		}
		r := wiretest.Request(b.t, b.web.URL, api, op)
		switch body := ""; api.Protocol {
		case awswire.RestJSON:
			place, body, _ := strings.Cut(input, " ")
			place, query, _ := strings.Cut(place, "?")
			_, path := api.Line(op, place)
			r.URL.Path, r.URL.RawQuery, r.Body, r.ContentLength = path, query, io.NopCloser(strings.NewReader(body)), int64(len(body))
		case awswire.JSON11:
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(input)), int64(len(input))
		default:
			for kv := range strings.SplitSeq(input, "&") {
				if k, v, ok := strings.Cut(kv, "="); ok {
					body += "&" + k + "=" + url.QueryEscape(v)
				}
			}
			body = fmt.Sprintf("Action=%s&Version=%s%s", op, api.Version, body)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
		sign(b.t, r, b.key, service)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			b.t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			b.t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("X-Amzn-Errortype") + " " + string(text)
	}
	b.t.Fatalf("there is no operation %s of %s", op, service)
	return 0, ""
}

// good is ask for what must succeed.
func (b *badInputBench) good(service, op, input string) string {
	b.t.Helper()
	status, answer := b.ask(service, op, input)
	if status >= 300 {
		b.t.Fatalf("%s %s %s: %d %s", service, op, input, status, answer)
	}
	return answer
}

func (b *badInputBench) rev() any {
	rev, err := b.s.db.Rev(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return rev
}

// codes are the words of an answer of which one is its error code.
func codes(answer string) map[string]bool {
	m := map[string]bool{}
	for _, w := range regexp.MustCompile(`[A-Za-z.]+`).FindAllString(answer, -1) {
		m[w] = true
	}
	return m
}
