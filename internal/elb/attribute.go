package elb

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lotse-project/lotse/internal/awswire"
)

// defaultIdleTimeout is idle_timeout.timeout_seconds of a new load balancer.
const defaultIdleTimeout = 60

// attribute is one key of a resource T. Without set it is an attribute that nobody acts on: it
// shows AWS's default and can't be changed.
type attribute[T any] struct {
	key   string
	value string         // AWS's default
	get   func(T) string // nil: value
	set   func(*T, string) *awswire.Error
}

func (a attribute[T]) of(r T) string {
	if a.get == nil {
		return a.value
	}
	return a.get(r)
}

// setAttributes changes the attributes given, all or none. what says whose they are; check judges them together, nil: they
// always fit. Terraform looks for the text of a key that isn't known, to go on without it.
func setAttributes[T any](what string, known []attribute[T], r *T, given [][2]string, check func(T) *awswire.Error) error {
	if len(given) == 0 {
		return invalid("Attributes must be specified")
	}
	if len(given) > 20 {
		return invalid("At most 20 attributes can be modified at once")
	}
	next, seen := *r, map[string]bool{}
	for _, kv := range given {
		key, value := kv[0], kv[1]
		i := slices.IndexFunc(known, func(a attribute[T]) bool { return a.key == key })
		switch {
		case seen[key]:
			return invalid("Attribute key '%s' has been specified more than once", key)
		case i < 0:
			return invalid("%s attribute key '%s' is not recognized", what, key)
		case known[i].set != nil:
			if err := known[i].set(&next, value); err != nil {
				return err
			}
		case value != known[i].value:
			return unfit("Lotse does not act on the attribute '%s' yet: it accepts its default '%s' only, not '%s'.", key, known[i].value, value)
		}
		seen[key] = true
	}
	if check != nil {
		if err := check(next); err != nil {
			return err
		}
	}
	*r = next
	return nil
}

// between parses an attribute's whole number. Text: as moto has it.
func between(key, value string, low, high int) (int, *awswire.Error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > high {
		return 0, invalid("'%s' value '%s' must be between '%d-%d' inclusive", key, value, low, high)
	}
	return n, nil
}

// oneOf parses an attribute that is one of some words.
func oneOf(key, value string, words ...string) (string, *awswire.Error) {
	if !slices.Contains(words, value) {
		return "", invalid("'%s' value '%s' must be one of '%s'", key, value, strings.Join(words, ", "))
	}
	return value, nil
}

func boolean(key, value string) (bool, *awswire.Error) {
	if value != "true" && value != "false" {
		return false, invalid("'%s' value '%s' must be 'true' or 'false'", key, value)
	}
	return value == "true", nil
}
