package lazyregexp

import (
	"slices"
	"testing"
)

func TestRegexp(t *testing.T) {
	r := New(`^([a-z]+)-([0-9]+)$`)
	if got := r.String(); got != `^([a-z]+)-([0-9]+)$` {
		t.Errorf("String() = %q", got)
	}
	if !r.MatchString("a-1") || r.MatchString("a-") {
		t.Error("MatchString() matches what it shouldn't, or not what it should")
	}
	if got, want := r.FindStringSubmatch("ab-12"), []string{"ab-12", "ab", "12"}; !slices.Equal(got, want) {
		t.Errorf("FindStringSubmatch() = %q, want %q", got, want)
	}
	part := New(`[0-9]`)
	if got := part.FindAllStringSubmatchIndex("a1b2", -1); len(got) != 2 || !slices.Equal(got[1], []int{3, 4}) {
		t.Errorf("FindAllStringSubmatchIndex() = %v", got)
	}
	if got := part.ReplaceAllStringFunc("a1b2", func(s string) string { return "<" + s + ">" }); got != "a<1>b<2>" {
		t.Errorf("ReplaceAllStringFunc() = %q", got)
	}
}

// An expression that is wrong hurts only those who use it.
func TestNew_CompilesNothing(t *testing.T) {
	r := New(`(`)
	defer func() {
		if recover() == nil {
			t.Error("MatchString() of a wrong expression didn't panic")
		}
	}()
	r.MatchString("")
}
