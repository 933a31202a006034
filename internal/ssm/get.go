package ssm

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// GetParameter shows a parameter, or a version of it.
func (s *Service) GetParameter(ctx context.Context, in *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) {
	ref, err := parse(scope(ctx), aws.ToString(in.Name))
	if err != nil {
		return nil, err
	}
	var p types.Parameter
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) (err error) {
		p, err = s.get(tx, ctx, ref, in.WithDecryption)
		return err
	})
	return &ssm.GetParameterOutput{Parameter: &p}, err
}

// GetParameters shows up to ten parameters; those that don't exist are InvalidParameters.
func (s *Service) GetParameters(ctx context.Context, in *ssm.GetParametersInput) (*ssm.GetParametersOutput, error) {
	if err := checkNames(in.Names); err != nil {
		return nil, err
	}
	out := &ssm.GetParametersOutput{}
	return out, s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for i, name := range in.Names {
			if slices.Contains(in.Names[:i], name) {
				continue
			}
			ref, err := parse(scope(ctx), name)
			if err != nil {
				return err
			}
			p, err := s.get(tx, ctx, ref, in.WithDecryption)
			switch {
			case missing(err):
				out.InvalidParameters = append(out.InvalidParameters, name)
			case err != nil:
				return err
			default:
				out.Parameters = append(out.Parameters, p)
			}
		}
		return nil
	})
}

// GetParametersByPath shows the parameters below a path, in order of their names.
func (s *Service) GetParametersByPath(ctx context.Context, in *ssm.GetParametersByPathInput) (*ssm.GetParametersByPathOutput, error) {
	path := aws.ToString(in.Path)
	if err := checkPath(path); err != nil {
		return nil, err
	}
	filters, err := parseFilters(in.ParameterFilters, true)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(in.MaxResults, 10)
	if err != nil {
		return nil, err
	}
	out := &ssm.GetParametersByPathOutput{}
	sc := scope(ctx)
	return out, s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		var found []hit
		for o, err := range state.Parameters.List(tx, sc.Key(below(path))) {
			if err != nil {
				return err
			}
			if !under(o.Val.Name, path, aws.ToBool(in.Recursive)) {
				continue
			}
			h := hit{p: o.Val, n: o.Val.Version}
			if label := filters.label(); label != nil {
				n, selector, ok := labelled(o.Val, label)
				if !ok {
					continue
				}
				h.n, h.selector = n, selector
			}
			if h.v, err = versionOf(tx, h.p, h.n); err != nil {
				return err
			}
			if filters.match(h.p, h.v) {
				found = append(found, h)
			}
		}
		found, next, err := page(found, in.NextToken, size, func(h hit) string { return h.p.Name })
		if err != nil {
			return err
		}
		out.NextToken = next
		for _, h := range found {
			v, err := s.view(h.p, h.v, h.selector, in.WithDecryption)
			if err != nil {
				return err
			}
			out.Parameters = append(out.Parameters, v)
		}
		return nil
	})
}

// GetParameterHistory shows all versions of a parameter, the oldest first.
func (s *Service) GetParameterHistory(ctx context.Context, in *ssm.GetParameterHistoryInput) (*ssm.GetParameterHistoryOutput, error) {
	ref, err := plain(scope(ctx), aws.ToString(in.Name))
	if err != nil {
		return nil, err
	}
	size, err := pageSize(in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	out := &ssm.GetParameterHistoryOutput{}
	return out, s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := find(tx, scope(ctx), ref)
		if err != nil {
			return err
		}
		all, err := versions(tx, o.Val)
		if err != nil {
			return err
		}
		all, out.NextToken, err = page(all, in.NextToken, size, func(v store.Object[state.ParameterVersion]) string { return v.Key })
		if err != nil {
			return err
		}
		for _, v := range all {
			h, err := s.history(o.Val, v.Val, in.WithDecryption)
			if err != nil {
				return err
			}
			out.Parameters = append(out.Parameters, h)
		}
		return nil
	})
}

// Private

// A hit is a version of a parameter that a request asks for.
type hit struct {
	p        state.Parameter
	v        state.ParameterVersion
	n        int64
	selector string
}

func (s *Service) get(tx store.Reader, ctx context.Context, ref reference, decrypt *bool) (types.Parameter, error) {
	p, v, err := lookup(tx, scope(ctx), ref)
	if err != nil {
		return types.Parameter{}, err
	}
	return s.view(p, v, ref.selector, decrypt)
}

func (s *Service) history(p state.Parameter, v state.ParameterVersion, decrypt *bool) (types.ParameterHistory, error) {
	value, err := s.shown(p, v, decrypt)
	h := types.ParameterHistory{
		Name: aws.String(p.Name), Type: types.ParameterType(v.Type), Value: aws.String(value), Version: v.Version,
		Description: optional(v.Description), AllowedPattern: optional(v.AllowedPattern), DataType: aws.String(v.DataType),
		Tier: types.ParameterTier(v.Tier), Labels: labelsOf(p, v.Version), LastModifiedDate: aws.Time(v.ModifiedAt),
		LastModifiedUser: optional(v.ModifiedBy), Policies: []types.ParameterInlinePolicy{},
	}
	if h.Labels == nil {
		h.Labels = []string{}
	}
	if secure(v) {
		h.KeyId = aws.String(keyAlias)
	}
	return h, err
}

// labelled finds the version that has one of the labels.
func labelled(p state.Parameter, labels []string) (n int64, selector string, ok bool) {
	for _, l := range labels {
		if n, ok := p.Labels[l]; ok {
			return n, ":" + l, true
		}
	}
	return 0, "", false
}

// missing says whether an error is that a parameter, or the version of it, doesn't exist.
func missing(err error) bool {
	var e *awswire.Error
	return errors.As(err, &e) && (e.Code == "ParameterNotFound" || e.Code == "ParameterVersionNotFound")
}

func checkNames(names []string) error {
	if len(names) < 1 || len(names) > 10 {
		return constraint(names, "names", "Member must have length between 1 and 10")
	}
	return nil
}
