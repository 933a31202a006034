package lbconfig

import (
	"fmt"
	"strconv"
	"strings"
)

// Codes is a parsed matcher: the status codes that count as a success.
type Codes [][2]int

// ParseCodes parses a matcher of HTTP status codes: single ones and ranges, separated by commas, each within 200 to 499.
// Source: ELBv2 API, Matcher.
func ParseCodes(s string) (Codes, error) { return parseCodes(s, parseCode) }

// ParseGRPCCodes is ParseCodes for status codes of gRPC, 0 to 99. Source: ELBv2 API, Matcher.
func ParseGRPCCodes(s string) (Codes, error) { return parseCodes(s, parseGRPCCode) }

// Contains says whether the status code is a success.
func (c Codes) Contains(code int) bool {
	for _, r := range c {
		if r[0] <= code && code <= r[1] {
			return true
		}
	}
	return false
}

// Codes is the matcher, parsed.
func (h *HealthCheck) Codes() (Codes, error) {
	if h.Version == GRPC {
		return ParseGRPCCodes(h.Matcher)
	}
	return ParseCodes(h.Matcher)
}

// Private

func parseCodes(s string, parse func(string) (int, error)) (Codes, error) {
	var out Codes
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		a, err := parse(lo)
		if err != nil {
			return nil, fmt.Errorf("matcher %q: %w", s, err)
		}
		b := a
		if isRange {
			if b, err = parse(hi); err != nil {
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

func parseCode(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || len(s) != 3 || n < 200 || n > 499 {
		return 0, fmt.Errorf("%q is not a status code from 200 to 499", s)
	}
	return n, nil
}

func parseGRPCCode(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || len(s) > 2 || n < 0 {
		return 0, fmt.Errorf("%q is not a status code from 0 to 99", s)
	}
	return n, nil
}
