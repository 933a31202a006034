package lb

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAcceptor(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := newAcceptor(ln)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	client, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := a.accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.peer.String() != client.LocalAddr().String() || c.RemoteAddr().String() != client.LocalAddr().String() || c.LocalAddr().String() != ln.Addr().String() {
		t.Errorf("accepted from %s at %s, want %s at %s", c.RemoteAddr(), c.LocalAddr(), client.LocalAddr(), ln.Addr())
	}
	raw, err := c.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct{ level, name, want int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAlive}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAlive},
	} {
		if err := control(raw, func(fd int) error {
			if n, err := unix.GetsockoptInt(fd, o.level, o.name); err != nil || n != o.want {
				t.Errorf("option %d is %d, want %d: %v", o.name, n, o.want, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}

	client.Write([]byte("ping"))
	b := make([]byte, 8)
	if n, err := c.Read(b); string(b[:n]) != "ping" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
	c.SetReadDeadline(past)
	var ne net.Error
	if _, err := c.Read(b); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("a read beyond its deadline: %v", err)
	} else if _, ok := err.(net.Error); !ok { // as net/http and crypto/tls look at it
		t.Errorf("%T is no net.Error", err)
	}
	c.SetReadDeadline(time.Time{})
	c.Write([]byte("pong"))
	c.CloseWrite()
	if all, err := io.ReadAll(client); string(all) != "pong" || err != nil {
		t.Errorf("the client read %q, %v", all, err)
	}
	client.Close()
	if _, err := c.Read(b); err != io.EOF {
		t.Errorf("a read after the client left: %v", err)
	}
	c.Close()
	if _, err := c.Read(b); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read after Close: %v", err)
	}

	time.AfterFunc(10*time.Millisecond, a.close)
	if _, err := a.accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
}

// An answer that is the last one arrives whole, with the end behind it, whatever else the client has sent.
func TestFast_LastAnswer(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := newAcceptor(ln)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for _, size := range []int{1, 1000, 4 << 20} {
		client, err := net.Dial("tcp4", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := a.accept()
		if err != nil {
			t.Fatal(err)
		}
		client.Write([]byte("too much"))
		go func() {
			socketOf(c).writeLast(make([]byte, size))
		}()
		n, err := io.Copy(io.Discard, client)
		if n != int64(size) || err != nil {
			t.Errorf("%d of %d bytes came: %v", n, size, err)
		}
		client.Close()
		c.Close()
	}
}
