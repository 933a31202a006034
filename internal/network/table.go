package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A table is one nftables table in two forms: the text that nft reads and prints, and messages for
// the kernel. Every builder method adds to both. The text is what tables are compared by, what
// goldens hold, and what is logged when the kernel refuses; the messages are what is sent.
type table struct {
	t      *nftables.Table
	chains []*chain
	sets   []*set
	named  map[string]*set
	sum    string // of the finished table's text, see digest
}

type chain struct {
	name  string
	base  string // a base chain's hook line
	c     *nftables.Chain
	rules []*rule
}

type set struct {
	name, typ string // typ: "type ipv4_addr : verdict"
	s         *nftables.Set
	elements  map[string]nftables.SetElement // by their text
}

// tableName is the one table of a VPC's namespace.
const tableName = "lotse"

func newTable() *table {
	return &table{t: &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}, named: map[string]*set{}}
}

func (t *table) chain(name string) *chain {
	c := &chain{name: name, c: &nftables.Chain{Name: name, Table: t.t}}
	t.chains = append(t.chains, c)
	return c
}

// hook adds a base chain. Its policy is accept and its last rule drops: a policy would also act at
// the moment in which a chain is there without its rules.
func (t *table) hook(name, typ, hook string, priority int) *chain {
	c := t.chain(name)
	accept := nftables.ChainPolicyAccept
	c.base = fmt.Sprintf("type %s hook %s priority %d; policy accept;", typ, hook, priority)
	c.c.Type, c.c.Policy, c.c.Priority = nftables.ChainType(typ), &accept, nftables.ChainPriorityRef(nftables.ChainPriority(priority))
	c.c.Hooknum = map[string]*nftables.ChainHook{
		"prerouting": nftables.ChainHookPrerouting, "input": nftables.ChainHookInput, "forward": nftables.ChainHookForward,
		"output": nftables.ChainHookOutput, "postrouting": nftables.ChainHookPostrouting,
	}[hook]
	return c
}

// set adds a set, or a map if there is a type of values.
func (t *table) set(name string, key nftables.SetDatatype, value ...nftables.SetDatatype) *set {
	s := &set{name: name, typ: "type " + key.Name, s: &nftables.Set{Table: t.t, Name: name, KeyType: key}, elements: map[string]nftables.SetElement{}}
	s.s.Concatenation = strings.Contains(key.Name, " . ")
	if len(value) > 0 {
		s.s.IsMap, s.s.DataType = true, value[0]
		s.typ += " : " + value[0].Name
	}
	t.sets = append(t.sets, s)
	t.named[name] = s
	return s
}

// tally adds a set each of whose elements counts the packets that find it. (Linux 5.7 or later.)
func (t *table) tally(name string) *set {
	s := t.set(name, nftables.TypeIPAddr)
	s.s.Counter = true
	s.typ += "; counter"
	return s
}

func (s *set) addr(a netip.Addr) {
	s.elements[a.String()] = nftables.SetElement{Key: a.AsSlice()}
}

// jump maps an address to a chain.
func (s *set) jump(a netip.Addr, to string) {
	s.elements[a.String()+" : jump "+to] = nftables.SetElement{Key: a.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: to}}
}

func (s *set) pair(a, b netip.Addr) {
	s.elements[a.String()+" : "+b.String()] = nftables.SetElement{Key: a.AsSlice(), Val: b.AsSlice()}
}

func (s *set) link(name string, a netip.Addr) {
	s.elements[fmt.Sprintf("%q . %s", name, a)] = nftables.SetElement{Key: append(linkName(name), a.AsSlice()...)}
}

// service: every part of a concatenated key fills up four bytes.
func (s *set) service(v Service) {
	name := map[uint8]string{tcp: "tcp", udp: "udp"}[v.Proto]
	s.elements[fmt.Sprintf("%s . %s . %d", v.Addr, name, v.Port)] = nftables.SetElement{
		Key: append(v.Addr.AsSlice(), v.Proto, 0, 0, 0, byte(v.Port>>8), byte(v.Port), 0, 0)}
}

// minus gives the elements that o has not, in a fixed order; o may be nil.
func (s *set) minus(o *set) (el []nftables.SetElement) {
	for _, k := range s.sorted() {
		if o != nil {
			if _, has := o.elements[k]; has {
				continue
			}
		}
		el = append(el, s.elements[k])
	}
	return el
}

func (s *set) sorted() []string {
	ks := make([]string, 0, len(s.elements))
	for k := range s.elements {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}

// text is what nft -f reads; it replaces the table in one transaction.
func (t *table) text() string {
	var b strings.Builder
	n := tableName
	fmt.Fprintf(&b, "table ip %s\ndelete table ip %s\ntable ip %s {\n", n, n, n)
	for _, c := range t.chains { // rules and maps refer to chains, rules to sets
		fmt.Fprintf(&b, "\tchain %s { %s }\n", c.name, c.base)
	}
	for _, s := range t.sets {
		kind := "set"
		if s.s.IsMap {
			kind = "map"
		}
		fmt.Fprintf(&b, "\t%s %s {\n\t\t%s;\n", kind, s.name, s.typ)
		if len(s.elements) > 0 {
			fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(s.sorted(), ", "))
		}
		b.WriteString("\t}\n")
	}
	for _, c := range t.chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.String())
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (c *chain) text() string {
	var b strings.Builder
	b.WriteString(c.base)
	for _, r := range c.rules {
		b.WriteString("\n" + r.String())
	}
	return b.String()
}
