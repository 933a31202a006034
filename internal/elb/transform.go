package elb

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/state"
)

// maxRewrite is the longest expression, or replacement, of a transform. Source: ELBv2 API, RewriteConfig.
const maxRewrite = 1024

// parseTransforms takes a rule's transforms, at most one of a type. Source: ALB user guide, transforms.
func parseTransforms(in []types.RuleTransform) (out []state.Transform, err error) {
	for _, t := range in {
		var rewrites []types.RewriteConfig
		switch t.Type {
		case types.TransformTypeEnumHostHeaderRewrite:
			err = onlyMembers("a transform of the type '"+string(t.Type)+"'", t, "Type", "HostHeaderRewriteConfig")
			if c := t.HostHeaderRewriteConfig; c != nil {
				rewrites = c.Rewrites
			}
		case types.TransformTypeEnumUrlRewrite:
			err = onlyMembers("a transform of the type '"+string(t.Type)+"'", t, "Type", "UrlRewriteConfig")
			if c := t.UrlRewriteConfig; c != nil {
				rewrites = c.Rewrites
			}
		default:
			err = invalid("1 validation error detected: Value '%s' at 'transforms.1.member.type' failed to satisfy constraint: Member must satisfy enum value set: [host-header-rewrite, url-rewrite]", t.Type)
		}
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o state.Transform) bool { return o.Type == string(t.Type) }) {
			return nil, invalid("A rule can have at most one '%s' transform", t.Type)
		}
		if len(rewrites) != 1 {
			return nil, invalid("A transform of the type '%s' must have one rewrite, not %d", t.Type, len(rewrites))
		}
		w := state.Transform{Type: string(t.Type), Regex: aws.ToString(rewrites[0].Regex), Replace: aws.ToString(rewrites[0].Replace)}
		if w.Regex == "" || rewrites[0].Replace == nil {
			return nil, invalid("A regular expression and a replacement must be specified for a transform")
		}
		if err := checkRegex("Transform regular expression", w.Regex, maxRewrite); err != nil {
			return nil, err
		}
		if len(w.Replace) > maxRewrite {
			return nil, invalid("Transform replacement '%s' can have at most %d characters", w.Replace, maxRewrite)
		}
		out = append(out, w)
	}
	return out, nil
}

// checkTransforms: only what is forwarded can be transformed.
func checkTransforms(r state.Rule) error {
	if len(r.Transforms) > 0 && !slices.ContainsFunc(r.Actions, func(a state.Action) bool { return a.Type == string(types.ActionTypeEnumForward) }) {
		return unfit("A rule with transforms must have a forward action.")
	}
	return nil
}

func transformViews(in []state.Transform) (out []types.RuleTransform) {
	for _, t := range in {
		v := types.RuleTransform{Type: types.TransformTypeEnum(t.Type)}
		rewrites := []types.RewriteConfig{{Regex: aws.String(t.Regex), Replace: aws.String(t.Replace)}}
		if v.Type == types.TransformTypeEnumHostHeaderRewrite {
			v.HostHeaderRewriteConfig = &types.HostHeaderRewriteConfig{Rewrites: rewrites}
		} else {
			v.UrlRewriteConfig = &types.UrlRewriteConfig{Rewrites: rewrites}
		}
		out = append(out, v)
	}
	return out
}
