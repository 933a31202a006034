package lb

import (
	"strings"
	"testing"
	"time"
)

func TestComparison(t *testing.T) {
	var a measured
	var times []float64
	for i := 1000; i > 0; i-- {
		times = append(times, float64(i))
	}
	a.count(times, 2*time.Second)
	if a.requests != 1000 || a.perSecond != 500 || a.p50 != 501 || a.p99 != 991 || a.p999 != 1000 {
		t.Errorf("count: %+v", a)
	}
	a.cpu = 18
	b, c := a, a
	a.cpu, b.cpu, c.cpu = 18, 27, 9
	rows := []row{
		{"small", map[string][]measured{"lotse-fast": {a, b, c}, "nginx": {{cpu: 20, perSecond: 1, wrong: 3}, {cpu: 20}, {cpu: 10}}, "haproxy": {{cpu: 24}, {cpu: 24}, {cpu: 24}}}},
		{"idle", map[string][]measured{"lotse-fast": {{memory: 8000}}, "haproxy": {{memory: 1000}}}},
	}
	got := comparison(rows)
	for _, want := range []string{"| small |  | 18.0 | 20.0 | 24.0 |  |  | 0.90 |", "| idle |  | 8000 |  | 1000 |  |  | 8.00 |", "500; 0.5, 1.0, 1.0 |"} {
		if !strings.Contains(got, want) {
			t.Errorf("the table lacks %q:\n%s", want, got)
		}
	}
}
