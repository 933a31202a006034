package main

import (
	"regexp"
	"strings"
)

// The forms of the SDK's own generated code. gen's test fails when they no longer match.
var (
	operationFile = regexp.MustCompile(`\n// file api_op_(\w+)\.go\n`)

	validator     = regexp.MustCompile(`(?ms)^func validate\w+\(v \*(?:types\.)?(\w+)\) error \{(.*?)\n\}$`)
	validatorNeed = regexp.MustCompile(`NewErrParamRequired\("(\w+)"\)`)

	querySerializer = regexp.MustCompile(`(?ms)^func aws\w+_serialize(?:Op)?Document\w+\(v \*(?:types\.)?(\w+), value query\.Value\) error \{(.*?)\n\}$`)
	queryMember     = regexp.MustCompile(`if [^\n]*?v\.(\w+)[^\n]*\{\n\t\tobjectKey := object\.(?:Key|FlatKey)\("([^"]+)"\)`)

	xmlDeserializer = regexp.MustCompile(`(?ms)^func aws\w+_deserialize(?:Op)?Document\w+\(v \*\*(?:types\.)?(\w+), decoder smithyxml\.NodeDecoder\) error \{(.*?)\n\}$`)
	xmlCase         = regexp.MustCompile(`strings\.EqualFold\("([^"]+)", t\.Name\.Local\):`)
	xmlField        = regexp.MustCompile(`sv\.(\w+) = |&sv\.(\w+)`)
	xmlListCall     = regexp.MustCompile(`_deserializeDocument(\w+)\(&sv\.`)
	xmlList         = regexp.MustCompile(`(?ms)^func aws\w+_deserializeDocument(\w+)\(v \*\[\][^\n]*\{(.*?)\n\}$`)

	jsonSerializer = regexp.MustCompile(`(?ms)^func \(v \*(\w+)\) SerializeMembers\(s smithy\.ShapeSerializer\) \{(.*?)\n\}$`)
	jsonMember     = regexp.MustCompile(`\n\tif [^\n]*?v\.(\w+)[^\n]*\{\n[^\n]*?schemas\.\w+?_(\w+)[,)]`)

	// SSM's client has the older form, with names in its functions.
	oldSerializer   = regexp.MustCompile(`(?ms)^func aws\w+_serialize(?:Op)?Document\w+\(v \*(?:types\.)?(\w+), value smithyjson\.Value\) error \{(.*?)\n\}$`)
	oldMember       = regexp.MustCompile(`object\.Key\("([^"]+)"\)\n(?:\t*switch \{\n)?[^\n]*?v\.(\w+)`)
	oldDeserializer = regexp.MustCompile(`(?ms)^func aws\w+_deserialize(?:Op)?Document\w+\(v \*\*(?:types\.)?(\w+), value interface\{\}\) error \{(.*?)\n\}$`)
	restRoute       = regexp.MustCompile(`(?ms)^func \(m \*awsRestjson1_serializeOp(\w+)\) HandleSerialize\(.*?SplitURI\("([^"]+)"\).*?request\.Method = "(\w+)"`)
	restMembers     = regexp.MustCompile(`(?ms)^func awsRestjson1_serializeOpHttpBindings(\w+)\(v \*\w+, encoder \*httpbinding\.Encoder\) error \{(.*?)\n\}$`)
	restMember      = regexp.MustCompile(`encoder\.(SetQuery|AddQuery|SetURI)\("(\w+)"\)\.\w+\([^v\n]*v\.(\w+)`)

	oldCase = regexp.MustCompile(`\n\t\tcase "([^"]+)"(?:, "[^"]+")?:`)
)

func operationNames(src string) []string {
	var out []string
	for _, m := range operationFile.FindAllStringSubmatch(src, -1) {
		out = append(out, m[1])
	}
	return out
}

// required notes the members that the SDK's client refuses to send a request without.
func (s sdk) required(src string, rows map[string][]string) {
	for _, fn := range validator.FindAllStringSubmatch(src, -1) {
		for _, m := range validatorNeed.FindAllStringSubmatch(fn[2], -1) {
			key := s.Package + "." + fn[1]
			rows[key] = append(rows[key], m[1])
		}
	}
}

// rest notes the method and path of each operation of a REST service, and the members that are not in the body.
func (s sdk) rest(src string, rows map[string][]string) {
	for _, m := range restRoute.FindAllStringSubmatch(src, -1) {
		rows[s.Signing] = append(rows[s.Signing], m[1]+"="+m[3]+":"+m[2])
	}
	for _, fn := range restMembers.FindAllStringSubmatch(src, -1) {
		for _, m := range restMember.FindAllStringSubmatch(fn[2], -1) {
			where := "query:"
			if m[1] == "SetURI" {
				where = "label:"
			}
			key := s.Package + "." + fn[1]
			rows[key] = append(rows[key], m[3]+"="+where+m[2])
		}
	}
}

// names notes the wire names that the rule can't derive. Case counts: the SDK for Go reads XML
// in any case, but others don't.
func (s sdk) names(src string, rows map[string][]string) {
	type member struct{ typ, field string }
	in, out := map[member]string{}, map[member]string{}
	switch s.Rule {
	case "json":
		for _, fn := range jsonSerializer.FindAllStringSubmatch(src, -1) {
			for _, m := range jsonMember.FindAllStringSubmatch("\n"+fn[2], -1) {
				if m[2] != lowerFirst(m[1]) {
					in[member{fn[1], m[1]}] = m[2]
					out[member{fn[1], m[1]}] = m[2]
				}
			}
		}
		for _, fn := range oldSerializer.FindAllStringSubmatch(src, -1) {
			for _, m := range oldMember.FindAllStringSubmatch(fn[2], -1) {
				if m[1] != lowerFirst(m[2]) {
					in[member{fn[1], m[2]}] = m[1]
					out[member{fn[1], m[2]}] = m[1]
				}
			}
		}
		for _, fn := range oldDeserializer.FindAllStringSubmatch(src, -1) {
			cases := oldCase.FindAllStringSubmatchIndex(fn[2], -1)
			for i, c := range cases {
				end := len(fn[2])
				if i+1 < len(cases) {
					end = cases[i+1][0]
				}
				wire := fn[2][c[2]:c[3]]
				if f := xmlField.FindStringSubmatch(fn[2][c[1]:end]); f != nil && wire != lowerFirst(f[1]+f[2]) {
					m := member{fn[1], f[1] + f[2]}
					in[m], out[m] = wire, wire
				}
			}
		}
	default:
		item := map[string]string{} // list shape → element
		for _, m := range xmlList.FindAllStringSubmatch(src, -1) {
			if c := xmlCase.FindStringSubmatch(m[2]); c != nil {
				item[m[1]] = c[1]
			}
		}
		usual, rule := "member", func(s string) string { return s }
		if s.Rule == "ec2" {
			usual, rule = "item", lowerFirst
		}
		for _, fn := range querySerializer.FindAllStringSubmatch(src, -1) {
			for _, m := range queryMember.FindAllStringSubmatch(fn[2], -1) {
				if m[2] != m[1] {
					in[member{fn[1], m[1]}] = m[2]
				}
			}
		}
		for _, fn := range xmlDeserializer.FindAllStringSubmatch(src, -1) {
			cases := xmlCase.FindAllStringSubmatchIndex(fn[2], -1)
			for i, c := range cases {
				end := len(fn[2])
				if i+1 < len(cases) {
					end = cases[i+1][0]
				}
				wire := fn[2][c[2]:c[3]]
				f := xmlField.FindStringSubmatch(fn[2][c[1]:end])
				if f == nil {
					continue
				}
				field := f[1] + f[2]
				if call := xmlListCall.FindStringSubmatch(fn[2][c[1]:end]); call != nil && item[call[1]] != "" && item[call[1]] != usual {
					wire += "/" + item[call[1]]
				}
				if wire != rule(field) {
					out[member{fn[1], field}] = wire
				}
			}
		}
	}
	seen := map[member]bool{}
	for _, side := range []map[member]string{in, out} {
		for m := range side {
			if !seen[m] && !strings.HasSuffix(m.typ, "Exception") { // errors have a shape of their own
				seen[m] = true
				key := s.Package + "." + m.typ
				rows[key] = append(rows[key], m.field+"="+in[m]+","+out[m])
			}
		}
	}
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
