package network

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// replace puts the table in the place of the one that is there, in one transaction. Connections go
// on, but a packet that is being judged at that moment may look into sets that have just gone:
// a SYN lost so costs its sender a second. Hence only at first and for repair; else delta.
func (t *table) replace(n *namespace) error {
	c, err := t.conn(n)
	if err != nil {
		return err
	}
	c.AddTable(t.t)
	c.DelTable(t.t)
	c.AddTable(t.t)
	for _, ch := range t.chains {
		c.AddChain(ch.c)
	}
	for _, s := range t.sets {
		if err := c.AddSet(s.s, nil); err != nil {
			return err
		}
		if err := addElements(c, s, s.minus(nil)); err != nil {
			return err
		}
	}
	for _, ch := range t.chains {
		ch.fill(c, nil)
	}
	return t.flush(c)
}

// delta takes the kernel from old to t in one transaction and touches only what differs: no
// packet is lost. Rules that stay in a chain that changes keep their counts.
func (t *table) delta(n *namespace, old *table) error {
	c, err := t.conn(n)
	if err != nil {
		return err
	}
	was, is := map[string]*chain{}, map[string]*chain{}
	for _, ch := range old.chains {
		was[ch.name] = ch
	}
	var changed, gone []*chain
	counts := map[*chain]map[string]expr.Counter{}
	for _, ch := range t.chains {
		is[ch.name] = ch
		o := was[ch.name]
		if o == nil {
			c.AddChain(ch.c)
			changed = append(changed, ch)
		} else if ch.text() != o.text() {
			if counts[ch], err = ch.counts(c); err != nil {
				return err
			}
			c.FlushChain(ch.c)
			changed = append(changed, ch)
		}
	}
	for _, ch := range old.chains {
		if is[ch.name] == nil {
			c.FlushChain(ch.c)
			gone = append(gone, ch)
		}
	}
	for _, s := range t.sets {
		o := old.named[s.name]
		if o == nil {
			if err := c.AddSet(s.s, nil); err != nil {
				return err
			}
		} else if err := chunked(o.minus(s), func(el []nftables.SetElement) error { return c.SetDeleteElements(s.s, el) }); err != nil {
			return err
		}
		if err := addElements(c, s, s.minus(o)); err != nil {
			return err
		}
	}
	for _, ch := range changed {
		ch.fill(c, counts[ch])
	}
	for _, ch := range gone {
		c.DelChain(ch.c)
	}
	for _, s := range old.sets {
		if t.named[s.name] == nil {
			c.DelSet(s.s)
		}
	}
	return t.flush(c)
}

// digest tells finished tables apart.
func (t *table) digest() string {
	if t.sum == "" {
		sum := sha256.Sum256([]byte(t.text()))
		t.sum = hex.EncodeToString(sum[:16])
	}
	return t.sum
}

// generation is the number that the kernel raises with every change of nftables in the namespace:
// one cheap question tells whether anybody touched anything.
func generation(n *namespace) (uint32, error) {
	c, err := mdl.Dial(unix.NETLINK_NETFILTER, &mdl.Config{NetNS: n.fd()})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ms, err := c.Execute(mdl.Message{
		Header: mdl.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: mdl.Request},
		Data:   make([]byte, 4)})
	if err != nil {
		return 0, err
	}
	for _, m := range ms {
		if len(m.Data) < 4 {
			continue
		}
		ad, err := mdl.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return 0, err
		}
		ad.ByteOrder = binary.BigEndian
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return ad.Uint32(), nil
			}
		}
	}
	return 0, errors.New("nftables: no generation in the kernel's answer")
}

// Private

// textData marks a rule's text in its user data; nft shows only what is marked as a comment (0).
const textData userdata.Type = 'L'

// conn's buffers hold the whole batch: it goes out in one message and every part of it is
// acknowledged. With default sizes a big one fails with EMSGSIZE or ENOBUFS.
func (t *table) conn(n *namespace) (*nftables.Conn, error) {
	messages := 16
	for _, c := range t.chains {
		messages += 1 + len(c.rules)
	}
	return nftables.New(nftables.WithNetNSFd(n.fd()), nftables.WithSockOptions(func(c *mdl.Conn) error {
		return errors.Join(c.SetReadBuffer(1<<20+messages*2048), c.SetWriteBuffer(1<<20+messages*4096))
	}))
}

// flush sends the batch.
func (t *table) flush(c *nftables.Conn) error {
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// fill adds the chain's rules, with their counts so far.
func (c *chain) fill(conn *nftables.Conn, counts map[string]expr.Counter) {
	for _, r := range c.rules {
		ex := r.ex
		if n, ok := counts[r.String()]; ok {
			ex = slices.Clone(ex)
			for i := range ex {
				if _, ok := ex[i].(*expr.Counter); ok {
					ex[i] = &n
				}
			}
		}
		conn.AddRule(&nftables.Rule{Table: c.c.Table, Chain: c.c, Exprs: ex, UserData: userdata.Append(nil, textData, []byte(r.String()))})
	}
}

// counts are the counters in the kernel's chain by the text of their rules.
func (c *chain) counts(conn *nftables.Conn) (map[string]expr.Counter, error) {
	rules, err := conn.GetRules(c.c.Table, c.c)
	if err != nil {
		return nil, fmt.Errorf("nftables: rules of chain %s: %w", c.name, err)
	}
	all := map[string]expr.Counter{}
	for _, r := range rules {
		for _, e := range r.Exprs {
			if n, ok := e.(*expr.Counter); ok {
				all[string(userdata.Get(r.UserData, textData))] = *n
			}
		}
	}
	return all, nil
}

func addElements(c *nftables.Conn, s *set, el []nftables.SetElement) error {
	return chunked(el, func(el []nftables.SetElement) error { return c.SetAddElements(s.s, el) })
}

// chunked: an attribute holds at most 64 KiB; what is beyond is lost without an error.
func chunked(el []nftables.SetElement, fn func([]nftables.SetElement) error) error {
	for e := range slices.Chunk(el, 500) {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}
