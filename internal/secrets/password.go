package secrets

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// punctuation as GetRandomPassword lists it.
const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

// GetRandomPassword makes a password, of 32 characters by default; by default it has one of each type at least.
func (s *Service) GetRandomPassword(_ context.Context, in *secretsmanager.GetRandomPasswordInput) (*secretsmanager.GetRandomPasswordOutput, error) {
	n := int64(32)
	if in.PasswordLength != nil {
		n = *in.PasswordLength
	}
	if n < 1 || n > 4096 {
		return nil, constraint(n, "passwordLength", "Member must have value between 1 and 4096")
	}
	if len(aws.ToString(in.ExcludeCharacters)) > 4096 {
		return nil, constraint("…", "excludeCharacters", "Member must have length less than or equal to 4096")
	}
	types := characterTypes(in)
	all := strings.Join(types, "")
	if all == "" {
		return nil, errNoCharacter
	}
	b := make([]byte, 0, n)
	if in.RequireEachIncludedType == nil || *in.RequireEachIncludedType {
		if int(n) < len(types) {
			return nil, errShort
		}
		for _, t := range types {
			b = append(b, t[below(len(t))])
		}
	}
	for len(b) < int(n) {
		b = append(b, all[below(len(all))])
	}
	for i := len(b) - 1; i > 0; i-- { // Fisher-Yates
		j := below(i + 1)
		b[i], b[j] = b[j], b[i]
	}
	return &secretsmanager.GetRandomPasswordOutput{RandomPassword: aws.String(string(b))}, nil
}

// Private

// characterTypes are the characters of each type that is left.
func characterTypes(in *secretsmanager.GetRandomPasswordInput) []string {
	var out []string
	for _, t := range []struct {
		characters string
		excluded   bool
	}{
		{letters[:26], aws.ToBool(in.ExcludeLowercase)}, {letters[26:52], aws.ToBool(in.ExcludeUppercase)}, {letters[52:], aws.ToBool(in.ExcludeNumbers)},
		{punctuation, aws.ToBool(in.ExcludePunctuation)}, {" ", !aws.ToBool(in.IncludeSpace)},
	} {
		left := strings.Map(func(r rune) rune {
			if strings.ContainsRune(aws.ToString(in.ExcludeCharacters), r) {
				return -1
			}
			return r
		}, t.characters)
		if !t.excluded && left != "" {
			out = append(out, left)
		}
	}
	return out
}
