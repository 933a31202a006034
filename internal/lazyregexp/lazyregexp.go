// Package lazyregexp compiles regular expressions when they are first asked, so that a program that needs none of
// them starts without the cost.
//
//	var nameRE = lazyregexp.New(`^[a-z]+$`)
//	nameRE.MatchString(s)
//
// An expression that doesn't compile panics at its first use: every one of them needs a test that uses it.
package lazyregexp

import (
	"regexp"
	"sync"
)

// A Regexp is a regular expression that may not have been compiled yet.
type Regexp struct {
	text string
	get  func() *regexp.Regexp
}

// New takes an expression of package regexp.
func New(text string) *Regexp {
	return &Regexp{text, sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })}
}

// String is the expression.
func (r *Regexp) String() string { return r.text }

// MatchString is regexp's.
func (r *Regexp) MatchString(s string) bool { return r.get().MatchString(s) }

// FindStringSubmatch is regexp's.
func (r *Regexp) FindStringSubmatch(s string) []string { return r.get().FindStringSubmatch(s) }

// FindAllStringSubmatchIndex is regexp's.
func (r *Regexp) FindAllStringSubmatchIndex(s string, n int) [][]int {
	return r.get().FindAllStringSubmatchIndex(s, n)
}

// ReplaceAllStringFunc is regexp's.
func (r *Regexp) ReplaceAllStringFunc(s string, repl func(string) string) string {
	return r.get().ReplaceAllStringFunc(s, repl)
}
