package vpc

import (
	"fmt"
	"strings"

	"github.com/lotse-project/lotse/internal/awswire"
)

// EC2's errors. Sources: EC2 API reference, error codes; texts as users of the real service have
// published them.
var (
	errDryRun             = &awswire.Error{Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set.", Status: 412}
	errNextToken          = awsError("InvalidNextToken", "The specified NextToken is not valid.")
	errPermissionNotFound = awsError("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
	errTooManyGroups      = awsError("SecurityGroupLimitExceeded", "The maximum number of security groups for this account and region has been reached.")
	errTooManyRules       = awsError("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
	errDifferentNetworks  = awsError("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
)

func awsError(code, format string, a ...any) *awswire.Error {
	if len(a) > 0 {
		format = fmt.Sprintf(format, a...)
	}
	return &awswire.Error{Code: code, Message: format}
}

func invalid(format string, a ...any) *awswire.Error {
	return awsError("InvalidParameterValue", format, a...)
}

func missing(parameter string) *awswire.Error {
	return awsError("MissingParameter", "The request must contain the parameter %s", parameter)
}

// A kind of resource, and how EC2 says that there is no such thing.
type kind struct {
	prefix, resource  string // "sg-", "security-group"
	malformed, absent string // error codes; "" malformed: an odd id is just one that is absent
	one, several      string // texts for one id and for several
}

var (
	kindVPC       = kind{"vpc-", "vpc", "", "InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", "The vpc IDs '%s' do not exist"}
	kindSubnet    = kind{"subnet-", "subnet", "", "InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", "The subnet IDs '%s' do not exist"}
	kindGroup     = kind{"sg-", "security-group", "InvalidGroupId.Malformed", "InvalidGroup.NotFound", "The security group '%s' does not exist", "The security groups '%s' do not exist"}
	kindRule      = kind{"sgr-", "security-group-rule", "InvalidSecurityGroupRuleId.Malformed", "InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", "The security group rule IDs '%s' do not exist"}
	kindInterface = kind{"eni-", "network-interface", "InvalidNetworkInterfaceId.Malformed", "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%s' does not exist", "The network interface IDs '%s' do not exist"}
)

// notFound says that there are no resources with these ids.
func (k kind) notFound(ids ...string) *awswire.Error {
	if len(ids) == 1 {
		return awsError(k.absent, k.one, ids[0])
	}
	return awsError(k.absent, k.several, strings.Join(ids, ", "))
}

// check refuses an id of another kind.
func (k kind) check(id string) error {
	if k.malformed == "" || strings.HasPrefix(id, k.prefix) {
		return nil
	}
	return awsError(k.malformed, `Invalid id: "%s" (expecting "%s...")`, id, k.prefix)
}

// onlyMembers refuses every member of in that is set and not named: what nobody acts on must
// not look accepted.
func onlyMembers(in any, names ...string) error {
	if extra := awswire.SetMembers(in, names...); len(extra) > 0 {
		return awsError("UnsupportedOperation", "Lotse does not act on %s yet, so it does not accept it.", strings.Join(extra, ", "))
	}
	return nil
}
