package target

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/elb"
	"github.com/lotse-project/lotse/internal/lb"
	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// chain is everything between an API call and a request: the service, its records, the snapshot made of them, and a
// balancer that listens at 127.0.0.1 instead of at its interfaces.
type chain struct {
	t        *testing.T
	ctx      context.Context
	db       *store.DB
	api      *elb.Service
	dir      string
	client   *lbconfig.Client
	rev      int64
	balancer string // ARNs
	listener string
	port     int
	vpc      string
}

func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{t: t, dir: t.TempDir(), port: freePort(t), ctx: awsauth.WithCaller(t.Context(), awsauth.Caller{Account: anyScope.Account, Region: anyScope.Region})}
	var err error
	if c.db, err = store.Open(filepath.Join(c.dir, "lotse.db"), store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.db.Close() })
	quiet := slog.New(slog.DiscardHandler)
	c.api = elb.New(elb.Options{DB: c.db, Log: quiet})
	var subnets []string
	c.update(func(tx *store.WriteTx) error {
		if err := state.EnsureDefaultVPC(tx, anyScope, netip.MustParsePrefix("172.31.0.0/16")); err != nil {
			return err
		}
		for s, err := range state.Subnets.List(tx, anyScope.Key()) {
			if err != nil {
				return err
			}
			subnets, c.vpc = append(subnets, s.Val.ID), s.Val.VPC
		}
		return nil
	})
	c.balancer = *okay(c.api.CreateLoadBalancer(c.ctx, &sdk.CreateLoadBalancerInput{Name: aws.String("web"), Subnets: subnets[:2]}))(t).LoadBalancers[0].LoadBalancerArn
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- lb.RunWorker(ctx, lb.WorkerOptions{RunDir: c.dir, SnapshotPath: filepath.Join(c.dir, "snapshot.json"), KeyPath: filepath.Join(c.dir, "balancer-key"),
			StopTimeout: time.Second, Log: quiet})
	}()
	c.client = lbconfig.NewClient(filepath.Join(c.dir, lb.ControlSocket))
	t.Cleanup(func() {
		stop()
		c.client.Close()
		if err := <-done; err != nil {
			t.Errorf("RunWorker: %v", err)
		}
	})
	return c
}

func okay[T any](out T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func (c *chain) update(fn func(*store.WriteTx) error) {
	c.t.Helper()
	if err := c.db.Update(c.ctx, fn); err != nil {
		c.t.Fatal(err)
	}
}

// group makes a target group with targets that answer so.
func (c *chain) group(name string, targets ...http.HandlerFunc) string {
	c.t.Helper()
	arn := *okay(c.api.CreateTargetGroup(c.ctx, &sdk.CreateTargetGroupInput{Name: &name, TargetType: types.TargetTypeEnumIp, Protocol: types.ProtocolEnumHttp,
		Port: aws.Int32(80), VpcId: &c.vpc}))(c.t).TargetGroups[0].TargetGroupArn
	for _, h := range targets {
		s := httptest.NewServer(h)
		c.t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		at := netip.MustParseAddrPort(s.Listener.Addr().String())
		c.update(func(tx *store.WriteTx) error {
			_, err := state.RegisterTarget(tx, arn, at.Addr().String(), int(at.Port()), "")
			return err
		})
	}
	return arn
}

// listen makes the listener with a default action.
func (c *chain) listen(a types.Action) {
	c.t.Helper()
	c.listener = *okay(c.api.CreateListener(c.ctx, &sdk.CreateListenerInput{LoadBalancerArn: &c.balancer, Port: aws.Int32(int32(c.port)), Protocol: types.ProtocolEnumHttp,
		DefaultActions: []types.Action{a}}))(c.t).Listeners[0].ListenerArn
}

func (c *chain) groupAttributes(group string, kv ...string) {
	c.t.Helper()
	in := &sdk.ModifyTargetGroupAttributesInput{TargetGroupArn: &group}
	for i := 0; i < len(kv); i += 2 {
		in.Attributes = append(in.Attributes, types.TargetGroupAttribute{Key: &kv[i], Value: &kv[i+1]})
	}
	okay(c.api.ModifyTargetGroupAttributes(c.ctx, in))(c.t)
}

// apply puts what the records say in force, and waits until all targets are healthy.
func (c *chain) apply() {
	c.t.Helper()
	var s lbconfig.Snapshot
	if err := c.db.View(c.ctx, func(tx *store.ReadTx) error {
		r, err := load(tx)
		s = snapshot(r, settings{netns: func(string) string { return "" }})
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	c.rev++
	s.Rev = c.rev
	targets := 0
	for i := range s.Balancers {
		s.Balancers[i].ENIs, s.Balancers[i].Public = []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	for _, g := range s.Groups {
		targets += len(g.Targets)
	}
	if err := lbconfig.Save(filepath.Join(c.dir, "snapshot.json"), s); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if st, err := c.client.Put(ctx, s); err == nil {
			for healthy(st) < targets && ctx.Err() == nil {
				st, _ = c.client.Status(ctx, st.Seq)
			}
			break
		}
		time.Sleep(2 * time.Millisecond) // it is about to listen
	}
	if err := ctx.Err(); err != nil {
		c.t.Fatal(err)
	}
}

func healthy(st lbconfig.Status) (n int) {
	for _, t := range st.Targets {
		if t.State == lbconfig.Healthy {
			n++
		}
	}
	return n
}

// send sends a request, its lines but the last empty ones, and returns status, body and header.
func (c *chain) send(lines ...string) (string, http.Header) {
	c.t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(c.port))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "%s\r\n\r\n", strings.Join(lines, "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s", resp.StatusCode, body), resp.Header
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func says(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name+" "+r.Host+r.RequestURI) }
}

func TestChain_RulesFromTheAPI(t *testing.T) {
	c := newChain(t)
	web, api := c.group("web", says("web")), c.group("api", says("api"))
	c.listen(types.Action{Type: types.ActionTypeEnumForward, TargetGroupArn: &web})
	rule := func(p int32, action types.Action, tr []types.RuleTransform, conds ...types.RuleCondition) {
		t.Helper()
		okay(c.api.CreateRule(c.ctx, &sdk.CreateRuleInput{ListenerArn: &c.listener, Priority: &p, Conditions: conds, Transforms: tr, Actions: []types.Action{action}}))(t)
	}
	fixed := types.Action{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: aws.String("202"), MessageBody: aws.String("fixed")}}
	forward := types.Action{Type: types.ActionTypeEnumForward, TargetGroupArn: &api}
	rule(1, fixed, nil, types.RuleCondition{Field: aws.String("http-request-method"), HttpRequestMethodConfig: &types.HttpRequestMethodConditionConfig{Values: []string{"PURGE"}}},
		types.RuleCondition{Field: aws.String("source-ip"), SourceIpConfig: &types.SourceIpConditionConfig{Values: []string{"127.0.0.0/8"}}})
	rule(2, fixed, nil, types.RuleCondition{Field: aws.String("http-header"), HttpHeaderConfig: &types.HttpHeaderConditionConfig{HttpHeaderName: aws.String("User-Agent"), Values: []string{"*bot*"}}})
	rule(3, fixed, nil, types.RuleCondition{Field: aws.String("query-string"), QueryStringConfig: &types.QueryStringConditionConfig{Values: []types.QueryStringKeyValuePair{{Key: aws.String("v"), Value: aws.String("1")}}}})
	rule(4, forward, []types.RuleTransform{{Type: types.TransformTypeEnumUrlRewrite, UrlRewriteConfig: &types.UrlRewriteConfig{Rewrites: []types.RewriteConfig{{Regex: aws.String("^/api/"), Replace: aws.String("/")}}}}},
		types.RuleCondition{Field: aws.String("path-pattern"), RegexValues: []string{"^/api/v[0-9]+/"}})
	c.apply()
	host := "Host: x.com:1"
	for _, tc := range []struct{ request, want string }{
		{"PURGE / HTTP/1.1", "202 fixed"},
		{"GET / HTTP/1.1\r\nUser-Agent: a Bot", "202 fixed"},
		{"GET /?v=1 HTTP/1.1", "202 fixed"},
		{"GET /api/v2/x?y HTTP/1.1", "200 api x.com:1/v2/x?y"},
		{"GET /api/vx/x HTTP/1.1", "200 web x.com:1/api/vx/x"},
	} {
		if got, _ := c.send(tc.request, host); got != tc.want {
			t.Errorf("%s = %q, want %q", tc.request, got, tc.want)
		}
	}
}

// cookies are what a browser would send back.
func cookies(h http.Header) string {
	var out []string
	for _, line := range h["Set-Cookie"] {
		kv, _, _ := strings.Cut(line, ";")
		out = append(out, kv)
	}
	return "Cookie: " + strings.Join(out, "; ")
}

func TestChain_StickinessFromTheAPI(t *testing.T) {
	c := newChain(t)
	one := c.group("one", says("a"), says("b"), says("c"))
	two := c.group("two", says("d"), says("e"))
	c.groupAttributes(one, "stickiness.enabled", "true", "stickiness.lb_cookie.duration_seconds", "60")
	c.listen(types.Action{Type: types.ActionTypeEnumForward, ForwardConfig: &types.ForwardActionConfig{
		TargetGroups:                []types.TargetGroupTuple{{TargetGroupArn: &one}, {TargetGroupArn: &two}},
		TargetGroupStickinessConfig: &types.TargetGroupStickinessConfig{Enabled: aws.Bool(true), DurationSeconds: aws.Int32(60)}}})
	c.apply()
	for range 4 {
		first, h := c.send("GET / HTTP/1.1", "Host: x")
		for range 5 {
			got, again := c.send("GET / HTTP/1.1", "Host: x", cookies(h))
			if strings.ContainsAny(first[4:5], "abc") && got != first || strings.ContainsAny(first[4:5], "de") && !strings.ContainsAny(got[4:5], "de") {
				t.Fatalf("came from %q, was at %q", got, first)
			}
			h = again
		}
	}
}

func TestChain_AlgorithmFromTheAPI(t *testing.T) {
	c := newChain(t)
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	one := c.group("one", says("idle"), func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.UserAgent(), "ELB-HealthChecker") {
			return
		}
		select {
		case held <- struct{}{}:
		default:
		}
		<-hold
	})
	c.groupAttributes(one, "load_balancing.algorithm.type", "least_outstanding_requests")
	c.listen(types.Action{Type: types.ActionTypeEnumForward, TargetGroupArn: &one})
	c.apply()
	var asking sync.WaitGroup
	for busy := false; !busy; { // until one request is with the slow target: it may not be healthy at once
		asking.Go(func() {
			if resp, err := http.Get("http://127.0.0.1:" + strconv.Itoa(c.port)); err == nil {
				resp.Body.Close()
			}
		})
		select {
		case <-held:
			busy = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	for range 6 {
		for over := false; !over; { // an answer comes a moment before its request is over
			st, err := c.client.Status(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			over = slices.ContainsFunc(st.Targets, func(ts lbconfig.TargetStatus) bool { return ts.InFlight == 0 })
		}
		if got, _ := c.send("GET / HTTP/1.1", "Host: x"); !strings.HasPrefix(got, "200 idle") {
			t.Errorf("while the other is busy: %q", got)
		}
	}
	close(hold)
	asking.Wait()
}
