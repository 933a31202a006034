package lb

// matchPattern says whether all of s is described by pattern: * stands for any bytes, also none and also '/', ? for
// exactly one. It allocates nothing and takes at most len(pattern)×len(s) steps.
// Source: ALB user guide, rule condition types.
func matchPattern(pattern, s string, fold bool) bool {
	p, i := 0, 0
	star, mark := -1, 0 // the last * seen, and where in s its stand-in ends
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || same(pattern[p], s[i], fold)):
			p++
			i++
		case star >= 0: // let the last * stand for one more byte
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchEscaped is matchPattern without case, for patterns in which \ takes the next character's meaning away: \* is
// a star. A \ at the end is itself. Source: ELBv2 API, QueryStringConditionConfig.
func matchEscaped(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		c, width, any := escapedAt(pattern, p)
		switch {
		case width > 0 && any && c == '*':
			star, mark = p, i
			p++
		case width > 0 && (any || same(c, s[i], true)):
			p += width
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// escapedAt is the character at p, how many bytes it takes in the pattern (0 at its end), and whether it is a wildcard.
func escapedAt(pattern string, p int) (c byte, width int, wildcard bool) {
	switch {
	case p >= len(pattern):
		return 0, 0, false
	case pattern[p] == '\\' && p+1 < len(pattern):
		return pattern[p+1], 2, false
	}
	return pattern[p], 1, pattern[p] == '*' || pattern[p] == '?'
}

func same(a, b byte, fold bool) bool {
	if fold {
		return lower(a) == lower(b)
	}
	return a == b
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
