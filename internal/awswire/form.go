package awswire

import (
	"fmt"
	"net/url"
	"strings"
)

// A node is one part of the dotted names of a query: "Tags.member.1.Key=a" is four nodes, of
// which the last has a value.
type node struct {
	value string
	set   bool // a parameter ends here
	kids  map[string]*node
}

// protocolParameters say how to read a request and who signed it; they belong to no operation.
// Source: SigV4 and SigV2 query signing.
var protocolParameters = map[string]bool{
	"Action": true, "Version": true,
	"X-Amz-Algorithm": true, "X-Amz-Credential": true, "X-Amz-Date": true, "X-Amz-Expires": true,
	"X-Amz-SignedHeaders": true, "X-Amz-Signature": true, "X-Amz-Security-Token": true, "X-Amz-User-Agent": true,
	"AWSAccessKeyId": true, "Signature": true, "SignatureMethod": true, "SignatureVersion": true, "Timestamp": true, "SecurityToken": true,
}

// formTree splits a query's names at their dots.
func formTree(form url.Values) (*node, error) {
	root := &node{}
	for name, values := range form {
		if protocolParameters[name] {
			continue
		}
		if len(values) > 1 {
			return nil, malformedQuery(fmt.Sprintf("The parameter %s is there more than once.", name))
		}
		if strings.Count(name, ".") >= maxDepth*2 {
			return nil, malformedQuery("A parameter's name has too many parts.")
		}
		n := root
		for part := range strings.SplitSeq(name, ".") {
			n = n.kid(part)
		}
		n.value, n.set = values[0], true
	}
	return root, nil
}

func malformedQuery(text string) error {
	return &Error{Code: "MalformedQueryString", Message: text}
}

// kid returns the part below n, made if need be.
func (n *node) kid(name string) *node {
	k := n.kids[name]
	if k == nil {
		if n.kids == nil {
			n.kids = map[string]*node{}
		}
		k = &node{}
		n.kids[name] = k
	}
	return k
}

// empty says whether everything from n on has no value.
func (n *node) empty() bool {
	if n.value != "" {
		return false
	}
	for _, k := range n.kids {
		if !k.empty() {
			return false
		}
	}
	return true
}
