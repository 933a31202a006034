package logpattern

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// object reads { … }, conditions on the members of a JSON object.
func (p *parser) object() func([]byte) bool {
	p.need("{")
	selectors := map[string][]step{}
	c := p.or(func() condition { return p.member(selectors) })
	p.need("}")
	if p.space(); p.rest != "" {
		p.fail("something follows: %s", p.rest)
	}
	return func(message []byte) bool {
		message = bytes.TrimSpace(message)
		if len(message) == 0 || message[0] != '{' {
			return false
		}
		d := json.NewDecoder(bytes.NewReader(message))
		d.UseNumber()
		var doc any
		if d.Decode(&doc) != nil || d.More() {
			return false
		}
		return c(func(selector string) found { return foundIn(walk(doc, selectors[selector])) })
	}
}

// member reads one condition: $.a = 1, $.a IS TRUE, $.a NOT EXISTS.
func (p *parser) member(selectors map[string][]step) condition {
	p.space()
	before := p.rest
	steps := p.selector()
	selector := before[:len(before)-len(p.rest)]
	selectors[selector] = steps
	if op := p.operator(); op != "" {
		holds := p.compare(op)
		return func(find func(string) found) bool { return holds(find(selector)) }
	}
	for _, w := range []struct {
		words string
		kind  kind
	}{{"IS TRUE", yes}, {"IS FALSE", no}, {"IS NULL", null}, {"NOT EXISTS", missing}} {
		if p.words(w.words) {
			return func(find func(string) found) bool { return find(selector).kind == w.kind }
		}
	}
	p.fail("an operator is missing before %q: one of =, !=, >, >=, <, <=, IS TRUE, IS FALSE, IS NULL, NOT EXISTS", p.rest)
	return nil
}

// words takes keywords, with any white space between them.
func (p *parser) words(s string) bool {
	before := p.rest
	for _, w := range strings.Fields(s) {
		if !p.take(w) || isWord(rune(p.peek())) {
			p.rest = before
			return false
		}
	}
	return true
}

// A step goes to a member of an object, or to an element of a list.
type step struct {
	name  string
	index int  // when name is empty
	any   bool // a wildcard: the members or elements, one after the other
}

// selector reads $.a.b[0]['c d'].
func (p *parser) selector() (steps []step) {
	p.need("$")
	for p.err == nil {
		dot := strings.HasPrefix(p.rest, ".")
		if dot {
			p.rest = p.rest[1:]
		}
		if strings.HasPrefix(p.rest, "[") {
			steps = append(steps, p.bracket())
			continue
		}
		if !dot {
			break
		}
		if p.peek() == '*' {
			p.rest = p.rest[1:]
			steps = append(steps, step{any: true})
			continue
		}
		name := p.while(func(b byte) bool { return isWord(rune(b)) || b == '-' || b >= 0x80 })
		if name == "" {
			p.fail("a member's name is missing before %q", p.rest)
		}
		steps = append(steps, step{name: name})
	}
	if len(steps) == 0 {
		p.fail("a selector such as $.name is missing before %q", p.rest)
	}
	wild := 0
	for _, s := range steps {
		if s.any {
			wild++
		}
	}
	if wild > 1 {
		p.fail("a selector has at most one wildcard")
	}
	return steps
}

func (p *parser) bracket() step {
	p.need("[")
	var s step
	switch q := p.peek(); {
	case q == '\'' || q == '"':
		name, rest, ok := strings.Cut(p.rest[1:], string(q))
		if !ok || name == "" {
			p.fail("a member's name is missing: [%s", p.rest)
			return s
		}
		s.name, p.rest = name, rest
	case q == '*':
		s.any, p.rest = true, p.rest[1:]
	default:
		n, err := strconv.Atoi(p.while(func(b byte) bool { return '0' <= b && b <= '9' }))
		if err != nil {
			p.fail("an index is missing: [%s", p.rest)
		}
		s.index = n
	}
	p.need("]")
	return s
}

// absent stands for a member that is not there; nil is JSON's null.
type absent struct{}

func walk(v any, steps []step) any {
	if len(steps) == 0 {
		return v
	}
	s := steps[0]
	switch v := v.(type) {
	case map[string]any:
		if s.any {
			for _, x := range v {
				if x = walk(x, steps[1:]); x != (absent{}) {
					return x
				}
			}
			return absent{}
		}
		if x, ok := v[s.name]; ok && s.name != "" {
			return walk(x, steps[1:])
		}
	case []any:
		if s.any {
			for _, x := range v {
				if x = walk(x, steps[1:]); x != (absent{}) {
					return x
				}
			}
			return absent{}
		}
		if s.name == "" && s.index < len(v) {
			return walk(v[s.index], steps[1:])
		}
	}
	return absent{}
}

func foundIn(v any) found {
	switch v := v.(type) {
	case absent:
		return found{kind: missing}
	case nil:
		return found{kind: null}
	case bool:
		if v {
			return found{kind: yes}
		}
		return found{kind: no}
	case string:
		return found{text, v}
	case json.Number:
		return found{number, v.String()}
	}
	return found{kind: nested}
}
