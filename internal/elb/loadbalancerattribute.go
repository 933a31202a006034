package elb

import (
	"cmp"
	"context"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	accessLogsKey       = "access_logs.s3.enabled"
	accessBucketKey     = "access_logs.s3.bucket"
	connectionLogsKey   = "connection_logs.s3.enabled"
	connectionBucketKey = "connection_logs.s3.bucket"
	keepAliveKey        = "client_keep_alive.seconds"
	idleTimeoutKey      = "idle_timeout.timeout_seconds"
	protectionKey       = "deletion_protection.enabled"
	denyIGWKey          = "ipv6.deny_all_igw_traffic"
	http2Key            = "routing.http2.enabled"
)

// bucketName is what S3 accepts. Source: Amazon S3 user guide, bucket naming rules.
var bucketName = lazyregexp.New(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// logsFit: a log needs a bucket. Source: ELBv2 API, LoadBalancerAttribute.
func logsFit(b state.LoadBalancer) *awswire.Error {
	if b.AccessLogs.Enabled && b.AccessLogs.Bucket == "" {
		return unfit("The attribute '%s' needs '%s'", accessLogsKey, accessBucketKey)
	}
	if b.ConnectionLogs.Enabled && b.ConnectionLogs.Bucket == "" {
		return unfit("The attribute '%s' needs '%s'", connectionLogsKey, connectionBucketKey)
	}
	return nil
}

// balancerAttributes are those of application load balancers, with AWS's defaults.
// Source: ALB user guide, load balancer attributes; ELBv2 API, LoadBalancerAttribute.
var balancerAttributes = []attribute[state.LoadBalancer]{
	logsOn(accessLogsKey, accessLogs), logsBucket(accessBucketKey, accessLogs), logsPrefix("access_logs.s3.prefix", accessLogs),
	{key: keepAliveKey, get: func(b state.LoadBalancer) string { return strconv.Itoa(cmp.Or(b.KeepAlive, 3600)) },
		set: func(b *state.LoadBalancer, v string) (err *awswire.Error) {
			b.KeepAlive, err = between(keepAliveKey, v, 60, 604800)
			return err
		}},
	logsOn(connectionLogsKey, connectionLogs), logsBucket(connectionBucketKey, connectionLogs), logsPrefix("connection_logs.s3.prefix", connectionLogs),
	{key: protectionKey, get: func(b state.LoadBalancer) string { return strconv.FormatBool(b.DeletionProtection) },
		set: func(b *state.LoadBalancer, v string) (err *awswire.Error) {
			b.DeletionProtection, err = boolean(protectionKey, v)
			return err
		}},
	{key: "health_check_logs.s3.enabled", value: "false"},
	{key: "health_check_logs.s3.bucket"},
	{key: "health_check_logs.s3.prefix"},
	{key: idleTimeoutKey, get: func(b state.LoadBalancer) string { return strconv.Itoa(b.IdleTimeout) },
		set: func(b *state.LoadBalancer, v string) (err *awswire.Error) {
			b.IdleTimeout, err = between(idleTimeoutKey, v, 1, 4000)
			return err
		}},
	{key: denyIGWKey, get: denyIGW, set: func(b *state.LoadBalancer, v string) *awswire.Error {
		if v != denyIGW(*b) {
			return unfit("Lotse does not act on the attribute '%s' yet: it accepts its default '%s' only, not '%s'.", denyIGWKey, denyIGW(*b), v)
		}
		return nil
	}},
	{key: "load_balancing.cross_zone.enabled", value: "true"},
	word("routing.http.desync_mitigation_mode", func(r *state.Routing) *string { return &r.Desync }, "defensive", "monitor", "strictest"),
	toggle("routing.http.drop_invalid_header_fields.enabled", func(r *state.Routing) *bool { return &r.DropInvalidHeaders }),
	toggle("routing.http.preserve_host_header.enabled", func(r *state.Routing) *bool { return &r.PreserveHost }),
	toggle("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", func(r *state.Routing) *bool { return &r.TLSHeaders }),
	toggle("routing.http.xff_client_port.enabled", func(r *state.Routing) *bool { return &r.ClientPort }),
	word("routing.http.xff_header_processing.mode", func(r *state.Routing) *string { return &r.ForwardedFor }, "append", "preserve", "remove"),
	{key: http2Key, get: func(b state.LoadBalancer) string { return strconv.FormatBool(!b.NoHTTP2) },
		set: func(b *state.LoadBalancer, v string) *awswire.Error {
			on, err := boolean(http2Key, v)
			b.NoHTTP2 = !on
			return err
		}},
	{key: "waf.fail_open.enabled", value: "false"},
	{key: "zonal_shift.config.enabled", value: "false"},
}

// DescribeLoadBalancerAttributes shows all attributes.
func (s *Service) DescribeLoadBalancerAttributes(ctx context.Context, in *elb.DescribeLoadBalancerAttributesInput) (*elb.DescribeLoadBalancerAttributesOutput, error) {
	out := &elb.DescribeLoadBalancerAttributesOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := findBalancer(tx, scope(ctx), in.LoadBalancerArn)
		out.Attributes = balancerAttributeViews(o.Val)
		return err
	})
	return out, err
}

// ModifyLoadBalancerAttributes changes those that the balancer acts on.
func (s *Service) ModifyLoadBalancerAttributes(ctx context.Context, in *elb.ModifyLoadBalancerAttributesInput) (*elb.ModifyLoadBalancerAttributesOutput, error) {
	var given [][2]string
	for _, a := range in.Attributes {
		given = append(given, [2]string{aws.ToString(a.Key), aws.ToString(a.Value)})
	}
	out := &elb.ModifyLoadBalancerAttributesOutput{}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findBalancer(tx, scope(ctx), in.LoadBalancerArn)
		if err != nil {
			return err
		}
		if err := setAttributes("Load balancer", balancerAttributes, &o.Val, given, logsFit); err != nil {
			return err
		}
		out.Attributes = balancerAttributeViews(o.Val)
		return state.LoadBalancers.Put(tx, &o)
	})
	return out, err
}

// Private

// toggle is an attribute of the balancer's routing that is on or off; off by default.
func toggle(key string, at func(*state.Routing) *bool) attribute[state.LoadBalancer] {
	return attribute[state.LoadBalancer]{key: key,
		get: func(b state.LoadBalancer) string { return strconv.FormatBool(*at(&b.Routing)) },
		set: func(b *state.LoadBalancer, v string) (err *awswire.Error) {
			*at(&b.Routing), err = boolean(key, v)
			return err
		}}
}

// word is an attribute of the balancer's routing that is one of some words, the first by default.
func word(key string, at func(*state.Routing) *string, words ...string) attribute[state.LoadBalancer] {
	return attribute[state.LoadBalancer]{key: key,
		get: func(b state.LoadBalancer) string { return cmp.Or(*at(&b.Routing), words[0]) },
		set: func(b *state.LoadBalancer, v string) (err *awswire.Error) {
			*at(&b.Routing), err = oneOf(key, v, words...)
			return err
		}}
}

func denyIGW(b state.LoadBalancer) string { return strconv.FormatBool(b.Scheme == state.Internal) }

func balancerAttributeViews(b state.LoadBalancer) (out []types.LoadBalancerAttribute) {
	for _, a := range balancerAttributes {
		out = append(out, types.LoadBalancerAttribute{Key: aws.String(a.key), Value: aws.String(a.of(b))})
	}
	return out
}

func accessLogs(b *state.LoadBalancer) *state.LogFiles     { return &b.AccessLogs }
func connectionLogs(b *state.LoadBalancer) *state.LogFiles { return &b.ConnectionLogs }

func logsOn(key string, of func(*state.LoadBalancer) *state.LogFiles) attribute[state.LoadBalancer] {
	return attribute[state.LoadBalancer]{key: key, get: func(b state.LoadBalancer) string { return strconv.FormatBool(of(&b).Enabled) },
		set: func(b *state.LoadBalancer, v string) (err *awswire.Error) {
			of(b).Enabled, err = boolean(key, v)
			return err
		}}
}

func logsBucket(key string, of func(*state.LoadBalancer) *state.LogFiles) attribute[state.LoadBalancer] {
	return attribute[state.LoadBalancer]{key: key, get: func(b state.LoadBalancer) string { return of(&b).Bucket },
		set: func(b *state.LoadBalancer, v string) *awswire.Error {
			if v != "" && !bucketName.MatchString(v) {
				return invalid("The value of '%s' must be the name of a bucket, not '%s'", key, v)
			}
			of(b).Bucket = v
			return nil
		}}
}

func logsPrefix(key string, of func(*state.LoadBalancer) *state.LogFiles) attribute[state.LoadBalancer] {
	return attribute[state.LoadBalancer]{key: key, get: func(b state.LoadBalancer) string { return of(&b).Prefix },
		set: func(b *state.LoadBalancer, v string) *awswire.Error {
			if v != "" && !filepath.IsLocal(v) || strings.Contains(v, "AWSLogs") || len(v) > 512 {
				return invalid("The value of '%s' must be a path without AWSLogs, not '%s'", key, v)
			}
			of(b).Prefix = v
			return nil
		}}
}
