package network

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite testdata")

func TestRender_Golden(t *testing.T) {
	in := labIntent(cidr("127.64.17.0/24"))
	in.Groups[0].In = []Rule{{Proto: icmp, Lo: 8, Hi: anyICMP, CIDR: anywhere}, {Proto: 50, CIDR: cidr("192.0.2.0/24")}, {Proto: tcp, Lo: 1000, Hi: 2000, CIDR: anywhere}}
	in.ENIs[4].Groups = []string{"sg-web", "sg-mute"}
	in.Services = []Service{{ip("169.254.170.2"), tcp, 81}}
	got := render(in).text()
	const file = "testdata/ruleset.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("render(…) (-want +got; go test -update rewrites it):\n%s", d)
	}
}

// TestRender_Property: the table decides as groups are defined, whatever they say, for every
// first packet of a connection between ENIs, and from the host's clients.
func TestRender_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawIntent(t)
		if err := in.validate(cidr("127.64.1.0/24")); err != nil {
			t.Fatal(err)
		}
		tab, j := render(in), newJudge(in)
		for range 20 {
			p := drawPacket(t, in)
			got, want := simulate(tab, p), j.allows(p.flow())
			if got != want {
				t.Fatalf("%+v: let through is %v, want %v\n%s", p, got, want, tab.text())
			}
		}
	})
}

func TestRender_OrderOfENIs(t *testing.T) {
	in := labIntent(cidr("127.64.17.0/24"))
	one := render(in)
	in = in.clone()
	slices.Reverse(in.ENIs)
	other := render(in)
	for name, s := range one.named {
		if len(s.minus(other.named[name])) != 0 || len(other.named[name].minus(s)) != 0 {
			t.Errorf("set %s depends on the order of ENIs", name)
		}
	}
}

func TestIntent_Validate(t *testing.T) {
	pool := cidr("127.64.17.0/24")
	if err := labIntent(pool).validate(pool); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Intent){
		"egress by NAT":                func(in *Intent) { in.NAT = true },
		"VPC id":                       func(in *Intent) { in.ID = "../x" },
		"not beginning with task-":     func(in *Intent) { in.ID = "task-1" },
		"want an IPv4 block":           func(in *Intent) { in.CIDR = cidr("fd00::/8") },
		"its group sg-x is not":        func(in *Intent) { in.ENIs[1].Groups = []string{"sg-x"} },
		"is not inside its subnet":     func(in *Intent) { in.ENIs[1].Addr = ip("10.0.9.9") },
		"both have 10.0.1.20":          func(in *Intent) { in.ENIs[1].Addr = ip("10.0.1.20") },
		"both have task db":            func(in *Intent) { in.ENIs[1].Task = "db" },
		"is reserved":                  func(in *Intent) { in.ENIs[1].Addr = ip("10.0.1.1") },
		"not in the pool":              func(in *Intent) { in.ENIs[1].Public = ip("127.64.18.1") },
		"none exactly for a local ENI": func(in *Intent) { in.ENIs[0].Task = "x" },
		"each id once":                 func(in *Intent) { in.Groups[1].ID = "sg-lb" },
		"ports 9-8":                    func(in *Intent) { in.Groups[1].In = []Rule{{Proto: tcp, Lo: 9, Hi: 8, CIDR: anywhere}} },
		"want an IPv4 CIDR":            func(in *Intent) { in.Groups[1].In = []Rule{{CIDR: cidr("::/0")}} },
		"ICMP type 256":                func(in *Intent) { in.Groups[1].In = []Rule{{Proto: icmp, Lo: 256, CIDR: anywhere}} },
		"not one of the VPC's":         func(in *Intent) { in.Subnets = in.Subnets[1:] },
		"subnet 10.1.0.0/24":           func(in *Intent) { in.Subnets = []netip.Prefix{cidr("10.1.0.0/24")} },
		"want an IPv4 address and":     func(in *Intent) { in.Services = []Service{{ip("10.0.0.2"), icmp, 0}} },
	} {
		in := labIntent(pool)
		change(&in)
		if err := in.validate(pool); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("validate() = %v, want %q", err, want)
		}
	}
}

// Private

type packet struct {
	link     string // it comes in on; "": made in the VPC's namespace
	src, dst netip.Addr
	proto    uint8
	port     uint16 // or ICMP type and code
	public   bool   // it was for a public address
}

func (p packet) flow() flow { return flow{p.src, p.dst, p.proto, p.port} }

func drawIntent(t *rapid.T) Intent {
	in := Intent{ID: "vpc-p", CIDR: cidr("10.0.0.0/16"), Subnets: []netip.Prefix{cidr("10.0.1.0/24")}}
	n := rapid.IntRange(1, 4).Draw(t, "groups")
	groupID := func(i int) string { return "sg-" + strconv.Itoa(i) }
	draw := rapid.Custom(func(t *rapid.T) Rule {
		r := Rule{Proto: rapid.SampledFrom([]uint8{0, icmp, tcp, udp, 50}).Draw(t, "proto")}
		a, b := rapid.Uint16Range(79, 83).Draw(t, "lo"), rapid.Uint16Range(79, 83).Draw(t, "hi")
		r.Lo, r.Hi = min(a, b), max(a, b)
		if r.Proto == icmp {
			r.Lo, r.Hi = rapid.SampledFrom([]uint16{0, 8, anyICMP}).Draw(t, "type"), rapid.SampledFrom([]uint16{0, 1, anyICMP}).Draw(t, "code")
		}
		if rapid.Bool().Draw(t, "by group") {
			r.Group = groupID(rapid.IntRange(0, n).Draw(t, "peer")) // n: none such
		} else {
			r.CIDR = rapid.SampledFrom([]netip.Prefix{anywhere, in.CIDR, cidr("10.0.1.0/30"), cidr("10.0.1.6/32"), loopback, cidr("127.0.0.9/32")}).Draw(t, "cidr")
		}
		return r
	})
	for i := range n {
		in.Groups = append(in.Groups, Group{groupID(i), rapid.SliceOfN(draw, 0, 3).Draw(t, "in"), rapid.SliceOfN(draw, 0, 3).Draw(t, "out")})
	}
	for i := range rapid.IntRange(2, 5).Draw(t, "enis") {
		e := ENI{ID: "eni-" + strconv.Itoa(i), Addr: offset(ip("10.0.1.3"), uint32(i)), Subnet: cidr("10.0.1.0/24"), Local: rapid.Bool().Draw(t, "local")}
		for g := range n {
			if rapid.Bool().Draw(t, "member") {
				e.Groups = append(e.Groups, groupID(g))
			}
		}
		if !e.Local {
			e.Task = strconv.Itoa(i)
		}
		if rapid.Bool().Draw(t, "public") {
			e.Public = offset(ip("127.64.1.3"), uint32(i))
		}
		in.ENIs = append(in.ENIs, e)
	}
	return in
}

func drawPacket(t *rapid.T, in Intent) packet {
	p := packet{proto: rapid.SampledFrom([]uint8{icmp, tcp, udp, 50}).Draw(t, "proto"), port: rapid.Uint16Range(78, 84).Draw(t, "port")}
	if p.proto == icmp {
		p.port = rapid.SampledFrom([]uint16{0, 8 << 8, 8<<8 | 1}).Draw(t, "icmp")
	}
	to := rapid.SampledFrom(in.ENIs).Draw(t, "to")
	p.dst = to.Addr
	switch i := rapid.IntRange(-1, len(in.ENIs)-1).Draw(t, "from"); {
	case i < 0 && to.published():
		p.link, p.src, p.public = uplinkPeer, rapid.SampledFrom([]netip.Addr{ip("127.0.0.1"), ip("127.0.0.9")}).Draw(t, "client"), true
	case i < 0: // the host sends to an address that isn't published
		p.link, p.src = uplinkPeer, ip("127.0.0.1")
	case in.ENIs[i].Local:
		p.src = in.ENIs[i].Addr
	default:
		p.link, p.src = in.ENIs[i].link(), in.ENIs[i].Addr
	}
	return p
}

// simulate follows the first packet of a connection through the table's text. It knows just the
// words that render uses.
func simulate(t *table, p packet) bool {
	chains := map[string]*chain{}
	for _, c := range t.chains {
		chains[c.name] = c
	}
	task := t.named["src"].has(func(k string) bool { return strings.HasSuffix(k, " . "+p.dst.String()) })
	hook := "via"
	switch {
	case p.link == "":
		hook = "from"
	case !task:
		hook = "into"
	}
	s := simulation{t, chains, p}
	if p.link != "" && !s.run("spoof") {
		return false
	}
	if hook == "from" && !task { // over lo: out, and in again
		return s.run("from") && func() bool { s.p.link = "lo"; return s.run("into") }()
	}
	return s.run(hook)
}

type simulation struct {
	t      *table
	chains map[string]*chain
	p      packet
}

func (s simulation) run(base string) bool {
	v := s.chain(base)
	if v == "" {
		panic(base + " ends without a verdict")
	}
	return v == "accept"
}

func (s simulation) chain(name string) string {
	for _, r := range s.chains[name].rules {
		if v := s.rule(r.String()); v != "" {
			return strings.TrimSuffix(v, "return")
		}
	}
	return ""
}

// rule gives a verdict, "" to go on with the next, "return" when a goto came to its end.
func (s simulation) rule(text string) string {
	w := strings.Fields(text)
	next := func(n int) []string { x := w[:n]; w = w[n:]; return x }
	for len(w) > 0 {
		ok := true
		switch {
		case w[0] == "counter":
			next(1)
			continue
		case w[0] == "accept" || w[0] == "drop":
			return w[0]
		case w[0] == "jump":
			return s.chain(next(2)[1])
		case w[0] == "goto":
			return s.chain(next(2)[1]) + "return"
		case w[0] == "iifname" && w[1] == ".":
			next(5)
			ok = s.t.named["src"].has(func(k string) bool { return k == fmt.Sprintf("%q . %s", s.p.link, s.p.src) })
		case w[0] == "iifname":
			next(1)
			ok = compare(&w, func(v string) bool { return v == strconv.Quote(s.p.link) })
		case w[0] == "ct": // new connections only
			ok = strings.Join(next(3), " ") == "ct status dnat" && s.p.public
		case w[0] == "icmp":
			next(6)
			ok = s.p.proto == icmp && s.p.port == 3<<8|1
		case w[0] == "meta":
			n, _ := strconv.Atoi(next(3)[2])
			ok = int(s.p.proto) == n
		case w[0] == "th":
			lo, hi, is := strings.Cut(next(3)[2], "-")
			if !is {
				hi = lo
			}
			a, _ := strconv.Atoi(lo)
			b, _ := strconv.Atoi(hi)
			ok = int(s.p.port) >= a && int(s.p.port) <= b
		case w[0] == "@th,0,8":
			ok = next(2)[1] == strconv.Itoa(int(s.p.port>>8))
		case w[0] == "@th,8,8":
			ok = next(2)[1] == strconv.Itoa(int(s.p.port&0xff))
		case w[0] == "ip" && w[2] == ".": // services
			key := fmt.Sprintf("%s . %s . %d", s.p.dst, map[uint8]string{tcp: "tcp", udp: "udp"}[s.p.proto], s.p.port)
			next(8)
			ok = s.t.named["svc"].has(func(k string) bool { return k == key })
		case w[0] == "ip" && w[2] == "vmap":
			a, m := s.address(w[1]), s.t.named[w[3][1:]]
			next(4)
			v := ""
			m.has(func(k string) bool {
				if addr, to, is := strings.Cut(k, " : jump "); is && addr == a.String() {
					v = s.chain(to)
				}
				return false
			})
			if v != "" {
				return v
			}
		case w[0] == "ip":
			a := s.address(w[1])
			next(2)
			ok = compare(&w, func(v string) bool {
				if strings.HasPrefix(v, "@") {
					return s.t.named[v[1:]].has(func(k string) bool { return k == a.String() })
				}
				if p, err := netip.ParsePrefix(v); err == nil {
					return p.Contains(a)
				}
				return v == a.String()
			})
		default:
			panic("unknown word in " + text)
		}
		if !ok {
			return ""
		}
	}
	return ""
}

// compare takes the value, or != and the value, from the words.
func compare(w *[]string, is func(string) bool) bool {
	if (*w)[0] == "!=" {
		v := (*w)[1]
		*w = (*w)[2:]
		return !is(v)
	}
	v := (*w)[0]
	*w = (*w)[1:]
	return is(v)
}

func (s simulation) address(field string) netip.Addr {
	if field == "saddr" {
		return s.p.src
	}
	return s.p.dst
}

func (s *set) has(is func(string) bool) bool {
	for k := range s.elements {
		if is(k) {
			return true
		}
	}
	return false
}
