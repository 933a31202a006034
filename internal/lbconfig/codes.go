package lbconfig

import (
	"fmt"
	"strconv"
	"strings"
)

// Codes is a parsed matcher: HTTP status codes that count as a success.
type Codes [][2]int

// ParseCodes parses a matcher: single codes and ranges, separated by commas, each within 200 to 499.
// Source: ELBv2 API, Matcher.
func ParseCodes(s string) (Codes, error) {
	var out Codes
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		a, err := parseCode(lo)
		if err != nil {
			return nil, fmt.Errorf("matcher %q: %w", s, err)
		}
		b := a
		if isRange {
			if b, err = parseCode(hi); err != nil {
				return nil, fmt.Errorf("matcher %q: %w", s, err)
			}
		}
		if a > b {
			return nil, fmt.Errorf("matcher %q: the range %d-%d is empty", s, a, b)
		}
		out = append(out, [2]int{a, b})
	}
	return out, nil
}

// Contains says whether the status code is a success.
func (c Codes) Contains(code int) bool {
	for _, r := range c {
		if r[0] <= code && code <= r[1] {
			return true
		}
	}
	return false
}

func parseCode(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || len(s) != 3 || n < 200 || n > 499 {
		return 0, fmt.Errorf("%q is not a status code from 200 to 499", s)
	}
	return n, nil
}
