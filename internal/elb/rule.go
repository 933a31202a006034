package elb

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxPriority is a rule's last place. Source: ELBv2 API, CreateRule.
const maxPriority = 50000

// CreateRule adds a rule to a listener.
func (s *Service) CreateRule(ctx context.Context, in *elb.CreateRuleInput) (*elb.CreateRuleOutput, error) {
	if err := onlyMembers("", in, "ListenerArn", "Priority", "Conditions", "Transforms", "Actions", "Tags"); err != nil {
		return nil, err
	}
	if in.Priority == nil {
		return nil, invalid("A priority must be specified")
	}
	if err := checkPriority(*in.Priority); err != nil {
		return nil, err
	}
	r := state.Rule{Scope: scope(ctx), ID: newID(), Priority: int(*in.Priority)}
	var err error
	if r.Conditions, err = parseConditions(in.Conditions); err != nil {
		return nil, err
	}
	if r.Actions, err = parseActions(in.Actions); err != nil {
		return nil, err
	}
	if r.Transforms, err = parseTransforms(in.Transforms); err != nil {
		return nil, err
	}
	if err := checkTransforms(r); err != nil {
		return nil, err
	}
	if r.Tags, err = tagMap(in.Tags); err != nil {
		return nil, err
	}
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		l, err := findListener(tx, r.Scope, in.ListenerArn)
		if err != nil {
			return err
		}
		r.Listener = l.Val.Balancer + "/" + l.Val.ID
		b, err := findBalancer(tx, r.Scope, aws.String(l.Val.BalancerARN()))
		if err != nil {
			return err
		}
		have, err := collect(state.Rules.List(tx, b.Key+"/"))
		if err != nil {
			return err
		}
		if len(have) >= maxRules {
			return awsError("TooManyRules", "The maximum number of rules on load balancer '%s' has been reached: %d", b.Val.ARN(), maxRules)
		}
		for _, o := range have {
			if o.Val.Listener == r.Listener && o.Val.Priority == r.Priority {
				return priorityInUse(r.Priority)
			}
		}
		if err := checkActions(tx, b.Val, l.Val.Protocol, r.Actions); err != nil {
			return err
		}
		return state.Rules.Put(tx, &store.Object[state.Rule]{Key: r.Key(), Val: r})
	})
	return &elb.CreateRuleOutput{Rules: []types.Rule{ruleView(r)}}, err
}

// DescribeRules shows rules of a listener or by ARN, by priority, the default rule last.
func (s *Service) DescribeRules(ctx context.Context, in *elb.DescribeRulesInput) (*elb.DescribeRulesOutput, error) {
	if (in.ListenerArn == nil) == (len(in.RuleArns) == 0) {
		return nil, invalid("You must specify either listener rule ARNs or a listener ARN")
	}
	sc, out := scope(ctx), &elb.DescribeRulesOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		rules, err := describedRules(tx, sc, in)
		if err != nil {
			return err
		}
		slices.SortFunc(rules, func(a, b types.Rule) int { return strings.Compare(ruleOrder(a), ruleOrder(b)) })
		out.Rules, out.NextMarker, err = paginate(rules, ruleOrder, in.Marker, in.PageSize)
		return err
	})
	return out, err
}

// ModifyRule replaces a rule's conditions, transforms or actions: those given.
func (s *Service) ModifyRule(ctx context.Context, in *elb.ModifyRuleInput) (*elb.ModifyRuleOutput, error) {
	if err := onlyMembers("", in, "RuleArn", "Conditions", "Transforms", "Actions", "ResetTransforms"); err != nil {
		return nil, err
	}
	reset := aws.ToBool(in.ResetTransforms)
	if len(in.Conditions) == 0 && len(in.Actions) == 0 && len(in.Transforms) == 0 && !reset {
		return nil, invalid("Either conditions or actions must be specified")
	}
	if reset && len(in.Transforms) > 0 {
		return nil, invalid("Transforms and ResetTransforms cannot be specified at the same time")
	}
	sc := scope(ctx)
	var out types.Rule
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findRule(tx, sc, in.RuleArn, "modified")
		if err != nil {
			return err
		}
		if len(in.Conditions) > 0 {
			if o.Val.Conditions, err = parseConditions(in.Conditions); err != nil {
				return err
			}
		}
		if len(in.Actions) > 0 {
			if o.Val.Actions, err = parseActions(in.Actions); err != nil {
				return err
			}
			b, err := findBalancer(tx, sc, aws.String(balancerOfRule(o.Val)))
			if err != nil {
				return err
			}
			l, err := state.Listeners.Get(tx, sc.Key(o.Val.Listener))
			if err != nil {
				return err
			}
			if err := checkActions(tx, b.Val, l.Val.Protocol, o.Val.Actions); err != nil {
				return err
			}
		}
		if reset || len(in.Transforms) > 0 {
			if o.Val.Transforms, err = parseTransforms(in.Transforms); err != nil {
				return err
			}
		}
		if err := checkTransforms(o.Val); err != nil {
			return err
		}
		out = ruleView(o.Val)
		return state.Rules.Put(tx, &o)
	})
	return &elb.ModifyRuleOutput{Rules: []types.Rule{out}}, err
}

// DeleteRule deletes a rule; the default rule lives and dies with its listener.
func (s *Service) DeleteRule(ctx context.Context, in *elb.DeleteRuleInput) (*elb.DeleteRuleOutput, error) {
	return &elb.DeleteRuleOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findRule(tx, scope(ctx), in.RuleArn, "deleted")
		if err != nil {
			return err
		}
		return state.Rules.Delete(tx, o.Key, o.Rev)
	})
}

// SetRulePriorities moves rules, all or none.
func (s *Service) SetRulePriorities(ctx context.Context, in *elb.SetRulePrioritiesInput) (*elb.SetRulePrioritiesOutput, error) {
	sc, out := scope(ctx), &elb.SetRulePrioritiesOutput{}
	if len(in.RulePriorities) == 0 {
		return nil, invalid("Rule priorities must be specified")
	}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		listeners := map[string]bool{}
		for _, p := range in.RulePriorities {
			if err := checkPriority(aws.ToInt32(p.Priority)); err != nil {
				return err
			}
			o, err := findRule(tx, sc, p.RuleArn, "reprioritized")
			if err != nil {
				return err
			}
			o.Val.Priority = int(*p.Priority)
			listeners[o.Val.Listener] = true
			if err := state.Rules.Put(tx, &o); err != nil {
				return err
			}
			out.Rules = append(out.Rules, ruleView(o.Val))
		}
		for l := range listeners {
			taken := map[int]bool{}
			for o, err := range state.Rules.List(tx, sc.Key(l)+"/") {
				if err != nil {
					return err
				}
				if taken[o.Val.Priority] {
					return clash(in.RulePriorities, o.Val.Priority)
				}
				taken[o.Val.Priority] = true
			}
		}
		return nil
	})
	return out, err
}

// Private

// findRule finds a rule that can be changed: any but a default rule.
func findRule(tx store.Reader, sc arn.Scope, given *string, verb string) (store.Object[state.Rule], error) {
	key, err := keyOf(sc, "listener-rule", aws.ToString(given))
	if err != nil {
		return store.Object[state.Rule]{}, err
	}
	o, err := state.Rules.Get(tx, key)
	if err == nil {
		return o, nil
	}
	if _, isDefault, derr := defaultRule(tx, key); derr != nil || isDefault {
		if derr == nil {
			derr = awsError("OperationNotPermitted", "Default rule '%s' cannot be %s", aws.ToString(given), verb)
		}
		return o, derr
	}
	return o, orNotFound(err, errRuleNotFound)
}

// defaultRule finds the listener whose default rule has the key.
func defaultRule(tx store.Reader, key string) (state.Listener, bool, error) {
	i := strings.LastIndexByte(key, '/')
	l, err := state.Listeners.Get(tx, key[:i])
	if err != nil {
		return l.Val, false, orNotFound(err, errRuleNotFound)
	}
	return l.Val, l.Val.DefaultRuleID == key[i+1:], nil
}

func describedRules(tx store.Reader, sc arn.Scope, in *elb.DescribeRulesInput) (out []types.Rule, err error) {
	if in.ListenerArn != nil {
		l, err := findListener(tx, sc, in.ListenerArn)
		if err != nil {
			return nil, err
		}
		for o, err := range state.Rules.List(tx, l.Key+"/") {
			if err != nil {
				return nil, err
			}
			out = append(out, ruleView(o.Val))
		}
		return append(out, defaultRuleView(l.Val)), nil
	}
	for _, given := range in.RuleArns {
		key, err := keyOf(sc, "listener-rule", given)
		if err != nil {
			return nil, err
		}
		o, err := state.Rules.Get(tx, key)
		if err == nil {
			out = append(out, ruleView(o.Val))
			continue
		}
		l, isDefault, derr := defaultRule(tx, key)
		if derr != nil {
			return nil, derr
		}
		if !isDefault {
			return nil, orNotFound(err, errRuleNotFound)
		}
		out = append(out, defaultRuleView(l))
	}
	return out, nil
}

func checkPriority(p int32) error {
	if p < 1 || p > maxPriority {
		return invalid("Priority '%d' must be between 1 and %d", p, maxPriority)
	}
	return nil
}

func priorityInUse(p int) error {
	return awsError("PriorityInUse", "Priority '%d' is currently in use", p)
}

// clash is the error for a priority that two rules would have.
func clash(given []types.RulePriorityPair, p int) error {
	n := 0
	for _, g := range given {
		if int(aws.ToInt32(g.Priority)) == p {
			n++
		}
	}
	if n > 1 {
		return invalid("Priority '%d' was provided multiple times", p)
	}
	return priorityInUse(p)
}

func balancerOfRule(r state.Rule) string {
	balancer := r.Listener[:strings.LastIndexByte(r.Listener, '/')]
	return state.Listener{Scope: r.Scope, Balancer: balancer}.BalancerARN()
}

func ruleView(r state.Rule) types.Rule {
	return types.Rule{RuleArn: aws.String(r.ARN()), Priority: aws.String(strconv.Itoa(r.Priority)), IsDefault: aws.Bool(false),
		Conditions: conditionViews(r.Conditions), Transforms: transformViews(r.Transforms), Actions: actionViews(r.Actions)}
}

func defaultRuleView(l state.Listener) types.Rule {
	return types.Rule{RuleArn: aws.String(l.DefaultRuleARN()), Priority: aws.String("default"), IsDefault: aws.Bool(true),
		Conditions: []types.RuleCondition{}, Actions: actionViews(l.Default)}
}

// ruleOrder sorts by priority, the default last ("default" is above all digits), then by ARN.
func ruleOrder(r types.Rule) string {
	return fmt.Sprintf("%5s %s", aws.ToString(r.Priority), aws.ToString(r.RuleArn))
}
