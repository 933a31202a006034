// Package logpattern is CloudWatch Logs' filter patterns, of which there are three kinds:
//
//	a -b "c d" ?e %f.g%                     terms, anywhere in the message
//	{ $.a.b[0] = "x*" && $.c NOT EXISTS }   conditions on the members of a JSON object
//	[ip, ..., status = 4*, bytes > 1000]    conditions on columns
//
// Source: CloudWatch Logs User Guide, filter pattern syntax.
package logpattern

import (
	"fmt"
	"regexp"
	"strings"
)

// MaxLength of a pattern, bytes. Source: FilterLogEvents, filterPattern.
const MaxLength = 1024

// maxExpressions is how many regular expressions a JSON or column pattern may have. Source: as the package's.
const maxExpressions = 2

// Pattern tells messages apart. The zero value matches all.
type Pattern struct{ match func(message []byte) bool }

// Parse reads a pattern. The empty one matches every message. An error says what is wrong, and where.
func Parse(s string) (Pattern, error) {
	if len(s) > MaxLength {
		return Pattern{}, fmt.Errorf("the filter pattern is %d bytes long, and at most %d are possible", len(s), MaxLength)
	}
	p := parser{rest: s}
	p.space()
	var match func([]byte) bool
	switch p.peek() {
	case 0:
		return Pattern{}, nil
	case '{':
		match = p.object()
	case '[':
		match = p.columns()
	default:
		match = p.terms()
	}
	if p.err != nil {
		return Pattern{}, p.err
	}
	return Pattern{match}, nil
}

// Match tells whether a message has what the pattern asks for.
func (p Pattern) Match(message []byte) bool { return p.match == nil || p.match(message) }

// Private

// parser keeps the first error; after it, nothing is left to read.
type parser struct {
	rest        string
	expressions int // regular ones, so far
	err         error
}

func (p *parser) fail(format string, a ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("invalid filter pattern: "+format, a...)
	}
	p.rest = ""
}

// peek is the next byte; 0 at the end.
func (p *parser) peek() byte {
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// take skips white space, and then s if it is next.
func (p *parser) take(s string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *parser) need(s string) {
	if !p.take(s) {
		p.fail("%q is missing before %q", s, p.rest)
	}
}

// while takes bytes as long as they are good.
func (p *parser) while(good func(byte) bool) string {
	n := 0
	for n < len(p.rest) && good(p.rest[n]) {
		n++
	}
	s := p.rest[:n]
	p.rest = p.rest[n:]
	return s
}

// quoted takes a phrase in double quotes, within which a backslash makes the next character plain. Where is the place
// of each asterisk that isn't plain.
func (p *parser) quoted() (phrase string, stars []int) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '\\':
			if i+1 < len(p.rest) {
				i++
				b.WriteByte(p.rest[i])
			}
		case '"':
			p.rest = p.rest[i+1:]
			return b.String(), stars
		case '*':
			stars = append(stars, b.Len())
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	p.fail("a quotation mark is missing: %s", p.rest)
	return "", nil
}

// expression takes a regular expression between percent signs.
func (p *parser) expression() func(string) bool {
	text, rest, ok := strings.Cut(p.rest[1:], "%")
	if !ok || text == "" {
		p.fail("a percent sign is missing: %s", p.rest)
		return nil
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return !inExpression(r) }); i >= 0 {
		p.fail("%q can't be in a regular expression", text[i:i+1])
		return nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		p.fail("%v", err)
		return nil
	}
	p.rest = rest
	p.expressions++
	return re.MatchString
}

// inExpression: the operators ( and ) are not there. Source: as the package's, supported regular expressions.
func inExpression(r rune) bool {
	return isWord(r) || strings.ContainsRune(`#=@/;,-^$?[]{}|\*+. `, r)
}

func isWord(r rune) bool {
	return r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}
