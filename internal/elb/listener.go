package elb

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// CreateListener opens a port of a load balancer. The same again returns the one that is there.
func (s *Service) CreateListener(ctx context.Context, in *elb.CreateListenerInput) (*elb.CreateListenerOutput, error) {
	if err := checkProtocol(in.Protocol); err != nil {
		return nil, err
	}
	if err := checkListenerMembers(in, in.MutualAuthentication, in.AlpnPolicy, "LoadBalancerArn", "Tags"); err != nil {
		return nil, err
	}
	switch {
	case in.Protocol == "":
		return nil, invalid("A listener protocol must be specified")
	case in.Port == nil:
		return nil, invalid("A listener port must be specified")
	}
	if err := checkPort(*in.Port); err != nil {
		return nil, err
	}
	actions, err := parseActions(in.DefaultActions)
	if err != nil {
		return nil, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	sc := scope(ctx)
	var out types.Listener
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		b, err := findBalancer(tx, sc, in.LoadBalancerArn)
		if err != nil {
			return err
		}
		l := state.Listener{Scope: sc, Balancer: b.Val.Name + "/" + b.Val.ID, ID: newID(), DefaultRuleID: newID(),
			Port: int(*in.Port), Protocol: string(in.Protocol), Default: actions, Tags: tags}
		if err := setTLS(tx, &l, in.Certificates, in.SslPolicy); err != nil {
			return err
		}
		have, err := collect(state.Listeners.List(tx, b.Key+"/"))
		if err != nil {
			return err
		}
		if i := portIndex(have, l.Port); i >= 0 {
			if o := have[i].Val; reflect.DeepEqual(o.Default, l.Default) && hasTags(o.Tags, l.Tags) && sameTLS(o, l) {
				out = listenerView(o)
				return nil
			}
			return duplicateListener(b.Val)
		}
		if len(have) >= maxListeners {
			return awsError("TooManyListeners", "The maximum number of listeners on load balancer '%s' has been reached: %d", b.Val.ARN(), maxListeners)
		}
		if err := checkActions(tx, b.Val, l.Protocol, actions); err != nil {
			return err
		}
		out = listenerView(l)
		return state.Listeners.Put(tx, &store.Object[state.Listener]{Key: l.Key(), Val: l})
	})
	return &elb.CreateListenerOutput{Listeners: []types.Listener{out}}, err
}

// DescribeListeners shows listeners of a load balancer or by ARN.
func (s *Service) DescribeListeners(ctx context.Context, in *elb.DescribeListenersInput) (*elb.DescribeListenersOutput, error) {
	if (in.LoadBalancerArn == nil) == (len(in.ListenerArns) == 0) {
		return nil, invalid("You must specify either listener ARNs or a load balancer ARN")
	}
	sc, out := scope(ctx), &elb.DescribeListenersOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		prefix := sc.Key()
		if in.LoadBalancerArn != nil {
			b, err := findBalancer(tx, sc, in.LoadBalancerArn)
			if err != nil {
				return err
			}
			prefix = b.Key + "/"
		}
		all, err := collect(state.Listeners.List(tx, prefix))
		if err != nil {
			return err
		}
		if len(in.ListenerArns) > 0 {
			if all, err = pick(sc, "listener", all, in.ListenerArns, errListenerNotFound); err != nil {
				return err
			}
		}
		all, out.NextMarker, err = paginate(all, keyOfObject[state.Listener], in.Marker, in.PageSize)
		for _, o := range all {
			out.Listeners = append(out.Listeners, listenerView(o.Val))
		}
		return err
	})
	return out, err
}

// ModifyListener changes a listener's port, protocol, default certificate, security policy or default actions.
func (s *Service) ModifyListener(ctx context.Context, in *elb.ModifyListenerInput) (*elb.ModifyListenerOutput, error) {
	if err := checkProtocol(in.Protocol); err != nil {
		return nil, err
	}
	if err := checkListenerMembers(in, in.MutualAuthentication, in.AlpnPolicy, "ListenerArn"); err != nil {
		return nil, err
	}
	if in.Port != nil {
		if err := checkPort(*in.Port); err != nil {
			return nil, err
		}
	}
	var actions []state.Action
	if len(in.DefaultActions) > 0 {
		var err error
		if actions, err = parseActions(in.DefaultActions); err != nil {
			return nil, err
		}
	}
	sc := scope(ctx)
	var out types.Listener
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findListener(tx, sc, in.ListenerArn)
		if err != nil {
			return err
		}
		b, err := findBalancer(tx, sc, aws.String(o.Val.BalancerARN()))
		if err != nil {
			return err
		}
		if in.Port != nil && int(*in.Port) != o.Val.Port {
			have, err := collect(state.Listeners.List(tx, b.Key+"/"))
			if err != nil {
				return err
			}
			if portIndex(have, int(*in.Port)) >= 0 {
				return duplicateListener(b.Val)
			}
			o.Val.Port = int(*in.Port)
		}
		if in.Protocol != "" {
			o.Val.Protocol = string(in.Protocol)
		}
		if err := setTLS(tx, &o.Val, in.Certificates, in.SslPolicy); err != nil {
			return err
		}
		if actions != nil {
			o.Val.Default = actions
		}
		if err := checkActions(tx, b.Val, o.Val.Protocol, o.Val.Default); err != nil {
			return err
		}
		out = listenerView(o.Val)
		return state.Listeners.Put(tx, &o)
	})
	return &elb.ModifyListenerOutput{Listeners: []types.Listener{out}}, err
}

// DeleteListener closes a port. Its rules go with it.
func (s *Service) DeleteListener(ctx context.Context, in *elb.DeleteListenerInput) (*elb.DeleteListenerOutput, error) {
	return &elb.DeleteListenerOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findListener(tx, scope(ctx), in.ListenerArn)
		if err != nil {
			return err
		}
		return deleteListener(tx, o)
	})
}

// Private

func findListener(tx store.Reader, sc arn.Scope, given *string) (store.Object[state.Listener], error) {
	key, err := keyOf(sc, "listener", aws.ToString(given))
	if err != nil {
		return store.Object[state.Listener]{}, err
	}
	o, err := state.Listeners.Get(tx, key)
	return o, orNotFound(err, errListenerNotFound)
}

func deleteListener(tx *store.WriteTx, o store.Object[state.Listener]) error {
	for r, err := range state.Rules.List(tx, o.Key+"/") {
		if err == nil {
			err = state.Rules.Delete(tx, r.Key, r.Rev)
		}
		if err != nil {
			return err
		}
	}
	err := state.Listeners.Delete(tx, o.Key, 0)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

func checkProtocol(p types.ProtocolEnum) error {
	switch p {
	case "", types.ProtocolEnumHttp, types.ProtocolEnumHttps:
		return nil
	}
	return invalid("Listener protocol '%s' must be one of 'HTTPS, HTTP'", p)
}

func checkPort(p int32) error {
	if p < 1 || p > 65535 {
		return invalid("1 validation error detected: Value '%d' at 'port' failed to satisfy constraint: Member must have value between 1 and 65535", p)
	}
	return nil
}

func portIndex(have []store.Object[state.Listener], port int) int {
	return slices.IndexFunc(have, func(o store.Object[state.Listener]) bool { return o.Val.Port == port })
}

func duplicateListener(b state.LoadBalancer) error {
	return awsError("DuplicateListener", "A listener already exists on this port for this load balancer '%s'", b.ARN())
}

// checkActions: what the actions name is there, and they go with the listener's protocol.
func checkActions(tx store.Reader, b state.LoadBalancer, protocol string, actions []state.Action) error {
	for _, a := range actions {
		r := a.Redirect
		// Source: ALB user guide, redirect actions: HTTPS to HTTP is the one way that there isn't.
		if a.Type == "redirect" && protocol == "HTTPS" && r.Protocol == "HTTP" {
			return awsError("InvalidLoadBalancerAction", "You cannot redirect requests from HTTPS to HTTP")
		}
		if a.Type == "redirect" && protocol == "HTTPS" && r.Host == "#{host}" && r.Port == "#{port}" && r.Path == "/#{path}" {
			return errLoop
		}
	}
	return checkForwards(tx, b, protocol, actions)
}

// checkForwards: the target groups are there, in the balancer's VPC, and no other balancer's.
func checkForwards(tx store.Reader, b state.LoadBalancer, protocol string, actions []state.Action) error {
	var foreign []string
	for _, a := range actions {
		for _, w := range a.Groups {
			g, err := findGroup(tx, b.Scope, &w.ARN)
			if err != nil {
				return err
			}
			if g.Val.VPC != b.VPC {
				return unfit("Target group '%s' is in a different VPC than load balancer '%s'", w.ARN, b.ARN())
			}
			// Source: ALB user guide, target groups, protocol version: HTTPS listeners only. Text: as users have published it.
			if v := g.Val.ProtocolVersion; v != "HTTP1" && protocol != "HTTPS" {
				return unfit("Listener protocol '%s' is not supported with a target group with the protocol-version '%s'", protocol, v)
			}
			users, err := state.TargetGroupBalancers(tx, b.Scope, w.ARN)
			if err != nil {
				return err
			}
			if len(users) > 0 && !slices.Contains(users, b.ARN()) {
				foreign = append(foreign, w.ARN)
			}
		}
	}
	if len(foreign) > 0 {
		return awsError("TargetGroupAssociationLimit", "The following target groups cannot be associated with more than one load balancer: %s", strings.Join(foreign, ", "))
	}
	return nil
}

func listenerView(l state.Listener) types.Listener {
	v := types.Listener{
		ListenerArn: aws.String(l.ARN()), LoadBalancerArn: aws.String(l.BalancerARN()), Port: aws.Int32(int32(l.Port)),
		Protocol: types.ProtocolEnum(l.Protocol), DefaultActions: actionViews(l.Default),
	}
	if l.Protocol == "HTTPS" {
		v.SslPolicy = aws.String(l.Policy)
		v.Certificates = []types.Certificate{{CertificateArn: aws.String(l.Certificates[0])}} // the default alone
		v.MutualAuthentication = &types.MutualAuthenticationAttributes{Mode: aws.String("off")}
	}
	return v
}
