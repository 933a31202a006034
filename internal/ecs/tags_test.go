package ecs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"
)

func TestTags(t *testing.T) {
	b := newBench(t)
	b.cluster()
	td := b.register()
	task := *must(b.runTask())(t).Tasks[0].TaskArn
	must(b.createService())(t)
	for _, a := range []string{here.ARN("ecs", "cluster/default"), here.ARN("ecs", "service/default/svc"), task, td} {
		t.Run(a, func(t *testing.T) {
			tag := func(kv ...string) error {
				in := &ecs.TagResourceInput{ResourceArn: &a}
				for i := 0; i < len(kv); i += 2 {
					in.Tags = append(in.Tags, types.Tag{Key: &kv[i], Value: &kv[i+1]})
				}
				_, err := b.s.TagResource(b.ctx, in)
				return err
			}
			tags := func() string {
				var out []string
				for _, t := range must(b.s.ListTagsForResource(b.ctx, &ecs.ListTagsForResourceInput{ResourceArn: &a}))(t).Tags {
					out = append(out, *t.Key+"="+*t.Value)
				}
				return strings.Join(out, " ")
			}
			if err := tag("b", "1", "a", "1"); err != nil {
				t.Fatal(err)
			}
			if err := tag("b", "2", "c", ""); err != nil {
				t.Fatal(err)
			}
			if got := tags(); got != "a=1 b=2 c=" {
				t.Errorf("tags %s", got)
			}
			must(b.s.UntagResource(b.ctx, &ecs.UntagResourceInput{ResourceArn: &a, TagKeys: []string{"a", "x"}}))(t)
			if got := tags(); got != "b=2 c=" {
				t.Errorf("tags %s", got)
			}
			var many []string
			for i := range 49 {
				many = append(many, fmt.Sprint("k", i), "v")
			}
			refused(t, tag(many...), "LimitExceededException", "The maximum number of tags per resource is 50.")
			refused(t, tag("aws:x", "1"), "InvalidParameterException", "Tag keys and values may not start with 'aws:'.")
			refused(t, tag("d", "1", "d", "2"), "InvalidParameterException", "Duplicate tag key: d")
		})
	}
	// What Describe shows is what was set.
	s := must(b.s.DescribeServices(b.ctx, &ecs.DescribeServicesInput{Services: []string{"svc"}, Include: []types.ServiceField{types.ServiceFieldTags}}))(t).Services[0]
	want := []types.Tag{{Key: aws.String("b"), Value: aws.String("2")}, {Key: aws.String("c"), Value: aws.String("")}}
	if d := cmp.Diff(want, s.Tags, ignoreNoSmithy); d != "" {
		t.Error(d)
	}
	if s := b.service(); len(s.Tags) != 0 {
		t.Errorf("tags without include: %v", s.Tags)
	}
}

// Tags that ECS manages don't count and can't be removed; those of the definition and of the call count together.
func TestTags_OfTasks(t *testing.T) {
	b := newBench(t)
	b.cluster()
	tags := func(prefix string, n int) (out []types.Tag) {
		for i := range n {
			out = append(out, types.Tag{Key: aws.String(fmt.Sprint(prefix, i)), Value: aws.String("v")})
		}
		return out
	}
	b.register(func(in *ecs.RegisterTaskDefinitionInput) { in.Tags = tags("d", 30) })
	run := func(n int) (*ecs.RunTaskOutput, error) {
		return b.runTask(func(in *ecs.RunTaskInput) {
			in.Tags, in.PropagateTags, in.EnableECSManagedTags = tags("t", n), types.PropagateTagsTaskDefinition, true
		})
	}
	_, err := run(21)
	refused(t, err, "InvalidParameterException", "The maximum number of tags per resource is 50.")
	task := must(run(20))(t).Tasks[0]
	if len(task.Tags) != 51 {
		t.Errorf("%d tags, want 50 and that of the cluster", len(task.Tags))
	}
	_, err = b.s.UntagResource(b.ctx, &ecs.UntagResourceInput{ResourceArn: task.TaskArn, TagKeys: []string{"aws:ecs:clusterName"}})
	refused(t, err, "InvalidParameterException", "Tag keys and values may not start with 'aws:'.")
	must(b.s.TagResource(b.ctx, &ecs.TagResourceInput{ResourceArn: task.TaskArn, Tags: tags("t", 1)}))(t)
}

func TestTags_Refuses(t *testing.T) {
	b := newBench(t)
	for _, tc := range []struct{ arn, code, message string }{
		{here.ARN("ecs", "cluster/gone"), "ClusterNotFoundException", "Cluster not found."},
		{here.ARN("ecs", "service/default/gone"), "ResourceNotFoundException", "The specified resource could not be found."},
		{here.ARN("ecs", "service/gone"), "InvalidParameterException", "Long arn format must be used for tagging operations"},
		{here.ARN("ecs", "widget/x"), "InvalidParameterException", "The ARN provided is invalid."},
		{"arn:aws:ecs:eu-west-1:000000000000:cluster/default", "InvalidParameterException", "The ARN provided is invalid."},
		{"svc", "InvalidParameterException", "The ARN provided is invalid."},
	} {
		_, err := b.s.TagResource(b.ctx, &ecs.TagResourceInput{ResourceArn: &tc.arn, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
		refused(t, err, tc.code, tc.message)
	}
	_, err := b.s.ListTagsForResource(b.ctx, &ecs.ListTagsForResourceInput{ResourceArn: aws.String(here.ARN("ecs", "task/default/gone"))})
	refused(t, err, "InvalidParameterException", "The specified resource could not be found.")
}
