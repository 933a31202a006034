package ssm

import (
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// keyAlias is the key that AWS seals SecureStrings with unless told another one.
const keyAlias = "alias/aws/ssm"

// find reads the parameter of a reference.
func find(tx store.Reader, sc arn.Scope, ref reference) (o store.Object[state.Parameter], err error) {
	if ref.scope != sc {
		return o, errNoParameter(ref.names[0])
	}
	for _, name := range ref.names {
		if o, err = state.Parameters.Get(tx, sc.Key(name)); !errors.Is(err, store.ErrNotFound) {
			return o, err
		}
	}
	return o, errNoParameter(ref.names[0])
}

// lookup reads the version that a reference selects: the newest without a selector.
func lookup(tx store.Reader, sc arn.Scope, ref reference) (p state.Parameter, v state.ParameterVersion, err error) {
	o, err := find(tx, sc, ref)
	if err != nil {
		return p, v, err
	}
	p = o.Val
	n := p.Version
	if ref.selector != "" {
		var isNumber, labelled bool
		if n, isNumber = ref.version(); !isNumber {
			label := ref.selector[1:]
			if n, labelled = p.Labels[label]; !labelled {
				return p, v, errNoLabel(p.Name, label)
			}
		}
	}
	v, err = versionOf(tx, p, n)
	return p, v, err
}

func versionOf(tx store.Reader, p state.Parameter, n int64) (state.ParameterVersion, error) {
	if n < 1 || n > p.Version {
		return state.ParameterVersion{}, errNoVersion(p.Name, n)
	}
	o, err := state.ParameterVersions.Get(tx, state.ParameterVersionKey(p.Scope, p.Name, n))
	return o.Val, or(err, errNoVersion(p.Name, n))
}

// versions reads all versions of a parameter that are kept, the oldest first.
func versions(tx store.Reader, p state.Parameter) (out []store.Object[state.ParameterVersion], err error) {
	for v, err := range state.ParameterVersions.List(tx, state.ParameterVersionsKey(p.Scope, p.Name)) {
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// labelsOf are a version's labels in order.
func labelsOf(p state.Parameter, version int64) []string {
	var out []string
	for label, n := range p.Labels {
		if n == version {
			out = append(out, label)
		}
	}
	slices.Sort(out)
	return out
}

// value opens a version's value.
func (s *Service) value(p state.Parameter, v state.ParameterVersion) (string, error) {
	b, err := s.o.Key.Open(v.Sealed, recordOf(p, v.Version))
	if err != nil {
		return "", &awswire.Error{Code: "InvalidKeyId", Err: err,
			Message: "The value of " + p.Name + " can't be opened with the server's key. The server's log tells why."}
	}
	return string(b), nil
}

// shown is a version's value as an answer tells it: a SecureString stays sealed for who doesn't ask for decryption.
func (s *Service) shown(p state.Parameter, v state.ParameterVersion, decrypt *bool) (string, error) {
	if secure(v) && !aws.ToBool(decrypt) {
		return v.Sealed, nil
	}
	return s.value(p, v)
}

func (s *Service) view(p state.Parameter, v state.ParameterVersion, selector string, decrypt *bool) (types.Parameter, error) {
	value, err := s.shown(p, v, decrypt)
	out := types.Parameter{
		ARN: aws.String(p.ARN()), Name: aws.String(p.Name), Type: types.ParameterType(v.Type), Value: aws.String(value),
		Version: v.Version, LastModifiedDate: aws.Time(v.ModifiedAt), DataType: aws.String(v.DataType),
	}
	if selector != "" {
		out.Selector = aws.String(selector)
	}
	return out, err
}

func secure(v state.ParameterVersion) bool { return v.Type == string(types.ParameterTypeSecureString) }

// recordOf is what a version's value is sealed for.
func recordOf(p state.Parameter, version int64) string {
	return strings.Join([]string{state.ParameterVersions.Kind(), state.ParameterVersionKey(p.Scope, p.Name, version)}, "/")
}

// optional leaves empty strings out of an answer.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
