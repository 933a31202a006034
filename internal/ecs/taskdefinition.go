package ecs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// RegisterTaskDefinition makes the family's next revision. Identical content makes a new one too, as on AWS.
func (s *Service) RegisterTaskDefinition(ctx context.Context, in *ecs.RegisterTaskDefinitionInput) (*ecs.RegisterTaskDefinitionOutput, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	def, err := s.definition(in)
	if err != nil {
		return nil, err
	}
	sc := scope(ctx)
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		for _, role := range []*string{def.ExecutionRoleArn, def.TaskRoleArn} {
			if err := checkRole(tx, sc, role, errRoleInvalid); err != nil {
				return err
			}
		}
		family := aws.ToString(in.Family)
		f, err := state.Families.Get(tx, sc.Key(family))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		f.Key = sc.Key(family)
		f.Val.Last++
		if err := state.Families.Put(tx, &f); err != nil {
			return err
		}
		def.Revision = int32(f.Val.Last)
		def.TaskDefinitionArn = aws.String(sc.ARN("ecs", fmt.Sprintf("task-definition/%s:%d", family, f.Val.Last)))
		def.RegisteredAt = aws.Time(tx.Now())
		def.RegisteredBy = aws.String(awsauth.CallerFrom(ctx).ARN)
		o := store.Object[state.TaskDefinition]{
			Key: taskDefinitionKey(sc, family, f.Val.Last),
			Val: state.TaskDefinition{Scope: sc, Definition: def, Tags: tags},
		}
		return state.TaskDefinitions.Put(tx, &o)
	})
	if err != nil {
		return nil, err
	}
	return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: &def, Tags: tagList(tags)}, nil
}

// DescribeTaskDefinition shows a revision; a bare family means the latest ACTIVE one.
func (s *Service) DescribeTaskDefinition(ctx context.Context, in *ecs.DescribeTaskDefinitionInput) (*ecs.DescribeTaskDefinitionOutput, error) {
	if err := onlyMembers("", in, "TaskDefinition", "Include"); err != nil {
		return nil, err
	}
	out := &ecs.DescribeTaskDefinitionOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		td, err := findTaskDefinition(tx, scope(ctx), aws.ToString(in.TaskDefinition))
		if errors.Is(err, errTaskDefMissing) {
			return errDescribeTaskDef
		}
		if err != nil {
			return err
		}
		out.TaskDefinition = &td.Val.Definition
		if slices.Contains(in.Include, types.TaskDefinitionFieldTags) {
			out.Tags = tagList(td.Val.Tags)
		}
		return nil
	})
	return out, err
}

// DeregisterTaskDefinition makes a revision INACTIVE: what runs goes on, nothing new starts from it.
func (s *Service) DeregisterTaskDefinition(ctx context.Context, in *ecs.DeregisterTaskDefinitionInput) (*ecs.DeregisterTaskDefinitionOutput, error) {
	if err := onlyMembers("", in, "TaskDefinition"); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	family, rev, err := familyRevision(sc, aws.ToString(in.TaskDefinition))
	if err != nil {
		return nil, err
	}
	if rev == 0 {
		return nil, client("Revision is missing.")
	}
	var def types.TaskDefinition
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		td, err := state.TaskDefinitions.Get(tx, taskDefinitionKey(sc, family, rev))
		if errors.Is(err, store.ErrNotFound) {
			return errDescribeTaskDef
		}
		if err != nil {
			return err
		}
		if td.Val.Definition.Status == types.TaskDefinitionStatusActive {
			td.Val.Definition.Status = types.TaskDefinitionStatusInactive
			td.Val.Definition.DeregisteredAt = aws.Time(tx.Now())
			if err := state.TaskDefinitions.Put(tx, &td); err != nil {
				return err
			}
		}
		def = td.Val.Definition
		return nil
	})
	return &ecs.DeregisterTaskDefinitionOutput{TaskDefinition: &def}, err
}

// ListTaskDefinitions lists revisions by family, then by revision number.
func (s *Service) ListTaskDefinitions(ctx context.Context, in *ecs.ListTaskDefinitionsInput) (*ecs.ListTaskDefinitionsOutput, error) {
	if err := onlyMembers("", in, "FamilyPrefix", "MaxResults", "NextToken", "Sort", "Status"); err != nil {
		return nil, err
	}
	want := in.Status
	if want == "" {
		want = types.TaskDefinitionStatusActive
	}
	sc := scope(ctx)
	arns := map[string]string{} // sortable by family, then by revision → ARN
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for td, err := range state.TaskDefinitions.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			d := td.Val.Definition
			if d.Status == want && (in.FamilyPrefix == nil || aws.ToString(d.Family) == *in.FamilyPrefix) {
				arns[fmt.Sprintf("%s %010d", aws.ToString(d.Family), d.Revision)] = aws.ToString(d.TaskDefinitionArn)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(arns))
	for k := range arns {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	list := paginate
	if in.Sort == types.SortOrderDesc {
		slices.Reverse(keys)
		list = paginateDesc
	}
	page, next, err := list(keys, in.NextToken, in.MaxResults, 100)
	if err != nil {
		return nil, err
	}
	out := &ecs.ListTaskDefinitionsOutput{TaskDefinitionArns: []string{}, NextToken: next}
	for _, k := range page {
		out.TaskDefinitionArns = append(out.TaskDefinitionArns, arns[k])
	}
	return out, nil
}

// ListTaskDefinitionFamilies lists families that have revisions of the wanted status.
func (s *Service) ListTaskDefinitionFamilies(ctx context.Context, in *ecs.ListTaskDefinitionFamiliesInput) (*ecs.ListTaskDefinitionFamiliesOutput, error) {
	if err := onlyMembers("", in, "FamilyPrefix", "MaxResults", "NextToken", "Status"); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	active := map[string]bool{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for td, err := range state.TaskDefinitions.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			f := aws.ToString(td.Val.Definition.Family)
			active[f] = active[f] || td.Val.Definition.Status == types.TaskDefinitionStatusActive
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for f, isActive := range active {
		st := in.Status
		if st == "" {
			st = types.TaskDefinitionFamilyStatusAll
		}
		if !strings.HasPrefix(f, aws.ToString(in.FamilyPrefix)) ||
			st == types.TaskDefinitionFamilyStatusActive && !isActive ||
			st == types.TaskDefinitionFamilyStatusInactive && isActive {
			continue
		}
		names = append(names, f)
	}
	sort.Strings(names)
	page, next, err := paginate(names, in.NextToken, in.MaxResults, 100)
	return &ecs.ListTaskDefinitionFamiliesOutput{Families: page, NextToken: next}, err
}

// Private

func taskDefinitionKey(sc arn.Scope, family string, rev int) string {
	return sc.Key(family, fmt.Sprintf("%010d", rev))
}

// findTaskDefinition resolves a name as callers give it. Absent: errTaskDefMissing.
func findTaskDefinition(tx store.Reader, sc arn.Scope, given string) (store.Object[state.TaskDefinition], error) {
	var last store.Object[state.TaskDefinition]
	family, rev, err := familyRevision(sc, given)
	if err != nil {
		return last, err
	}
	if rev > 0 {
		td, err := state.TaskDefinitions.Get(tx, taskDefinitionKey(sc, family, rev))
		if errors.Is(err, store.ErrNotFound) {
			return td, errTaskDefMissing
		}
		return td, err
	}
	last, err = state.LatestRevision(tx, sc, family)
	return last, absent(err, errTaskDefMissing)
}

// checkRole looks that a role exists and trusts ECS tasks: what iam:PassRole and the assumption
// at launch would find. There is no such role: gone, or if nil what is said of one that can't be assumed.
func checkRole(tx store.Reader, sc arn.Scope, role *string, gone error) error {
	if aws.ToString(role) == "" {
		return nil
	}
	ok, err := state.RoleTrusts(tx, sc.Account, *role, "ecs-tasks.amazonaws.com")
	switch {
	case ok:
		return nil
	case errors.Is(err, store.ErrNotFound) && gone != nil:
		return gone
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	}
	return client("%s", state.CannotAssume(*role))
}
