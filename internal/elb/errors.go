package elb

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/store"
)

// ELBv2's errors and fixed texts, as users of the real service have published them.
var (
	errBalancerNotFound = awsError("LoadBalancerNotFound", "One or more load balancers not found")
	errListenerNotFound = awsError("ListenerNotFound", "One or more listeners not found")
	errRuleNotFound     = awsError("RuleNotFound", "One or more rules not found")
	errGroupNotFound    = awsError("TargetGroupNotFound", "One or more target groups not found")
	errLoop             = awsError("InvalidLoadBalancerAction", "The redirect configuration is not valid because it creates a loop.")
	errTwoZones         = invalid("At least two subnets in two different Availability Zones must be specified")
)

func awsError(code, format string, a ...any) *awswire.Error {
	return &awswire.Error{Code: code, Message: fmt.Sprintf(format, a...)}
}

// invalid is a parameter that is wrong by itself.
func invalid(format string, a ...any) *awswire.Error {
	return awsError("ValidationError", format, a...)
}

// unfit is a parameter that does not go with the rest.
func unfit(format string, a ...any) *awswire.Error {
	return awsError("InvalidConfigurationRequest", format, a...)
}

// orNotFound puts AWS's words in the place of store.ErrNotFound.
func orNotFound(err error, words *awswire.Error) error {
	if errors.Is(err, store.ErrNotFound) {
		return words
	}
	return err
}

// onlyMembers refuses every member of in that is set and not named: a field that nobody acts
// on must not look accepted.
func onlyMembers(where string, in any, names ...string) error {
	extra := awswire.SetMembers(in, names...)
	if len(extra) == 0 {
		return nil
	}
	for i, m := range extra {
		extra[i] = strings.ToUpper(m[:1]) + m[1:] // as query services write them
	}
	if where != "" {
		where = " in " + where
	}
	return invalid("Lotse does not act on %s%s yet, so it does not accept it.", strings.Join(extra, ", "), where)
}
