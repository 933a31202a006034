package logpattern

import (
	"bytes"
	"strings"
)

// terms are
//
//	a b    both, anywhere, in this case     "a b"   the phrase     %a.b%   a regular expression
//	-a     not                              ?a ?b   any of them, ignored beside other terms
type terms struct{ all, none, any []func([]byte) bool }

func (p *parser) terms() func([]byte) bool {
	var t terms
	for p.space(); p.rest != ""; p.space() {
		kind := p.peek()
		if kind == '-' || kind == '?' {
			p.rest = p.rest[1:]
		}
		term := p.term()
		switch kind {
		case '-':
			t.none = append(t.none, term)
		case '?':
			t.any = append(t.any, term)
		default:
			t.all = append(t.all, term)
		}
	}
	if len(t.all)+len(t.none) > 0 {
		t.any = nil
	}
	return t.match
}

func (t terms) match(message []byte) bool {
	for _, has := range t.all {
		if !has(message) {
			return false
		}
	}
	for _, has := range t.none {
		if has(message) {
			return false
		}
	}
	for _, has := range t.any {
		if has(message) {
			return true
		}
	}
	return len(t.any) == 0
}

func (p *parser) term() func([]byte) bool {
	switch p.peek() {
	case '%':
		re := p.expression()
		return func(m []byte) bool { return re(string(m)) }
	case '"':
		phrase, _ := p.quoted()
		if phrase == "" {
			p.fail("an empty phrase")
		}
		return contains(phrase)
	}
	word, _, _ := strings.Cut(p.rest, " ")
	for _, c := range word {
		if c < 0x80 && !isWord(c) {
			p.fail("invalid character(s) in term '%s': put it in double quotation marks", word)
			return nil
		}
	}
	if word == "" {
		p.fail("a term is missing")
		return nil
	}
	p.rest = p.rest[len(word):]
	return contains(word)
}

func contains(s string) func([]byte) bool {
	term := []byte(s)
	return func(m []byte) bool { return bytes.Contains(m, term) }
}
