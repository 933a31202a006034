package logs

import (
	"bytes"
	"strings"
)

// pattern is a filter pattern of terms. Source: CloudWatch Logs User Guide, filter pattern syntax for unstructured logs.
//
//	a b        both, anywhere, in this case      "a b"   the phrase
//	-a         not                               ?a ?b   any of them, ignored beside other terms
type pattern struct{ all, none, any [][]byte }

// parsePattern refuses what is not about terms: JSON and space-delimited patterns and regular expressions.
func parsePattern(s string) (pattern, error) {
	var p pattern
	if len(s) > 1024 {
		return p, constraint(s, "filterPattern", "Member must have length less than or equal to 1024")
	}
	rest := strings.TrimSpace(s)
	if strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, "[") {
		return p, invalid("Lotse does not support JSON and space-delimited filter patterns yet: %s", s)
	}
	for rest != "" {
		kind := rest[0]
		if kind == '-' || kind == '?' {
			rest = rest[1:]
		}
		term, after, err := cutTerm(rest)
		if err != nil {
			return p, err
		}
		switch kind {
		case '-':
			p.none = append(p.none, term)
		case '?':
			p.any = append(p.any, term)
		default:
			p.all = append(p.all, term)
		}
		rest = strings.TrimSpace(after)
	}
	if len(p.all)+len(p.none) > 0 {
		p.any = nil
	}
	return p, nil
}

// match tells whether an event's message has what the pattern asks for.
func (p pattern) match(message []byte) bool {
	for _, t := range p.all {
		if !bytes.Contains(message, t) {
			return false
		}
	}
	for _, t := range p.none {
		if bytes.Contains(message, t) {
			return false
		}
	}
	for _, t := range p.any {
		if bytes.Contains(message, t) {
			return true
		}
	}
	return len(p.any) == 0
}

// Private

func cutTerm(s string) (term []byte, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return cutQuoted(s)
	}
	if strings.HasPrefix(s, "%") {
		return nil, "", invalid("Lotse does not support regular expressions in filter patterns yet: %s", s)
	}
	word, rest, _ := strings.Cut(s, " ")
	for _, c := range word {
		if c < 0x80 && c != '_' && !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return nil, "", invalid("Invalid character(s) in term '%s'", word)
		}
	}
	if word == "" {
		return nil, "", invalid("Invalid filter pattern: a term is missing.")
	}
	return []byte(word), rest, nil
}

// cutQuoted takes a phrase in double quotes, within which a backslash makes the next character plain.
func cutQuoted(s string) (term []byte, rest string, err error) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i+1 < len(s) {
				i++
				term = append(term, s[i])
			}
		case '"':
			if len(term) == 0 {
				return nil, "", invalid("Invalid filter pattern: an empty phrase.")
			}
			return term, s[i+1:], nil
		default:
			term = append(term, s[i])
		}
	}
	return nil, "", invalid("Invalid filter pattern: a quotation mark is missing.")
}
