package lbconfig

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Percentiles are those of all the times, within a bucket's width, also when samples were put together.
func TestSample_Percentile(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var all []float64
	var s Sample
	for range 10 {
		part := Sample{Buckets: map[int]int64{}}
		for range 1000 {
			v := 0.001 * math.Exp(2*rnd.NormFloat64())
			all = append(all, v)
			part.Buckets[BucketOf(v)]++
			part.Sum, part.Count = part.Sum+v, part.Count+1
		}
		s.Add(part)
	}
	slices.Sort(all)
	for _, p := range []float64{1, 50, 90, 99, 99.9, 100} {
		want := all[max(0, int(math.Ceil(p/100*float64(len(all))))-1)]
		if got := s.Percentile(p); math.Abs(got-want) > 0.05*want+firstBucket {
			t.Errorf("p%g = %g, want %g", p, got, want)
		}
	}
	if !math.IsNaN((Sample{}).Percentile(50)) {
		t.Error("nothing has a percentile")
	}
}

func TestBuckets(t *testing.T) {
	for _, v := range []float64{0, 1e-6, 100e-6, 101e-6, .5, 1, 1000, 1e9} {
		i := BucketOf(v)
		if i < 0 || i >= Buckets || v > BucketEnd(i)*1.000001 && i < Buckets-1 || i > 0 && v < BucketEnd(i-1) {
			t.Errorf("%g is in bucket %d, which is from %g to %g", v, i, BucketEnd(i-1), BucketEnd(i))
		}
	}
}
