package logpattern

import "strings"

// ellipsis stands for any number of columns, or none.
const ellipsis = "..."

// column is one of a pattern; when is nil if anything may be in it.
type column struct {
	ellipsis bool
	when     func(value string) bool
}

// columns reads [a, b = 1, ...], conditions on columns that spaces separate.
func (p *parser) columns() func([]byte) bool {
	p.need("[")
	var cols []column
	at := -1
	for p.err == nil && !(len(cols) == 0 && p.take("]")) {
		c := p.column()
		if c.ellipsis {
			if at >= 0 {
				p.fail("%s may be there once", ellipsis)
			}
			at = len(cols)
		}
		cols = append(cols, c)
		if p.take("]") {
			break
		}
		p.need(",")
	}
	if p.space(); p.rest != "" {
		p.fail("something follows: %s", p.rest)
	}
	if len(cols) == 0 {
		return nil // [] asks nothing
	}
	if at < 0 {
		return func(m []byte) bool {
			values := split(string(m), len(cols))
			return len(values) == len(cols) && all(cols, values)
		}
	}
	before, after := cols[:at], cols[at+1:]
	return func(m []byte) bool {
		values := split(string(m), -1)
		return len(values) >= len(before)+len(after) && all(before, values[:len(before)]) && all(after, values[len(values)-len(after):])
	}
}

func (p *parser) column() column {
	if p.take(ellipsis) {
		return column{ellipsis: true}
	}
	p.space()
	if b := p.peek(); b == ',' || b == ']' {
		return column{}
	}
	if p.peek() != '(' {
		name := p.name()
		if p.space(); p.peek() == ',' || p.peek() == ']' {
			if name == "" {
				p.fail("a column's name is missing before %q", p.rest)
			}
			return column{}
		}
		p.rest = name + p.rest
	}
	own := ""
	c := p.or(func() condition {
		p.space()
		name := p.name()
		if own == "" {
			own = name
		}
		if name == "" || name != own {
			p.fail("the conditions of a column are about it alone: %q is not %q", name, own)
		}
		op := p.operator()
		if op == "" {
			p.fail("an operator is missing before %q: one of =, !=, >, >=, <, <=", p.rest)
		}
		if p.err != nil {
			return nil
		}
		holds := p.compare(op)
		return func(find func(string) found) bool { return holds(find("")) }
	})
	return column{when: func(v string) bool { return c(func(string) found { return found{text, v} }) }}
}

func (p *parser) name() string {
	return p.while(func(b byte) bool { return isWord(rune(b)) || b == '-' || b == '.' || b == '$' })
}

func all(cols []column, values []string) bool {
	for i, c := range cols {
		if c.when != nil && !c.when(values[i]) {
			return false
		}
	}
	return true
}

// split cuts a message into columns. What is in quotation marks or brackets is one, without them. The last of n columns
// takes the rest: [w1=ERROR, w2] matches lines of any length. n < 0: as many as there are.
func split(s string, n int) (out []string) {
	for s = strings.TrimLeft(s, " \t\r\n"); s != ""; s = strings.TrimLeft(s, " \t\r\n") {
		value, rest := first(s)
		if len(out)+1 == n && strings.TrimSpace(rest) != "" {
			return append(out, strings.TrimSpace(s))
		}
		out, s = append(out, value), rest
	}
	return out
}

func first(s string) (value, rest string) {
	if end := map[byte]string{'"': `"`, '[': "]"}[s[0]]; end != "" {
		if i := strings.Index(s[1:], end); i >= 0 {
			return s[1 : 1+i], s[1+i+1:]
		}
	}
	if i := strings.IndexAny(s, " \t\r\n"); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}
