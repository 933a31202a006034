package lb

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// Requests of the kinds that CloudWatch counts. Source: ALB user guide, CloudWatch metrics.
func TestMeters_Kinds(t *testing.T) {
	r, port, dropping := newRig(t), freePort(t), freePort(t)
	target := backend(t, named("one"))
	sick := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/health" {
			w.WriteHeader(500)
		}
	}))
	s := site(port, target)
	b := &s.Balancers[0]
	b.ARN = logARN
	b.Listeners[0].Rules = append([]lbconfig.Rule{
		{ARN: "r1", Priority: 1, Conditions: paths("/long*"), Action: lbconfig.Action{Type: lbconfig.RedirectTo, Redirect: lbconfig.Redirect{Path: "/#{path}#{path}", Status: 302}}},
		{ARN: "r2", Priority: 2, Conditions: paths("/sick"), Action: forwardTo("sick")},
		{ARN: "r3", Priority: 3, Conditions: paths("/sticky"), Action: forwardTo("sticky")},
	}, b.Listeners[0].Rules...)
	other := site(dropping, target).Balancers[0]
	other.ARN, other.Name, other.Routing.DropInvalidHeaders = "dropping", "dropping", true
	other.Listeners[0].ARN, other.Listeners[0].Rules[0].ARN = "dropping listener", "dropping default"
	s.Balancers = append(s.Balancers, other)
	sticky := groupOf("sticky", target)
	sticky.Stickiness = lbconfig.Stickiness{Type: lbconfig.BalancerCookie, Duration: time.Minute}
	ill := groupOf("sick", sick)
	ill.Health.Interval = 20 * time.Millisecond
	s.Groups = append(s.Groups, ill, sticky)
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	r.wait("sticky", target, lbconfig.Healthy)
	r.wait("sick", sick, lbconfig.Unhealthy)

	raw(t, local(port), get1("/long"+strings.Repeat("a", 6<<10)))
	raw(t, local(port), get1("/long"))
	raw(t, local(port), get1("/sick"))
	resp, _ := raw(t, local(port), get1("/sticky"))
	cookies, _ := setCookies(resp)
	raw(t, local(port), get1("/sticky", "Cookie: AWSALB="+cookies["AWSALB"]))
	raw(t, local(port), get1("/sticky", "Cookie: AWSALB=nonsense"))
	for _, p := range []uint16{port, dropping} {
		raw(t, local(p), get1("/", "X_Y: 1"))
		raw(t, local(p), get1("/", "X Y: 1")) // reaches no target
		raw(t, local(p), get1("/", "X-Y: 1"))
	}
	for _, c := range []struct {
		balancer, group string
		want            map[string]int
	}{
		{logARN, "", map[string]int{"HTTP_Redirect_Url_Limit_Exceeded_Count": 1, "HTTP_Redirect_Count": 1, "NonStickyRequestCount": 2, "ForwardedInvalidHeaderRequestCount": 2}},
		{logARN, "sick", map[string]int{"UnhealthyRoutingRequestCount": 1}},
		{logARN, "sticky", map[string]int{}},
		{"dropping", "", map[string]int{"DroppedInvalidHeaderRequestCount": 2}},
	} {
		var d string
		eventually(t, "all are counted", func() bool {
			got := metered(t, r.client, c.balancer, c.group)
			for name := range got {
				if !strings.HasPrefix(name, "HTTP_") && !strings.Contains(name, "Invalid") && !strings.Contains(name, "NonSticky") && !strings.Contains(name, "Unhealthy") {
					delete(got, name)
				}
			}
			d = cmp.Diff(c.want, got)
			return d == ""
		})
	}
}
