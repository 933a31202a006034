package daemon

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/awswire/wiretest"
)

//go:embed testdata/badinput.txt
var badInput string

// judged are the services of which every operation has a line in badinput.txt.
var judged = []string{"ecs", "logs", "ssm", "secretsmanager", "iam", "ec2", "elasticfilesystem"}

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
	group := regexp.MustCompile(`sg-[0-9a-f]+`).FindString(b.good("ec2", "CreateSecurityGroup", "GroupName=g&GroupDescription=x"))
	subnet := regexp.MustCompile(`subnet-[0-9a-f]+`).FindString(b.good("ec2", "DescribeSubnets", ""))
	named := strings.NewReplacer("$group", group, "$subnet", subnet)

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
	for _, service := range judged {
		for api, op := range b.s.api.Operations() {
			if api.SigningName == service && !tried[service+" "+op] {
				t.Errorf("%s %s is not in badinput.txt", service, op)
			}
		}
	}
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
