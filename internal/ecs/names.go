package ecs

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strconv"
	"strings"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// Names of clusters, services, families and containers: 1 to 255 letters, digits, - and _.
// Source: API reference.
var nameRE = lazyregexp.New(`^[A-Za-z0-9_-]{1,255}$`)

const defaultCluster = "default"

// clusterName takes a cluster's name or ARN as given by a caller; "" means default.
func clusterName(sc arn.Scope, s *string) (string, error) {
	if s == nil || *s == "" {
		return defaultCluster, nil
	}
	if !arn.IsARN(*s) {
		return *s, nil
	}
	a, err := arn.Parse(*s)
	if err != nil || a.Service != "ecs" || a.Type() != "cluster" {
		return "", invalid("The ARN provided is invalid.")
	}
	if a.Region != sc.Region {
		return "", invalid("Invalid Region in ARN: %s", a.Region) // observed in aws-cli issue 3175
	}
	if a.Account != sc.Account {
		return "", errClusterNotFound
	}
	return a.Name(), nil
}

// lastName takes the name or ARN of a service or task of the cluster, and gives the name. An ARN
// must be of that cluster: operations look nowhere else.
func lastName(sc arn.Scope, cluster, typ, s string) (string, error) {
	if !arn.IsARN(s) {
		return s, nil
	}
	a, err := arn.Parse(s)
	if err != nil || a.Service != "ecs" || a.Type() != typ || a.Account != sc.Account {
		return "", invalid("The ARN provided is invalid.")
	}
	if a.Region != sc.Region {
		return "", invalid("Invalid Region in ARN: %s", a.Region)
	}
	of, name, long := strings.Cut(a.Name(), "/")
	if !long {
		return of, nil // the old form, without a cluster
	}
	if of != cluster { // seen in reports of callers who left out the cluster
		return "", invalid("Invalid identifier: Identifier is for cluster %s. Your cluster is %s", of, cluster)
	}
	return name, nil
}

// familyRevision splits family, family:7 or the ARN of a task definition. Revision 0: the latest ACTIVE one.
func familyRevision(sc arn.Scope, s string) (family string, revision int, err error) {
	if arn.IsARN(s) {
		a, err := arn.Parse(s)
		if err != nil || a.Service != "ecs" || a.Type() != "task-definition" {
			return "", 0, invalid("The ARN provided is invalid.")
		}
		if a.Region != sc.Region {
			return "", 0, invalid("Invalid Region in ARN: %s", a.Region)
		}
		if a.Account != sc.Account {
			return "", 0, errDescribeTaskDef
		}
		s = a.Name()
	}
	family, rev, found := strings.Cut(s, ":")
	if !found {
		return family, 0, nil
	}
	n, err := strconv.Atoi(rev)
	if err != nil || n < 1 {
		return "", 0, invalid("Invalid revision number. Number: %s", rev)
	}
	return family, n, nil
}

// randomHex gives n random bytes in hex: task ids are 32 digits.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// randomDigits gives 19 digits, as in deployment and revision ids. They carry no order.
func randomDigits() string {
	n, _ := rand.Int(rand.Reader, big.NewInt(8e18))
	return strconv.FormatInt(n.Int64()+1e18, 10) // 1e18 to 9e18: always 19 digits
}

// randomWord gives 21 characters of A-Za-z0-9_-, the last part of a service deployment's ARN.
func randomWord() string {
	b := make([]byte, 16)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)[:21]
}
