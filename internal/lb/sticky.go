package lb

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// The cookies that keep clients at targets and groups. Each but AWSALBAPP has a twin that browsers send across sites
// too; the twin wins. They expire after a week, whatever the duration of the stickiness, which is judged by what is in
// them. Source: ALB user guide, sticky sessions.
const (
	targetCookie     = "AWSALB"
	targetCookieCORS = "AWSALBCORS"
	groupCookie      = "AWSALBTG"
	groupCookieCORS  = "AWSALBTGCORS"
	appCookie        = "AWSALBAPP-0"
	cookieLife       = 7 * 24 * time.Hour
)

// What a cookie is about.
const (
	aboutTarget byte = 1 + iota
	aboutGroup
)

// cookieKeyFile holds the key of the cookies, so that clients stay where they are when the process is restarted.
const cookieKeyFile = "lb-cookies.key"

// ticketSize makes cookies as long as AWS's, 120 characters.
const ticketSize = 62

// ticket is what is in a cookie. Its form, encrypted: about, 16 bytes of the group's hash, 4 of the address, 2 of the
// port, 8 of the time in ms, zeros.
type ticket struct {
	about  byte
	group  [16]byte
	target netip.AddrPort // of aboutTarget
	issued time.Time
}

// jar makes cookies and reads them.
type jar struct{ aead cipher.AEAD }

// newJar makes a jar with a key of 32 bytes.
func newJar(key []byte) (*jar, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &jar{aead}, err
}

// randomJar's cookies are nobody else's.
func randomJar() *jar {
	var key [32]byte
	rand.Read(key[:])
	j, err := newJar(key[:])
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	return j
}

// openJar has the key from the directory, or leaves a new one there.
func openJar(dir string) (*jar, error) {
	path := filepath.Join(dir, cookieKeyFile)
	key, err := os.ReadFile(path)
	if err == nil && len(key) == 32 {
		return newJar(key)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key = make([]byte, 32)
	rand.Read(key)
	beside := path + ".new"
	if err := os.WriteFile(beside, key, 0o600); err != nil {
		return nil, err
	}
	if err := os.Rename(beside, path); err != nil {
		return nil, err
	}
	return newJar(key)
}

func (j *jar) seal(t ticket) string {
	var plain [ticketSize]byte
	plain[0] = t.about
	copy(plain[1:], t.group[:])
	if t.target.IsValid() {
		a := t.target.Addr().As4()
		copy(plain[17:], a[:])
		binary.BigEndian.PutUint16(plain[21:], t.target.Port())
	}
	binary.BigEndian.PutUint64(plain[23:], uint64(t.issued.UnixMilli()))
	out := make([]byte, j.aead.NonceSize(), j.aead.NonceSize()+ticketSize+j.aead.Overhead())
	rand.Read(out)
	return base64.StdEncoding.EncodeToString(j.aead.Seal(out, out, plain[:], nil))
}

func (j *jar) open(s string) (t ticket, ok bool) {
	data, err := base64.StdEncoding.DecodeString(s)
	if n := j.aead.NonceSize(); err != nil || len(data) != n+ticketSize+j.aead.Overhead() {
		return t, false
	}
	n := j.aead.NonceSize()
	plain, err := j.aead.Open(nil, data[:n], data[n:], nil)
	if err != nil {
		return t, false
	}
	t.about = plain[0]
	copy(t.group[:], plain[1:])
	t.target = netip.AddrPortFrom(netip.AddrFrom4([4]byte(plain[17:21])), binary.BigEndian.Uint16(plain[21:]))
	t.issued = time.UnixMilli(int64(binary.BigEndian.Uint64(plain[23:])))
	return t, true
}

// fresh says whether a ticket of that time still binds.
func (t ticket) fresh(now time.Time, d time.Duration) bool { return now.Sub(t.issued) < d }

// groupHash names a group in tickets.
func groupHash(arn string) [16]byte {
	sum := sha256.Sum256([]byte(arn))
	return [16]byte(sum[:16])
}

// Private

// ticketOf is the first of the request's cookies, in the order of the names, that is one of ours and fresh.
func (p *proxy) ticketOf(x *exchange, about byte, d time.Duration, names ...string) (t ticket, ok bool) {
	for _, name := range names {
		if x.request.cookie(name, func(v string) bool {
			t, ok = p.jar.open(v)
			return ok && t.about == about && t.fresh(x.started, d)
		}) {
			return t, true
		}
	}
	return ticket{}, false
}

// stuckGroup is the group that the client had from the action, nil when there is none. A group of weight 0 is left:
// that is how one is taken out of service.
func (p *proxy) stuckGroup(x *exchange) *group {
	a := &x.rule.act
	if a.Sticky == 0 {
		return nil
	}
	t, ok := p.ticketOf(x, aboutGroup, a.Sticky, groupCookieCORS, groupCookie)
	if !ok {
		return nil
	}
	for i, g := range a.forward.groups {
		if g.hash == t.group && a.Groups[i].Weight > 0 {
			return g
		}
	}
	return nil
}

// claimStuck claims the target that the client had in the group, nil when there is none that gets requests.
func (p *proxy) claimStuck(x *exchange, g *group) *member {
	st := g.eligible.Load().sticky
	var t ticket
	switch st.Type {
	case lbconfig.BalancerCookie:
		t, _ = p.ticketOf(x, aboutTarget, st.Duration, targetCookieCORS, targetCookie)
	case lbconfig.ApplicationCookie:
		if x.request.cookie(st.Cookie, func(string) bool { return true }) {
			t, _ = p.ticketOf(x, aboutTarget, st.Duration, appCookie)
		}
	}
	if t.about == 0 || t.group != g.hash {
		return nil
	}
	x.session = true
	return g.claimAt(x.entry.zone, t.target)
}

// cookies are the Set-Cookie values that bring the client back. answer is the target's.
func (p *proxy) cookies(x *exchange, answer fields) (out []string) {
	m := x.member.Load()
	sticky := m.group.eligible.Load().sticky
	if x.rule.act.Sticky == 0 && sticky.Type == "" {
		return nil
	}
	now := time.Now()
	if x.rule.act.Sticky > 0 {
		v := p.jar.seal(ticket{about: aboutGroup, group: m.group.hash, issued: now})
		out = append(out, setCookie(groupCookie, v, now, false), setCookie(groupCookieCORS, v, now, true))
	}
	t := ticket{aboutTarget, m.group.hash, m.addr, now}
	switch sticky.Type {
	case lbconfig.BalancerCookie:
		v := p.jar.seal(t)
		out = append(out, setCookie(targetCookie, v, now, false), setCookie(targetCookieCORS, v, now, true))
	case lbconfig.ApplicationCookie:
		if x.session || setsCookie(answer, sticky.Cookie) {
			out = append(out, setCookie(appCookie, p.jar.seal(t), now, false))
		}
	}
	return out
}

func setCookie(name, value string, now time.Time, cors bool) string {
	c := fmt.Sprintf("%s=%s; Expires=%s; Path=/", name, value, now.Add(cookieLife).UTC().Format(http.TimeFormat))
	if cors {
		c += "; SameSite=None; Secure"
	}
	return c
}

func setsCookie(answer fields, name string) bool {
	for i := 0; ; i++ {
		line, ok := answer.value("Set-Cookie", i)
		if !ok {
			return false
		}
		if k, _, ok := strings.Cut(line, "="); ok && strings.TrimSpace(k) == name {
			return true
		}
	}
}
