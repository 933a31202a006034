package awswire

import (
	"reflect"
	"strings"
	"sync"
)

// A wireName is a member's name in requests and in answers, which differ in EC2, and the name of
// its elements in an answer when they don't have the protocol's.
type wireName struct{ in, out, item string }

// names maps an SDK struct to the members whose names the rule can't derive; an empty name is the
// rule's. required maps it to the members that must be there. operations maps a signing name to
// what AWS has. All are read at the first Add, once.
var (
	names = sync.OnceValue(func() map[string]map[string]wireName {
		out := map[string]map[string]wireName{}
		for key, words := range rows(generatedNames) {
			out[key] = map[string]wireName{}
			for _, w := range words {
				field, pair, _ := strings.Cut(w, "=")
				in, answer, _ := strings.Cut(pair, ",")
				answer, item, _ := strings.Cut(answer, "/")
				out[key][field] = wireName{in, answer, item}
			}
		}
		return out
	})
	required   = sync.OnceValue(func() map[string]map[string]bool { return sets(generatedRequired) })
	operations = sync.OnceValue(func() map[string]map[string]bool { return sets(generatedOperations) })
)

// nameOf derives a member's names. Sources: awsJson1.1, awsQuery and ec2Query of the Smithy
// specification; ECS, ECR and Logs start their members small, EC2 its answers alone.
func nameOf(p Protocol, owner reflect.Type, field string) wireName {
	n := wireName{in: field, out: field}
	switch p {
	case JSON11, RestJSON:
		n = wireName{in: lowerFirst(field), out: lowerFirst(field)}
	case EC2:
		n.out = lowerFirst(field)
	}
	odd := names()[tableKey(owner)][field]
	n.item = odd.item
	if odd.in != "" {
		n.in = odd.in
	}
	if odd.out != "" {
		n.out = odd.out
	}
	return n
}

// Required says whether AWS wants a member of an SDK struct to be there.
func Required(owner reflect.Type, field string) bool {
	return required()[tableKey(owner)][field]
}

// tableKey is how the tables name an SDK struct: "ecr.Tag" for ecr/types.Tag.
func tableKey(t reflect.Type) string {
	p := strings.TrimSuffix(t.PkgPath(), "/types")
	return p[strings.LastIndexByte(p, '/')+1:] + "." + t.Name()
}

// Private

func rows(table string) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(table) {
		if words := strings.Fields(line); len(words) > 1 {
			out[words[0]] = words[1:]
		}
	}
	return out
}

func sets(table string) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for key, words := range rows(table) {
		set := make(map[string]bool, len(words))
		for _, w := range words {
			set[w] = true
		}
		out[key] = set
	}
	return out
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
