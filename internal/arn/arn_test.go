package arn

import "testing"

func TestParse_RoundTrip(t *testing.T) {
	for _, s := range []string{
		"arn:aws:ecs:us-east-1:000000000000:service/c/s",
		"arn:aws:iam::000000000000:role/path/r",
		"arn:aws:logs:eu-west-1:1:log-group:/ecs/x:*",
	} {
		a, err := Parse(s)
		if err != nil || a.String() != s {
			t.Errorf("Parse(%q) = %v, %v; want it back", s, a, err)
		}
	}
}

func TestParse_Refuses(t *testing.T) {
	for _, s := range []string{"", "arn", "arn:aws:ecs:r:a", "arn:aws:ecs:r:a:", "x:aws:ecs:r:a:b", "arn::ecs:r:a:b"} {
		if a, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", s, a)
		}
	}
}

func TestScopeOf_InvertsKey(t *testing.T) {
	s := Scope{"000000000000", "us-east-1"}
	got, rest := ScopeOf(s.Key("cluster", "a"))
	if got != s || rest != "cluster/a" {
		t.Errorf("ScopeOf = %v, %q; want %v, %q", got, rest, s, "cluster/a")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("arn:aws:ecs:us-east-1:000000000000:service/c/s")
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := Parse(s); err == nil && a.String() != s {
			t.Errorf("Parse(%q).String() = %q", s, a.String())
		}
	})
}
