package secrets

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
)

// Source: Secrets Manager service model, FilterValueStringType.
var filterValue = lazyregexp.New(`^!?[a-zA-Z0-9 :_@/+=.\-!]{0,512}$`)

func checkFilters(filters []types.Filter) error {
	if len(filters) > 10 {
		return constraint(len(filters), "filters", "Member must have length less than or equal to 10")
	}
	for i, f := range filters {
		if f.Key == "" {
			return invalid("Invalid filter key")
		}
		if len(f.Values) == 0 || len(f.Values) > 10 {
			return invalid("Invalid filter values for key: %s", f.Key)
		}
		for _, v := range f.Values {
			if !filterValue.MatchString(v) {
				return constraint(v, fmt.Sprintf("filters.%d.member.values", i+1), `Member must satisfy regular expression pattern: ^\!?[a-zA-Z0-9 :_@\/\+\=\.\-\!]*$`)
			}
		}
	}
	return nil
}

// matches says whether a secret passes all filters. A filter's values are alternatives; one that begins with "!" passes
// what doesn't match the rest of it. Names and tags match by their beginning, case counting; descriptions, and "all" over
// everything, by the beginnings of words. Source: Filter.
func matches(sec state.Secret, filters []types.Filter) bool {
	return !slices.ContainsFunc(filters, func(f types.Filter) bool {
		return !slices.ContainsFunc(f.Values, func(v string) bool {
			if rest, not := strings.CutPrefix(v, "!"); not {
				return !match(sec, f.Key, rest)
			}
			return match(sec, f.Key, v)
		})
	})
}

func match(sec state.Secret, key types.FilterNameStringType, value string) bool {
	begins := func(s string) bool { return strings.HasPrefix(s, value) }
	var keys, values []string
	for _, t := range tagList(sec.Tags) {
		keys, values = append(keys, aws.ToString(t.Key)), append(values, aws.ToString(t.Value))
	}
	switch key {
	case types.FilterNameStringTypeName:
		return begins(sec.Name)
	case types.FilterNameStringTypeTagKey:
		return slices.ContainsFunc(keys, begins)
	case types.FilterNameStringTypeTagValue:
		return slices.ContainsFunc(values, begins)
	case types.FilterNameStringTypeDescription:
		return hasWords(value, sec.Description)
	case types.FilterNameStringTypeAll:
		return slices.ContainsFunc(slices.Concat([]string{sec.Name, sec.Description}, keys, values), func(s string) bool { return hasWords(value, s) })
	}
	return false // primary-region, owning-service: no secret has one
}

// hasWords says whether each word of pattern begins a word of text, whatever its case.
func hasWords(pattern, text string) bool {
	words := split(text)
	wanted := split(pattern)
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(p string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, p) })
	})
}

func split(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}
