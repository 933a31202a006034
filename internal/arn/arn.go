// Package arn names AWS resources: ARNs, and the account and region a record lives in.
package arn

import (
	"fmt"
	"strings"
)

// An ARN is an Amazon Resource Name: arn:partition:service:region:account:resource.
// Region and account may be empty (IAM has no region).
type ARN struct {
	Partition, Service, Region, Account, Resource string
}

// Parse splits an ARN. The resource may hold colons and slashes of its own.
func Parse(s string) (ARN, error) {
	p := strings.SplitN(s, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[1] == "" || p[2] == "" || p[5] == "" {
		return ARN{}, fmt.Errorf("%q is not an ARN (arn:partition:service:region:account:resource)", s)
	}
	return ARN{p[1], p[2], p[3], p[4], p[5]}, nil
}

// String is Parse's inverse.
func (a ARN) String() string {
	return strings.Join([]string{"arn", a.Partition, a.Service, a.Region, a.Account, a.Resource}, ":")
}

// IsARN tells an ARN from a name, as every AWS operation that takes either does.
func IsARN(s string) bool { return strings.HasPrefix(s, "arn:") }

// Type and Name split a resource such as "service/cluster/name" at its first slash.
func (a ARN) Type() string { t, _, _ := strings.Cut(a.Resource, "/"); return t }

// Name is the resource without its type.
func (a ARN) Name() string { _, n, _ := strings.Cut(a.Resource, "/"); return n }

// A Scope is the account and region that a record lives in.
type Scope struct {
	Account string // 12 digits
	Region  string
}

// Key makes a record's key: "000000000000/us-east-1/part/part". With no parts it
// is the prefix of all keys of the scope.
func (s Scope) Key(parts ...string) string {
	return s.Account + "/" + s.Region + "/" + strings.Join(parts, "/")
}

// ARN names a resource of the scope.
func (s Scope) ARN(service, resource string) string {
	return ARN{"aws", service, s.Region, s.Account, resource}.String()
}

// ScopeOf is the scope of a key made by Scope.Key, and the rest of the key.
func ScopeOf(key string) (Scope, string) {
	p := strings.SplitN(key, "/", 3)
	if len(p) < 3 {
		return Scope{}, key
	}
	return Scope{p[0], p[1]}, p[2]
}
