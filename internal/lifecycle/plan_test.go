package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// images are named A, B, …, each with its tags and the days since its push: "prod-1 beta-1 10".
func images(specs ...string) (out []Image) {
	for n, s := range specs {
		f := strings.Fields(s)
		i := Image{Digest: string(rune('A' + n)), Tags: f[:len(f)-1]}
		var days int
		if _, err := fmt.Sscan(f[len(f)-1], &days); err != nil {
			panic(err)
		}
		if i.PushedAt = now.AddDate(0, 0, -days); len(i.Tags) > 0 && i.Tags[0] == "held" {
			i.Held, i.Tags = true, i.Tags[1:]
		}
		out = append(out, i)
	}
	return out
}

func prefix(priority, n int, p ...string) Rule {
	return Rule{Priority: priority, TagStatus: Tagged, Prefixes: p, CountType: CountMoreThan, CountNumber: n}
}

// Most cases are the examples of the ECR user guide, "Examples of lifecycle policies".
func TestPlan(t *testing.T) {
	anyDays := func(priority, n int) Rule {
		return Rule{Priority: priority, TagStatus: Any, CountType: SincePushed, CountNumber: n}
	}
	for _, test := range []struct {
		name   string
		rules  []Rule
		images []Image
		want   string // digest:priority …
	}{
		{"ByAge", []Rule{{Priority: 1, TagStatus: Untagged, CountType: SincePushed, CountNumber: 14}},
			images("15", "14", "13", "v1 20"), "A:1"},
		{"ByCount", []Rule{{Priority: 1, TagStatus: Untagged, CountType: CountMoreThan, CountNumber: 1}},
			images("3", "2", "1", "v1 9"), "A:1 B:1"},
		{"FewerThanTheCount", []Rule{{Priority: 1, TagStatus: Any, CountType: CountMoreThan, CountNumber: 5}}, images("3", "2"), ""},
		{"MultipleRulesA", []Rule{prefix(1, 1, "prod"), prefix(2, 1, "beta")},
			images("beta-1 prod-1 10", "beta-2 prod-2 9", "beta-3 8"), "A:1"},
		{"MultipleRulesB", []Rule{prefix(1, 1, "beta"), prefix(2, 1, "prod")},
			images("alpha-1 beta-1 prod-1 10", "alpha-2 beta-2 prod-2 9", "alpha-3 beta-3 8"), "A:1 B:1"},
		{"SeveralTagsInOneRule", []Rule{prefix(1, 1, "alpha", "beta")},
			images("alpha-1 12", "beta-1 11", "alpha-2 beta-2 10", "alpha-3 4", "alpha-4 beta-4 3"), "C:1"},
		{"AllImages", []Rule{{Priority: 1, TagStatus: Any, CountType: CountMoreThan, CountNumber: 2}},
			images("alpha-1 4", "3", "beta 2", "1"), "A:1 B:1"},
		{"AnyAfterOthers", []Rule{prefix(1, 9999, "prod"), anyDays(2, 5)},
			images("prod 30", "beta 31", "30", "beta 3"), "B:2 C:2"},
		{"Patterns", []Rule{{Priority: 1, TagStatus: Tagged, Patterns: []string{"*-rc*", "v*"}, CountType: SincePushed, CountNumber: 1}},
			images("v1-rc1 9", "v1 9", "v1 x-rc 8", "1-rc 9", "v1-rc1 0"), "A:1 C:1"},
		{"HeldByAList", []Rule{{Priority: 1, TagStatus: Untagged, CountType: CountMoreThan, CountNumber: 1}},
			images("held 9", "8", "held 7", "6"), "B:1"},
		{"SameTime", []Rule{{Priority: 1, TagStatus: Any, CountType: CountMoreThan, CountNumber: 1}}, images("1", "1", "1"), "C:1 B:1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, a := range (Policy{test.rules}).Plan(test.images, now) {
				got = append(got, fmt.Sprintf("%s:%d", a.Digest, a.Priority))
			}
			if s := strings.Join(got, " "); s != test.want {
				t.Errorf("Plan() = %q, want %q", s, test.want)
			}
		})
	}
}

func drawPolicy(t *rapid.T) Policy {
	var p Policy
	tagPart := rapid.SampledFrom([]string{"a", "b", "ab", "c"})
	for n := range rapid.IntRange(1, 5).Draw(t, "rules") {
		r := Rule{Priority: n + 1, CountNumber: rapid.IntRange(1, 5).Draw(t, "number"),
			CountType: rapid.SampledFrom([]string{CountMoreThan, SincePushed}).Draw(t, "type"),
			TagStatus: rapid.SampledFrom([]string{Tagged, Untagged, Any}).Draw(t, "status")}
		if r.TagStatus == Tagged {
			if rapid.Bool().Draw(t, "prefixes") {
				r.Prefixes = rapid.SliceOfN(tagPart, 1, 2).Draw(t, "prefix")
			} else {
				r.Patterns = []string{"*" + tagPart.Draw(t, "pattern") + "*"}
			}
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}

func drawImages(t *rapid.T) (out []Image) {
	for n := range rapid.IntRange(0, 12).Draw(t, "images") {
		out = append(out, Image{Digest: string(rune('A' + n)), Held: rapid.IntRange(0, 5).Draw(t, "held") == 0,
			Tags:     rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab", "abc", "d"}), 0, 3).Draw(t, "tags"),
			PushedAt: now.AddDate(0, 0, -rapid.IntRange(0, 8).Draw(t, "days"))})
	}
	return out
}

// Whatever the policy and the images: an image goes at most once, for the first rule that looks at it, never when a
// list holds it, never when the rule's count still covers it; and nothing that should go stays.
func TestPlan_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, all := drawPolicy(t), drawImages(t)
		actions := p.Plan(all, now)
		gone := map[string]int{}
		for _, a := range actions {
			if _, twice := gone[a.Digest]; twice {
				t.Fatalf("%s goes twice", a.Digest)
			}
			gone[a.Digest] = a.Priority
		}
		for _, i := range all {
			var first *Rule
			for n := range p.Rules {
				if p.Rules[n].selects(i) {
					first = &p.Rules[n]
					break
				}
			}
			priority, goes := gone[i.Digest]
			want := false
			if first != nil && !i.Held {
				younger := 0
				for _, o := range all {
					if first.selects(o) && newer(o, i) < 0 && o.Digest != i.Digest {
						younger++
					}
				}
				want = first.CountType == CountMoreThan && younger >= first.CountNumber ||
					first.CountType == SincePushed && now.Sub(i.PushedAt) > time.Duration(first.CountNumber)*24*time.Hour
			}
			if goes != want || goes && priority != first.Priority {
				t.Fatalf("%+v: goes %v for rule %d, want %v", i, goes, priority, want)
			}
		}
		shuffled := rapid.Permutation(all).Draw(t, "order")
		if again := p.Plan(shuffled, now); !slices.Equal(again, actions) {
			t.Fatalf("the order of images matters: %v, then %v", actions, again)
		}
	})
}
