package lb

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// The parent and the worker speak over a unix socket that keeps messages apart (SOCK_SEQPACKET): JSON, with
// descriptors beside it. First hello and the listening sockets either has, then requests of the worker, each with
// one reply.
//
//	parent                              worker
//	{hello, version, pid} ─────────────▶
//	◀──────────── {held, ports} + sockets … until more is false
//	{held, ports} + sockets … ─────────▶    those that the worker does not have
//	◀──────────────── {listen, port, have}
//	{ns} + socket ─────────────────────▶
const (
	opHello    = "hello"
	opHeld     = "held"
	opListen   = "listen"   // a listening socket for Port, unless the one in namespace Have is the right one
	opFilter   = "filter"   // put the snapshot's ingress rules on the socket of Port
	opForget   = "forget"   // Port is closed
	opDial     = "dial"     // N sockets bound to Dial.ENI, unconnected
	opSnapshot = "snapshot" // the saved snapshot, open for reading
)

const (
	maxMessage = 64 << 10
	maxFDs     = 64 // in one message; the kernel's limit is 253
	protocol   = 1  // of these messages; another one's worker is replaced
)

// message is a request, a reply, or part of the greeting.
type message struct {
	Op       string    `json:",omitempty"`
	Protocol int       `json:",omitempty"`
	Ports    []heldKey `json:",omitempty"` // one descriptor each
	More     bool      `json:",omitempty"`
	Retire   bool      `json:",omitempty"` // in held, to the worker: when told to end, leave no client behind (see worker.retire); from it: it was told so
	Port     portKey   `json:",omitzero"`
	Have     uint64    `json:",omitempty"` // number of a namespace
	Dial     dialKey   `json:",omitzero"`
	N        int       `json:",omitempty"`
	Key      []byte    `json:",omitempty"` // in hello: opens the private keys of certificates; the parent reads it, and no one else

	NS        uint64 `json:",omitempty"` // number of the namespace of the sockets in the reply
	Error     string `json:",omitempty"`
	Transient bool   `json:",omitempty"`
	NotExist  bool   `json:",omitempty"`
}

// heldKey is a listening socket that one side has.
type heldKey struct {
	Key portKey
	NS  uint64
}

// send writes one message. The descriptors stay the caller's.
func send(c *net.UnixConn, m message, fds ...int) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("message %s has %d bytes", m.Op, len(data))
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(data, oob, nil)
	return err
}

// receive reads one message. The descriptors are the caller's to close, also with an error. pid is the sender's, as
// the kernel knows it, if the socket asks for it; else 0.
func receive(c *net.UnixConn) (m message, fds []int, pid int, err error) {
	data := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(4*maxFDs)+unix.CmsgSpace(unix.SizeofUcred))
	n, on, flags, _, err := c.ReadMsgUnix(data, oob)
	if err != nil {
		return m, nil, 0, err
	}
	fds, pid, err = ancillary(oob[:on])
	switch {
	case err != nil:
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errors.New("message is too long")
	case n == 0:
		err = io.EOF
	default:
		err = json.Unmarshal(data[:n], &m)
	}
	return m, fds, pid, err
}

func ancillary(oob []byte) (fds []int, pid int, err error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, 0, err
	}
	for i := range msgs {
		switch msgs[i].Header.Type {
		case unix.SCM_RIGHTS:
			f, err := unix.ParseUnixRights(&msgs[i])
			if err != nil {
				return fds, pid, err
			}
			fds = append(fds, f...)
		case unix.SCM_CREDENTIALS:
			cred, err := unix.ParseUnixCredentials(&msgs[i])
			if err != nil {
				return fds, pid, err
			}
			pid = int(cred.Pid)
		}
	}
	return fds, pid, nil
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// sendHeld sends listening sockets in as many messages as it takes.
func sendHeld(c *net.UnixConn, keys []heldKey, fds []int, retire bool) error {
	for {
		n := min(len(keys), maxFDs)
		m := message{Op: opHeld, Ports: keys[:n], More: n < len(keys), Retire: retire}
		if err := send(c, m, fds[:n]...); err != nil || !m.More {
			return err
		}
		keys, fds = keys[n:], fds[n:]
	}
}

// received is what receiveHeld got.
type received struct {
	keys   []heldKey
	fds    []int
	pid    int // the sender's
	retire bool
}

// receiveHeld is the other end of sendHeld. With an error nothing stays open.
func receiveHeld(c *net.UnixConn) (r received, err error) {
	for {
		m, f, p, err := receive(c)
		r.fds, r.pid, r.retire = append(r.fds, f...), p, m.Retire
		if err == nil && (m.Op != opHeld || len(m.Ports) != len(f)) {
			err = fmt.Errorf("greeting has %q with %d ports and %d sockets", m.Op, len(m.Ports), len(f))
		}
		if err != nil {
			closeFDs(r.fds)
			return received{pid: r.pid}, err
		}
		r.keys = append(r.keys, m.Ports...)
		if !m.More {
			return r, nil
		}
	}
}
