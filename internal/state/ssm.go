package state

import (
	"fmt"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// Parameter Store's records: intent. All values are sealed, whatever their type; the key of the version's record is
// what they are sealed for.
//
// A parameter's name has no colon, so NAME: is the prefix of its versions.
var (
	Parameters        = store.NewTable[Parameter]("ssm.parameter")      // scope/name
	ParameterVersions = store.NewTable[ParameterVersion]("ssm.version") // scope/name:0000000001
)

// A Parameter is what all versions of a parameter share.
type Parameter struct {
	Scope   arn.Scope
	Name    string // with the slash of a hierarchy: /prod/db
	Version int64  // the newest
	Oldest  int64  // the oldest that is kept
	Labels  map[string]int64
	Tags    map[string]string
}

// Key is the parameter's key.
func (p Parameter) Key() string { return p.Scope.Key(p.Name) }

// ARN names the parameter; the slash at the beginning of its name shows once.
func (p Parameter) ARN() string {
	if p.Name != "" && p.Name[0] == '/' {
		return p.Scope.ARN("ssm", "parameter"+p.Name)
	}
	return p.Scope.ARN("ssm", "parameter/"+p.Name)
}

// A ParameterVersion is one value a parameter has or had; it never changes.
type ParameterVersion struct {
	Version        int64
	Type           string // String, StringList, SecureString
	Sealed         string
	Description    string
	AllowedPattern string
	DataType       string
	Tier           string // Standard, Advanced
	ModifiedAt     time.Time
	ModifiedBy     string // ARN
}

// ParameterVersionKey is a version's key.
func ParameterVersionKey(sc arn.Scope, name string, version int64) string {
	return fmt.Sprintf("%s:%010d", sc.Key(name), version)
}

// ParameterVersionsKey is the prefix of a parameter's versions.
func ParameterVersionsKey(sc arn.Scope, name string) string { return sc.Key(name) + ":" }
