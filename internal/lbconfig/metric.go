package lbconfig

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"
)

// Buckets is how many buckets of durations there are: 16 for each doubling, from 100 µs to half an hour, so that a
// percentile is right within 5 %.
const Buckets = 16*24 + 1

const firstBucket = 100e-6 // seconds

// BucketOf is the bucket of a duration in seconds.
func BucketOf(seconds float64) int {
	if seconds <= firstBucket {
		return 0
	}
	return min(int(math.Ceil(16*math.Log2(seconds/firstBucket))), Buckets-1)
}

// BucketEnd is the longest duration of a bucket, in seconds; 0 for -1.
func BucketEnd(i int) float64 {
	if i < 0 {
		return 0
	}
	return firstBucket * math.Exp2(float64(i)/16)
}

// Sample is what is known of a metric in a minute, as in CloudWatch's statistic sets. Counts are in ones, times in
// seconds, sizes in bytes.
type Sample struct {
	Sum, Min, Max float64
	Count         int64
	Buckets       map[int]int64 `json:",omitempty"` // of times: how many in each bucket
}

// Add puts another sample into this one.
func (s *Sample) Add(o Sample) {
	if o.Count == 0 {
		return
	}
	if s.Count == 0 {
		s.Min, s.Max = o.Min, o.Max
	}
	s.Sum, s.Count = s.Sum+o.Sum, s.Count+o.Count
	s.Min, s.Max = min(s.Min, o.Min), max(s.Max, o.Max)
	for i, n := range o.Buckets {
		if s.Buckets == nil {
			s.Buckets = map[int]int64{}
		}
		s.Buckets[i] += n
	}
}

// Percentile is the time below which p percent (0 to 100) of the sample are; NaN without buckets.
func (s Sample) Percentile(p float64) float64 {
	rank, seen := p/100*float64(s.Count), 0.0
	for i := range Buckets {
		n := float64(s.Buckets[i])
		if n > 0 && seen+n >= rank {
			return BucketEnd(i-1) + (BucketEnd(i)-BucketEnd(i-1))*max(rank-seen, 0)/n
		}
		seen += n
	}
	return math.NaN()
}

// Series is one balancer's minute, or one group's at a balancer, by CloudWatch's names: in a zone, or of all together.
type Series struct {
	Balancer string // ARN
	Group    string `json:",omitempty"` // ARN
	Zone     string `json:",omitempty"` // "": all together
	Metrics  map[string]Sample
}

// Minute is what was measured in a minute.
type Minute struct {
	Time   time.Time // its begin
	Series []Series
}

// Metrics is what is counted now, in Prometheus' text form.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	return c.get(ctx, "/metrics")
}

// Minutes waits until there are minutes that begin at from or later and are over, at most half a minute. The last hour
// is kept.
func (c *Client) Minutes(ctx context.Context, from time.Time) ([]Minute, error) {
	var out []Minute
	err := c.do(ctx, http.MethodGet, fmt.Sprintf("/minutes?from=%d", from.Unix()), nil, &out)
	return out, err
}
