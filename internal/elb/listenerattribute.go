package elb

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// listenerAttributes are those of HTTP listeners of application load balancers, with AWS's defaults.
// Source: ELBv2 API, ListenerAttribute.
var listenerAttributes = []attribute[state.Listener]{
	{key: "routing.http.response.access_control_allow_credentials.header_value"},
	{key: "routing.http.response.access_control_allow_headers.header_value"},
	{key: "routing.http.response.access_control_allow_methods.header_value"},
	{key: "routing.http.response.access_control_allow_origin.header_value"},
	{key: "routing.http.response.access_control_expose_headers.header_value"},
	{key: "routing.http.response.access_control_max_age.header_value"},
	{key: "routing.http.response.content_security_policy.header_value"},
	{key: "routing.http.response.server.enabled", value: "true"},
	{key: "routing.http.response.strict_transport_security.header_value"},
	{key: "routing.http.response.x_content_type_options.header_value"},
	{key: "routing.http.response.x_frame_options.header_value"},
}

// DescribeListenerAttributes shows all attributes.
func (s *Service) DescribeListenerAttributes(ctx context.Context, in *elb.DescribeListenerAttributesInput) (*elb.DescribeListenerAttributesOutput, error) {
	out := &elb.DescribeListenerAttributesOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := findListener(tx, scope(ctx), in.ListenerArn)
		out.Attributes = listenerAttributeViews(o.Val)
		return err
	})
	return out, err
}

// ModifyListenerAttributes accepts the attributes' defaults.
func (s *Service) ModifyListenerAttributes(ctx context.Context, in *elb.ModifyListenerAttributesInput) (*elb.ModifyListenerAttributesOutput, error) {
	var given [][2]string
	for _, a := range in.Attributes {
		given = append(given, [2]string{aws.ToString(a.Key), aws.ToString(a.Value)})
	}
	out := &elb.ModifyListenerAttributesOutput{}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findListener(tx, scope(ctx), in.ListenerArn)
		if err != nil {
			return err
		}
		if err := setAttributes(listenerAttributes, &o.Val, given, nil); err != nil {
			return err
		}
		out.Attributes = listenerAttributeViews(o.Val)
		return state.Listeners.Put(tx, &o)
	})
	return out, err
}

// Private

func listenerAttributeViews(l state.Listener) (out []types.ListenerAttribute) {
	for _, a := range listenerAttributes {
		out = append(out, types.ListenerAttribute{Key: aws.String(a.key), Value: aws.String(a.of(l))})
	}
	return out
}
