package elb

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// listenerAttributes are those of listeners of application load balancers, with AWS's defaults.
// Source: ELBv2 API, ListenerAttribute; ALB user guide, HTTP header modification.
var listenerAttributes = []attribute[state.Listener]{
	response("Access-Control-Allow-Credentials", func(v string) bool { return v == "true" }),
	response("Access-Control-Allow-Headers", headerValue),
	response("Access-Control-Allow-Methods", headerValue),
	response("Access-Control-Allow-Origin", headerValue),
	response("Access-Control-Expose-Headers", headerValue),
	response("Access-Control-Max-Age", func(v string) bool {
		n, err := strconv.Atoi(v)
		return err == nil && 0 <= n && n <= 86400
	}),
	response("Content-Security-Policy", headerValue),
	{key: serverKey, get: func(l state.Listener) string { return strconv.FormatBool(!l.NoServer) },
		set: func(l *state.Listener, v string) *awswire.Error {
			on, err := boolean(serverKey, v)
			l.NoServer = !on
			return err
		}},
	response("Strict-Transport-Security", headerValue),
	response("X-Content-Type-Options", func(v string) bool { return v == "nosniff" }),
	response("X-Frame-Options", func(v string) bool {
		return v == "DENY" || v == "SAMEORIGIN" || strings.HasPrefix(v, "ALLOW-FROM ") && headerValue(v)
	}),
}

// secureAttributes are those of HTTPS listeners alone: names of headers. Nobody is asked for a client certificate, so
// that the names of their headers can't be changed.
var secureAttributes = append(slices.Clone(listenerAttributes),
	attribute[state.Listener]{key: "routing.http.request.x_amzn_mtls_clientcert.header_name", value: "X-Amzn-Mtls-Clientcert"},
	attribute[state.Listener]{key: "routing.http.request.x_amzn_mtls_clientcert_issuer.header_name", value: "X-Amzn-Mtls-Clientcert-Issuer"},
	attribute[state.Listener]{key: "routing.http.request.x_amzn_mtls_clientcert_leaf.header_name", value: "X-Amzn-Mtls-Clientcert-Leaf"},
	attribute[state.Listener]{key: "routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name", value: "X-Amzn-Mtls-Clientcert-Serial-Number"},
	attribute[state.Listener]{key: "routing.http.request.x_amzn_mtls_clientcert_subject.header_name", value: "X-Amzn-Mtls-Clientcert-Subject"},
	attribute[state.Listener]{key: "routing.http.request.x_amzn_mtls_clientcert_validity.header_name", value: "X-Amzn-Mtls-Clientcert-Validity"},
	renamed("routing.http.request.x_amzn_tls_cipher_suite.header_name", "X-Amzn-Tls-Cipher-Suite", func(l *state.Listener) *string { return &l.TLSCipher }),
	renamed("routing.http.request.x_amzn_tls_version.header_name", "X-Amzn-Tls-Version", func(l *state.Listener) *string { return &l.TLSVersion }),
)

const serverKey = "routing.http.response.server.enabled"

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

// ModifyListenerAttributes changes which headers answers have, and the names of some that targets get.
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
		if err := setAttributes("Listener", attributesOf(o.Val), &o.Val, given, nil); err != nil {
			return err
		}
		out.Attributes = listenerAttributeViews(o.Val)
		return state.Listeners.Put(tx, &o)
	})
	return out, err
}

// Private

func listenerAttributeViews(l state.Listener) (out []types.ListenerAttribute) {
	for _, a := range attributesOf(l) {
		out = append(out, types.ListenerAttribute{Key: aws.String(a.key), Value: aws.String(a.of(l))})
	}
	return out
}

func attributesOf(l state.Listener) []attribute[state.Listener] {
	if l.Protocol == "HTTPS" {
		return secureAttributes
	}
	return listenerAttributes
}

// response is the attribute for a header of answers; "" takes it back.
func response(name string, valid func(string) bool) attribute[state.Listener] {
	key := "routing.http.response." + strings.ToLower(strings.ReplaceAll(name, "-", "_")) + ".header_value"
	return attribute[state.Listener]{key: key,
		get: func(l state.Listener) string { return l.Response[name] },
		set: func(l *state.Listener, v string) *awswire.Error {
			if v != "" && !valid(v) {
				return invalid("'%s' value '%s' is not valid", key, v)
			}
			all := maps.Clone(l.Response)
			if all == nil {
				all = map[string]string{}
			}
			if all[name] = v; v == "" {
				delete(all, name)
			}
			l.Response = all
			return nil
		}}
}

// renamed is the attribute for the name of a header.
func renamed(key, usual string, of func(*state.Listener) *string) attribute[state.Listener] {
	return attribute[state.Listener]{key: key,
		get: func(l state.Listener) string { return cmp.Or(*of(&l), usual) },
		set: func(l *state.Listener, v string) *awswire.Error {
			if !headerRE.MatchString(v) || len(v) > 40 {
				return invalid("'%s' value '%s' is not a valid header name", key, v)
			}
			*of(l) = v
			return nil
		}}
}

// headerValue: printable ASCII, at most 1 KB. Source: ALB user guide, HTTP header modification, limits.
func headerValue(v string) bool {
	return len(v) <= 1024 && !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' })
}
