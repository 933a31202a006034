package acm

import (
	"fmt"

	"github.com/lotse-project/lotse/internal/awswire"
)

// Certificate Manager's errors and fixed texts, as users of the real service have published them. No text tells a key.
var (
	errManyBodies   = validation("The certificate field contains more than one certificate. You can specify only one certificate in this field.")
	errBody         = validation("The certificate is not PEM-encoded or is not valid.")
	errChain        = validation("The certificate chain is not PEM-encoded or is not valid.")
	errKey          = validation("The private key is not PEM-encoded or is not valid.")
	errEncrypted    = validation("The private key is encrypted. Provide an unencrypted private key.")
	errKeyKind      = validation("The private key is not supported. Only RSA keys of 1024, 2048, 3072 and 4096 bits and ECDSA keys on the curves P-256, P-384 and P-521 are allowed.")
	errKeyMismatch  = validation("The certificate and the private key do not match.")
	errNotSelf      = validation("Provided certificate is not a valid self signed. Please provide either a valid self-signed certificate or certificate chain.")
	errExpired      = validation("The certificate has expired, is not valid.")
	errTooEarly     = validation("The certificate is not in effect yet, is not valid.")
	errReimportTags = validation("Tagging is not permitted on re-import.")
	errToken        = awsError("InvalidArgsException", "The NextToken is not valid.")
)

func awsError(code, format string, a ...any) *awswire.Error {
	return &awswire.Error{Code: code, Message: fmt.Sprintf(format, a...)}
}

func validation(format string, a ...any) *awswire.Error {
	return awsError("ValidationException", format, a...)
}

// constraint is a member that breaks the model's rules. It is not for keys.
func constraint(value any, member, rule string) *awswire.Error {
	return validation("1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: %s", value, member, rule)
}

func errBadARN(s string) *awswire.Error {
	return awsError("InvalidArnException", "'%s' is not a valid certificate ARN.", s)
}

func errNoCertificate(s string) *awswire.Error {
	return awsError("ResourceNotFoundException", "Could not find certificate %s.", s)
}

// errBrokenChain: i counts from the immediate signer.
func errBrokenChain(i int) *awswire.Error {
	return validation("Unable to validate certificate chain. The certificate chain must start with the immediate signing certificate, "+
		"followed by any intermediaries in order. The index within the chain of the invalid certificate is: %d", i)
}

// onlyMembers refuses every member of in that is set and not named: a field that nobody acts on must not look accepted.
func onlyMembers(where string, in any, names ...string) error {
	for _, m := range awswire.SetMembers(in, names...) {
		return validation("Lotse does not act on %s%s yet, so it does not accept it.", where, m)
	}
	return nil
}
