package ssm

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Source: LabelParameterVersion: letters, numbers, periods, hyphens, underscores; no number, "aws" or "ssm" at the beginning.
var labelForm = lazyregexp.New(`^[a-zA-Z_.\-][a-zA-Z0-9_.\-]*$`)

// LabelParameterVersion gives labels to a version, the newest by default; another version that has one of them loses it.
func (s *Service) LabelParameterVersion(ctx context.Context, in *ssm.LabelParameterVersionInput) (*ssm.LabelParameterVersionOutput, error) {
	if err := checkLabels(in.Labels); err != nil {
		return nil, err
	}
	out := &ssm.LabelParameterVersionOutput{}
	return out, s.change(ctx, in.Name, func(tx *store.WriteTx, p *state.Parameter) error {
		n := aws.ToInt64(in.ParameterVersion)
		if in.ParameterVersion == nil {
			n = p.Version
		}
		if _, err := versionOf(tx, *p, n); err != nil {
			return err
		}
		out.ParameterVersion = n
		labels := map[string]int64{}
		maps.Copy(labels, p.Labels)
		for _, l := range in.Labels {
			if low := strings.ToLower(l); !labelForm.MatchString(l) || strings.HasPrefix(low, "aws") || strings.HasPrefix(low, "ssm") {
				out.InvalidLabels = append(out.InvalidLabels, l)
				continue
			}
			labels[l] = n
		}
		p.Labels = labels
		if len(labelsOf(*p, n)) > 10 {
			return errLabels
		}
		return nil
	})
}

// UnlabelParameterVersion takes labels from a version.
func (s *Service) UnlabelParameterVersion(ctx context.Context, in *ssm.UnlabelParameterVersionInput) (*ssm.UnlabelParameterVersionOutput, error) {
	if err := checkLabels(in.Labels); err != nil {
		return nil, err
	}
	out := &ssm.UnlabelParameterVersionOutput{}
	return out, s.change(ctx, in.Name, func(tx *store.WriteTx, p *state.Parameter) error {
		n := aws.ToInt64(in.ParameterVersion)
		if _, err := versionOf(tx, *p, n); err != nil {
			return err
		}
		for _, l := range in.Labels {
			if p.Labels[l] != n {
				out.InvalidLabels = append(out.InvalidLabels, l)
				continue
			}
			if !slices.Contains(out.RemovedLabels, l) {
				out.RemovedLabels = append(out.RemovedLabels, l)
			}
		}
		for _, l := range out.RemovedLabels {
			delete(p.Labels, l)
		}
		return nil
	})
}

// Private

// change writes a parameter's record.
func (s *Service) change(ctx context.Context, name *string, do func(*store.WriteTx, *state.Parameter) error) error {
	ref, err := plain(scope(ctx), aws.ToString(name))
	if err != nil {
		return err
	}
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := find(tx, scope(ctx), ref)
		if err != nil {
			return err
		}
		if err := do(tx, &o.Val); err != nil {
			return err
		}
		return state.Parameters.Put(tx, &o)
	})
}

func checkLabels(labels []string) error {
	if len(labels) < 1 || len(labels) > 10 {
		return constraint(labels, "labels", "Member must have length between 1 and 10")
	}
	for _, l := range labels {
		if l == "" || len(l) > 100 {
			return constraint(labels, "labels", "Member must satisfy constraint: [Member must have length less than or equal to 100, Member must have length greater than or equal to 1]")
		}
	}
	return nil
}
