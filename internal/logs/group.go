package logs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/lotse-project/lotse/internal/segment"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// retentionDays are the days one may choose. Source: PutRetentionPolicy.
var retentionDays = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

// CreateLogGroup makes a log group.
func (s *Service) CreateLogGroup(ctx context.Context, in *cwl.CreateLogGroupInput) (*cwl.CreateLogGroupOutput, error) {
	if err := onlyMembers(in, "LogGroupName", "DeletionProtectionEnabled", "LogGroupClass", "Tags"); err != nil {
		return nil, err
	}
	if in.LogGroupClass != "" && in.LogGroupClass != types.LogGroupClassStandard {
		return nil, invalid("Lotse has log groups of the class STANDARD only, not %s.", in.LogGroupClass)
	}
	name := aws.ToString(in.LogGroupName)
	if err := errors.Join(checkGroupName(name), checkTags(in.Tags)); err != nil {
		return nil, err
	}
	return &cwl.CreateLogGroupOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		g, err := state.LogGroups.Get(tx, scope(ctx).Key(name))
		if err == nil {
			return errGroupExists
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		g.Val = state.LogGroup{Scope: scope(ctx), Name: name, DeletionProtection: aws.ToBool(in.DeletionProtectionEnabled), CreatedAt: tx.Now(), Tags: in.Tags}
		return state.LogGroups.Put(tx, &g)
	})
}

// DeleteLogGroup deletes a log group with its streams and events.
func (s *Service) DeleteLogGroup(ctx context.Context, in *cwl.DeleteLogGroupInput) (*cwl.DeleteLogGroupOutput, error) {
	name := aws.ToString(in.LogGroupName)
	if err := checkGroupName(name); err != nil {
		return nil, err
	}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		g, err := state.LogGroups.Get(tx, scope(ctx).Key(name))
		if err != nil {
			return or(err, errNoGroup)
		}
		if g.Val.DeletionProtection {
			return errProtected
		}
		return state.DeleteLogGroup(tx, scope(ctx), name)
	})
	s.sweepSoon()
	return &cwl.DeleteLogGroupOutput{}, err
}

// DescribeLogGroups lists log groups by name.
func (s *Service) DescribeLogGroups(ctx context.Context, in *cwl.DescribeLogGroupsInput) (*cwl.DescribeLogGroupsOutput, error) {
	if err := onlyMembers(in, "Limit", "LogGroupClass", "LogGroupIdentifiers", "LogGroupNamePattern", "LogGroupNamePrefix", "NextToken"); err != nil {
		return nil, err
	}
	wanted, err := groupFilter(ctx, in)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(in.Limit, 50)
	if err != nil {
		return nil, err
	}
	var groups []state.LogGroup
	ids := map[string][]string{}
	out := &cwl.DescribeLogGroupsOutput{LogGroups: []types.LogGroup{}}
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		sc := scope(ctx)
		for g, err := range state.LogGroups.List(tx, sc.Key(aws.ToString(in.LogGroupNamePrefix))) {
			if err != nil {
				return err
			}
			if wanted(g.Val) {
				groups = append(groups, g.Val)
			}
		}
		groups, out.NextToken, err = page(groups, in.NextToken, size, func(g state.LogGroup) string { return g.Name }, func(a, b string) bool { return a < b })
		if err != nil {
			return err
		}
		for _, g := range groups {
			for st, err := range state.LogStreams.List(tx, state.LogStreamKey(sc, g.Name, "")) {
				if err != nil {
					return err
				}
				ids[g.Name] = append(ids[g.Name], st.Val.ID)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		v := groupView(g)
		for _, id := range ids[g.Name] {
			n, err := segment.Size(s.dir(id))
			if err != nil {
				return nil, err
			}
			*v.StoredBytes += n
		}
		out.LogGroups = append(out.LogGroups, v)
	}
	return out, nil
}

// PutLogGroupDeletionProtection protects a group from DeleteLogGroup, or no longer.
func (s *Service) PutLogGroupDeletionProtection(ctx context.Context, in *cwl.PutLogGroupDeletionProtectionInput) (*cwl.PutLogGroupDeletionProtectionOutput, error) {
	name, err := groupOf(scope(ctx), nil, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	return &cwl.PutLogGroupDeletionProtectionOutput{}, s.changeGroup(ctx, name, func(g *state.LogGroup) error {
		g.DeletionProtection = aws.ToBool(in.DeletionProtectionEnabled)
		return nil
	})
}

// PutRetentionPolicy lets events expire.
func (s *Service) PutRetentionPolicy(ctx context.Context, in *cwl.PutRetentionPolicyInput) (*cwl.PutRetentionPolicyOutput, error) {
	days := aws.ToInt32(in.RetentionInDays)
	if !slices.Contains(retentionDays, days) {
		return nil, constraint(days, "retentionInDays", "Member must satisfy enum value set: [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]")
	}
	return &cwl.PutRetentionPolicyOutput{}, s.retain(ctx, aws.ToString(in.LogGroupName), int(days))
}

// DeleteRetentionPolicy keeps events for ever.
func (s *Service) DeleteRetentionPolicy(ctx context.Context, in *cwl.DeleteRetentionPolicyInput) (*cwl.DeleteRetentionPolicyOutput, error) {
	return &cwl.DeleteRetentionPolicyOutput{}, s.retain(ctx, aws.ToString(in.LogGroupName), 0)
}

// Private

func (s *Service) retain(ctx context.Context, name string, days int) error {
	if err := checkGroupName(name); err != nil {
		return err
	}
	defer s.sweepSoon()
	return s.changeGroup(ctx, name, func(g *state.LogGroup) error { g.RetentionDays = days; return nil })
}

func (s *Service) changeGroup(ctx context.Context, name string, change func(*state.LogGroup) error) error {
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		g, err := state.LogGroups.Get(tx, scope(ctx).Key(name))
		if err != nil {
			return or(err, errNoGroup)
		}
		if err := change(&g.Val); err != nil {
			return err
		}
		return state.LogGroups.Put(tx, &g)
	})
}

// groupFilter is which groups a DescribeLogGroups wants. A pattern is part of the name, whatever its case.
func groupFilter(ctx context.Context, in *cwl.DescribeLogGroupsInput) (func(state.LogGroup) bool, error) {
	pattern := strings.ToLower(aws.ToString(in.LogGroupNamePattern))
	prefix := aws.ToString(in.LogGroupNamePrefix)
	if pattern != "" && prefix != "" {
		return nil, invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	if in.LogGroupIdentifiers == nil {
		return func(g state.LogGroup) bool {
			return strings.Contains(strings.ToLower(g.Name), pattern) && (in.LogGroupClass == "" || in.LogGroupClass == types.LogGroupClassStandard)
		}, nil
	}
	if pattern != "" || prefix != "" || in.LogGroupClass != "" || len(in.LogGroupIdentifiers) > 50 {
		return nil, invalid("logGroupIdentifiers has at most 50 elements and goes with no other filter.")
	}
	names := map[string]bool{}
	for _, id := range in.LogGroupIdentifiers {
		name, err := groupOf(scope(ctx), nil, &id)
		if err != nil && !errors.Is(err, errNoGroup) {
			return nil, err
		}
		names[name] = true
	}
	return func(g state.LogGroup) bool { return names[g.Name] }, nil
}

func groupView(g state.LogGroup) types.LogGroup {
	v := types.LogGroup{
		LogGroupName: aws.String(g.Name), Arn: aws.String(g.ARN() + ":*"), LogGroupArn: aws.String(g.ARN()),
		CreationTime: aws.Int64(g.CreatedAt.UnixMilli()), MetricFilterCount: aws.Int32(0), StoredBytes: aws.Int64(0),
		LogGroupClass: types.LogGroupClassStandard, DeletionProtectionEnabled: aws.Bool(g.DeletionProtection),
	}
	if g.RetentionDays > 0 {
		v.RetentionInDays = aws.Int32(int32(g.RetentionDays))
	}
	return v
}
