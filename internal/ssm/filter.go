package ssm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/lotse-project/lotse/internal/state"
)

// A filter is a ParameterStringFilter with its option.
type filter struct {
	key, option string
	values      []string
}

// filters have all to match.
type filters []filter

// parseFilters checks filters. Source: ParameterStringFilter; texts as published by users.
func parseFilters(in []types.ParameterStringFilter, byPath bool) (filters, error) {
	var out filters
	for i, f := range in {
		k, values := aws.ToString(f.Key), f.Values
		option := aws.ToString(f.Option)
		if option == "" {
			option = "Equals"
			if k == "Path" {
				option = "OneLevel"
			}
		}
		switch {
		case len(k) > 132 || !strings.HasPrefix(k, "tag:") && !slices.Contains([]string{"Name", "Type", "KeyId", "Path", "Label", "Tier", "DataType"}, k) || k == "tag:":
			return nil, constraint(k, fmt.Sprintf("parameterFilters.%d.member.key", i+1), "Member must satisfy regular expression pattern: tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType")
		case len(values) > 50:
			return nil, constraint(len(values), fmt.Sprintf("parameterFilters.%d.member.values", i+1), "Member must have length less than or equal to 50")
		case byPath && !slices.Contains([]string{"Type", "KeyId", "Label"}, k):
			return nil, awsError("InvalidFilterKey", "The following filter key is not valid: "+k+". Valid filter keys include: [Type, KeyId, Label].")
		case !byPath && k == "Label":
			return nil, awsError("InvalidFilterKey", "The following filter key is not valid: Label. Valid filter keys include: [Path, Name, Type, KeyId, Tier, DataType].")
		case slices.ContainsFunc(out, func(o filter) bool { return o.key == k }):
			return nil, awsError("InvalidFilterKey", "The following filter is duplicated in the request: "+k+". A request can contain only one occurrence of a specific filter.")
		case len(values) == 0 && !strings.HasPrefix(k, "tag:"):
			return nil, awsError("InvalidFilterValue", "The following filter values are missing : null for filter key "+k+".")
		}
		if err := checkFilter(k, option, values); err != nil {
			return nil, err
		}
		out = append(out, filter{k, option, values})
	}
	return out, nil
}

func (fs filters) match(p state.Parameter, v state.ParameterVersion) bool {
	return !slices.ContainsFunc(fs, func(f filter) bool { return !f.match(p, v) })
}

// label are the labels asked for, nil without such a filter.
func (fs filters) label() []string {
	for _, f := range fs {
		if f.key == "Label" {
			return f.values
		}
	}
	return nil
}

// Private

func checkFilter(k, option string, values []string) error {
	options := []string{"BeginsWith", "Equals"}
	switch k {
	case "Path":
		options = []string{"Recursive", "OneLevel"}
	case "Name":
		options = append(options, "Contains")
	case "Label":
		options = []string{"Equals"}
	}
	if !slices.Contains(options, option) {
		return awsError("InvalidFilterOption", fmt.Sprintf("The following filter option is not valid: %s. Valid options include: [%s].", option, strings.Join(options, ", ")))
	}
	for _, value := range values {
		if k == "Path" {
			if err := checkPath(value); err != nil {
				return err
			}
		}
		known := map[string][]string{"Tier": {"Standard", "Advanced", "Intelligent-Tiering"}, "Type": {"String", "StringList", "SecureString"}}[k]
		if known != nil && option == "Equals" && !slices.Contains(known, value) {
			return awsError("InvalidFilterValue", fmt.Sprintf("The following filter value is not valid: %s. Valid values include: [%s].", value, strings.Join(known, ", ")))
		}
	}
	return nil
}

func (f filter) match(p state.Parameter, v state.ParameterVersion) bool {
	is := ""
	switch {
	case f.key == "Path":
		return slices.ContainsFunc(f.values, func(path string) bool { return under(p.Name, path, f.option == "Recursive") })
	case f.key == "Label":
		_, _, ok := labelled(p, f.values)
		return ok
	case strings.HasPrefix(f.key, "tag:"):
		value, ok := p.Tags[strings.TrimPrefix(f.key, "tag:")]
		if !ok || len(f.values) == 0 {
			return ok
		}
		is = value
	case f.key == "Name":
		is = p.Name
	case f.key == "Type":
		is = v.Type
	case f.key == "Tier":
		is = v.Tier
	case f.key == "DataType":
		is = v.DataType
	case f.key == "KeyId":
		if !secure(v) {
			return false
		}
		is = keyAlias
	}
	return slices.ContainsFunc(f.values, func(value string) bool {
		switch f.option {
		case "BeginsWith":
			return strings.HasPrefix(is, value)
		case "Contains":
			return strings.Contains(is, value)
		}
		return is == value
	})
}

func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || !nameCharacters.MatchString(path) {
		return errPath
	}
	return nil
}

// below is a path as the beginning of the names below it.
func below(path string) string { return strings.TrimSuffix(path, "/") + "/" }

// under says whether a name is below a path: directly, or recursively.
func under(name, path string, recursive bool) bool {
	rest, ok := strings.CutPrefix(name, below(path))
	return ok && rest != "" && (recursive || !strings.Contains(rest, "/"))
}
