package linklocal

import (
	"net"
	"strings"

	"github.com/miekg/dns"
)

// ttl is how long a client may keep an answer, in seconds. An ALB's own records have 60.
const ttl = 60

// answer resolves the VPC's own names. Names outside are refused: nothing is looked up elsewhere.
func (v *vpcServer) answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	defer w.WriteMsg(m)
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		m.Rcode = dns.RcodeFormatError
		return
	}
	question := q.Question[0]
	addrs, known := v.vpc.Load().Names[strings.ToLower(strings.TrimSuffix(question.Name, "."))]
	switch {
	case !known && internal(question.Name):
		m.Rcode = dns.RcodeNameError
	case !known:
		m.Rcode = dns.RcodeRefused
	case question.Qtype == dns.TypeA || question.Qtype == dns.TypeANY:
		for _, a := range addrs {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: net.IP(a.AsSlice())})
		}
	}
}

// internal reports whether a name is one that only this resolver could know.
func internal(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, zone := range []string{"internal", "localhost", "elb.amazonaws.com"} {
		if name == zone || strings.HasSuffix(name, "."+zone) {
			return true
		}
	}
	return false
}
