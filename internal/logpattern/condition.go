package logpattern

import (
	"regexp"
	"strconv"
	"strings"
)

// A condition is asked of what a selector finds.
type condition func(find func(selector string) found) bool

// found is a value: in a column always text, in JSON what it is there.
type found struct {
	kind kind
	text string // of a string, a number (as it was written) or a column
}

type kind int

const (
	missing kind = iota
	null
	yes
	no
	text
	number // only JSON knows it
	nested // an object or a list
)

// or reads conditions joined by || and &&, of which && binds more tightly. One is what stands between them.
func (p *parser) or(one func() condition) condition {
	left := p.and(one)
	for p.take("||") {
		a, b := left, p.and(one)
		left = func(find func(string) found) bool { return a(find) || b(find) }
	}
	return left
}

func (p *parser) and(one func() condition) condition {
	left := p.parens(one)
	for p.take("&&") {
		a, b := left, p.parens(one)
		left = func(find func(string) found) bool { return a(find) && b(find) }
	}
	return left
}

func (p *parser) parens(one func() condition) condition {
	if !p.take("(") {
		return one()
	}
	c := p.or(one)
	p.need(")")
	return c
}

// operators, longer ones first.
var operators = []string{"!=", ">=", "<=", "=", ">", "<"}

func (p *parser) operator() string {
	for _, op := range operators {
		if p.take(op) {
			return op
		}
	}
	return ""
}

// compare reads what stands behind an operator and returns the comparison. A member that is missing, null, a list or an
// object compares with nothing, also not by !=.
func (p *parser) compare(op string) func(found) bool {
	same, limit := p.operand()
	if p.err != nil {
		return nil
	}
	switch op {
	case "=":
		return func(f found) bool { return f.comparable() && same(f) }
	case "!=":
		return func(f found) bool { return f.comparable() && !same(f) }
	}
	if limit == nil {
		p.fail("%s compares numbers", op)
		return nil
	}
	return func(f found) bool {
		v, err := strconv.ParseFloat(f.text, 64)
		if err != nil {
			return false
		}
		switch op {
		case ">":
			return v > *limit
		case ">=":
			return v >= *limit
		case "<":
			return v < *limit
		}
		return v <= *limit
	}
}

func (f found) comparable() bool { return f.kind == text || f.kind == number }

// operand reads a value; limit is set when it is a number.
func (p *parser) operand() (same func(found) bool, limit *float64) {
	p.space()
	switch p.peek() {
	case '%':
		if p.expressions == maxExpressions {
			p.fail("at most %d regular expressions are possible", maxExpressions)
			return nil, nil
		}
		re := p.expression()
		return func(f found) bool { return re(f.text) }, nil
	case '"':
		phrase, stars := p.quoted()
		match := wildcard(phrase, stars)
		return func(f found) bool { return f.kind == text && match(f.text) }, nil
	}
	word := p.while(func(b byte) bool { return !strings.ContainsRune(" \t\r\n,]})(&|", rune(b)) })
	if word == "" {
		p.fail("a value is missing before %q", p.rest)
		return nil, nil
	}
	if v, err := strconv.ParseFloat(word, 64); err == nil && strings.Trim(word, "+-.eE0123456789") == "" {
		return func(f found) bool {
			x, err := strconv.ParseFloat(f.text, 64)
			return err == nil && x == v
		}, &v
	}
	var stars []int
	for i := range len(word) {
		if word[i] == '*' {
			stars = append(stars, i)
		}
	}
	match := wildcard(word, stars)
	return func(f found) bool { return match(f.text) }, nil
}

// wildcard matches a whole text; at stars, anything may stand.
func wildcard(s string, stars []int) func(string) bool {
	if len(stars) == 0 {
		return func(t string) bool { return t == s }
	}
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	from := 0
	for _, i := range stars {
		b.WriteString(regexp.QuoteMeta(s[from:i]) + ".*")
		from = i + 1
	}
	b.WriteString(regexp.QuoteMeta(s[from:]) + `\z`)
	return regexp.MustCompile(b.String()).MatchString
}
