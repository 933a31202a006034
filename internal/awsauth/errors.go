package awsauth

import (
	"net/http"
	"strings"

	"github.com/lotse-project/lotse/internal/awswire"
)

// Texts as users of the real services have published them (IAM User Guide, "Troubleshoot
// Signature Version 4", and field reports).
const (
	textToken     = "The security token included in the request is invalid."
	textExpired   = "The security token included in the request is expired"
	textSignature = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	textEC2       = "AWS was not able to validate the provided access credentials"
)

// refusal makes one protocol's errors. JSON services put "Exception" behind the code and answer
// 400, query services 403, and EC2 has codes of its own.
type refusal awswire.Protocol

func (p refusal) json() bool { return awswire.Protocol(p).JSON() }
func (p refusal) ec2() bool  { return awswire.Protocol(p) == awswire.EC2 }

func (p refusal) missing() *awswire.Error {
	switch {
	case p.json():
		return refuse("MissingAuthenticationTokenException", http.StatusBadRequest, "Missing Authentication Token")
	case p.ec2():
		return refuse("MissingAuthenticationToken", http.StatusForbidden, "Request is missing Authentication Token")
	}
	return refuse("MissingAuthenticationToken", http.StatusForbidden, "Missing Authentication Token")
}

// incomplete is a signature that can't be read.
func (p refusal) incomplete(text string) *awswire.Error {
	if p.json() {
		return refuse("IncompleteSignatureException", http.StatusBadRequest, text)
	}
	return refuse("IncompleteSignature", http.StatusForbidden, text)
}

// unknownKey is a key id nobody has, or a session token that isn't the key's.
func (p refusal) unknownKey() *awswire.Error {
	switch {
	case p.json():
		return refuse("UnrecognizedClientException", http.StatusBadRequest, textToken)
	case p.ec2():
		return refuse("AuthFailure", http.StatusUnauthorized, textEC2)
	}
	return refuse("InvalidClientTokenId", http.StatusForbidden, textToken)
}

func (p refusal) expiredToken() *awswire.Error {
	switch {
	case p.json():
		return refuse("ExpiredTokenException", http.StatusBadRequest, textExpired)
	case p.ec2():
		return refuse("RequestExpired", http.StatusBadRequest, "Request has expired.")
	}
	return refuse("ExpiredToken", http.StatusForbidden, textExpired)
}

// badSignature is a signature that isn't the one we calculate.
func (p refusal) badSignature() *awswire.Error {
	if p.ec2() {
		return refuse("AuthFailure", http.StatusUnauthorized, textEC2)
	}
	return p.invalid(textSignature)
}

// invalid is a signature refused for the reason given, such as a wrong credential scope.
func (p refusal) invalid(text string) *awswire.Error {
	switch {
	case p.json():
		return refuse("InvalidSignatureException", http.StatusBadRequest, text)
	case p.ec2():
		return refuse("AuthFailure", http.StatusUnauthorized, text)
	}
	return refuse("SignatureDoesNotMatch", http.StatusForbidden, text)
}

// clock is a request signed too early or too late.
func (p refusal) clock(text string) *awswire.Error {
	if p.ec2() {
		return refuse("RequestExpired", http.StatusBadRequest, "Request has expired.")
	}
	return p.invalid(text)
}

func refuse(code string, status int, text string) *awswire.Error {
	return &awswire.Error{Code: code, Status: status, Message: text}
}

// requires is AWS's list of the missing parts, one sentence each.
func requires(where string, parts []string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(where + " requires '" + p + "' parameter. ")
	}
	return b.String()
}

// Denied is what a caller hears who may not do what it asks for. why is the end of AWS's sentence.
// Sources: IAM User Guide, "Troubleshoot access denied error messages"; EC2 API reference, error codes.
func Denied(p awswire.Protocol, c Caller, action, resource, why string) *awswire.Error {
	text := "User: " + c.ARN + " is not authorized to perform: " + action + " on resource: " + resource + " " + why
	switch p {
	case awswire.JSON11, awswire.RestJSON:
		return refuse("AccessDeniedException", http.StatusBadRequest, text)
	case awswire.EC2:
		return refuse("UnauthorizedOperation", http.StatusForbidden, "You are not authorized to perform this operation. "+text)
	}
	return refuse("AccessDenied", http.StatusForbidden, text)
}
