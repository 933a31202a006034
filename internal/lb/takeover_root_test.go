package lb

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/proc"
)

// install puts the program where the pair is started from next, as a new build does.
func (p *pair) install() {
	p.t.Helper()
	from, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		p.t.Fatal(err)
	}
	p.exe = filepath.Join(p.dir, "lotse")
	if err := os.WriteFile(p.exe+".new", data, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.exe+".new", p.exe); err != nil {
		p.t.Fatal(err)
	}
}

// New builds take over one after the other, under load on kept and new connections: no request is lost, also
// when a parent is killed again as soon as it runs.
func TestParent_NewBuildsTakeOverUnderLoad(t *testing.T) {
	for _, engine := range []string{lbconfig.EngineStd, lbconfig.EngineFast} {
		t.Run(engine, func(t *testing.T) {
			t.Setenv("LB_TEST_ENGINE", engine)
			takeOverUnderLoad(t)
		})
	}
}

// A parent that is killed at any step of a take-over by a new build costs nothing: not one connection is refused, and the next
// parent ends what it began.
func TestParent_TakeOverKilledAtEachStep(t *testing.T) {
	p := newPair(t)
	p.stop()
	p.install()
	p.start()
	s := site(8000, backend(t, named("a")))
	s.Groups[0].Health.Enabled = false
	p.put(s)
	l := startLoad(t, local(8000), 8)
	l.progress(100)
	for n, step := range []string{"noted", "renamed", "sockets made", "started", "greeted", "told"} {
		old := p.worker()
		p.killParent()
		p.install()
		p.dies = step
		p.start()
		if p.dies = ""; n%2 == 1 { // and another build is there before the next parent
			p.install()
		}
		time.Sleep(100 * time.Millisecond) // requests go on without a parent
		p.start()
		eventually(t, step+": another worker has the snapshot", func() bool {
			st, err := p.client.Status(t.Context(), 0)
			return err == nil && st.Rev == p.rev && p.worker() != old
		})
		l.progress(100)
		eventually(t, step+": the old workers are gone", func() bool { return proc.Start(old) == 0 && len(retired(p.dir)) == 0 })
		if left, _ := filepath.Glob(filepath.Join(p.dir, leavingSocket+"*")); len(left) > 0 {
			t.Errorf("%s: left over: %v", step, left)
		}
	}
	l.none(700)
}

func takeOverUnderLoad(t *testing.T) {
	p, v := newPair(t), newVPC(t)
	p.stop()
	p.install()
	p.start()
	a, _ := v.task(named("a"))
	b, _ := v.task(named("b"))
	p.put(v.inside(site(8000, a, b)))
	p.wait("tg", a, lbconfig.Healthy)
	p.wait("tg", b, lbconfig.Healthy)
	l := startLoad(t, local(8000), 8)
	l.progress(100)
	const builds = 3
	for n := range builds {
		old := p.worker()
		p.killParent()
		p.install()
		p.start()
		if n == 1 { // in the middle, and what it began another ends
			p.killParent()
			p.start()
		}
		eventually(t, "another worker has the snapshot", func() bool {
			st, err := p.client.Status(t.Context(), 0)
			return err == nil && st.Rev == p.rev && p.worker() != old
		})
		l.progress(200)
		eventually(t, "the old worker is gone", func() bool { return proc.Start(old) == 0 })
	}
	if !proc.Runs(p.worker(), []string{p.exe}) {
		t.Error("the worker is not of the last build")
	}
	l.none(100 + builds*200)

	// What took over has the sockets: its next worker begins with them.
	syscall.Kill(p.worker(), syscall.SIGKILL)
	if resp, _ := raw(t, local(8000), get1("/")); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// What is open when a new build takes over goes on: a tunnel, an upload, a download. The worker that has them ends when
// they do, and at once with its parent when that is told to end.
func TestParent_TakeOverLeavesWhatIsOpen(t *testing.T) {
	p := newPair(t)
	p.stop()
	p.install()
	p.start()
	s := site(8000, backend(t, http.HandlerFunc(echo)))
	s.Groups[0].Health.Enabled = false
	p.put(s)
	tunnel, upload := connect(t), connect(t)
	io.WriteString(tunnel, get1("/", "Connection: Upgrade", "Upgrade: echo"))
	fromTunnel := bufio.NewReader(tunnel)
	if resp, err := http.ReadResponse(fromTunnel, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	io.WriteString(upload, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n")
	fromUpload := bufio.NewReader(upload)
	resp, err := http.ReadResponse(fromUpload, nil)
	if err != nil {
		t.Fatal(err)
	}
	old := p.worker()
	takeOver := func() {
		t.Helper()
		before := p.worker()
		p.killParent()
		p.install()
		p.start()
		eventually(t, "another worker has the snapshot", func() bool {
			st, err := p.client.Status(t.Context(), 0)
			return err == nil && st.Rev == p.rev && p.worker() != before
		})
	}
	takeOver()
	eventually(t, "it is noted", func() bool { return len(retired(p.dir)) == 1 })
	both := func(text string) {
		t.Helper()
		got := make([]byte, len(text))
		io.WriteString(tunnel, text)
		if _, err := io.ReadFull(fromTunnel, got); err != nil || string(got) != text {
			t.Errorf("tunnel: %q, %v", got, err)
		}
		io.WriteString(upload, text)
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != text {
			t.Errorf("upload and download: %q, %v", got, err)
		}
	}
	both("1234")
	second := p.worker()
	takeOver()
	eventually(t, "the worker that has nothing open is gone", func() bool { return proc.Start(second) == 0 })
	both("5678")
	if _, err := resp.Body.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the body: %v", err)
	}
	if list := retired(p.dir); len(list) != 1 || list[0].PID != old {
		t.Errorf("retired: %v, want %d", list, old)
	}
	tunnel.Close()
	upload.Close()
	eventually(t, "the old worker is gone", func() bool { return proc.Start(old) == 0 })

	idle := connect(t)
	io.WriteString(idle, get1("/", "Connection: Upgrade", "Upgrade: echo"))
	if resp, err := http.ReadResponse(bufio.NewReader(idle), nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	last := p.worker()
	takeOver()
	p.stop()
	if proc.Start(last) != 0 {
		t.Error("a retired worker outlives its parent's end")
	}
}

func connect(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", local(8000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// echo sends what it gets, through a tunnel or as a body.
func echo(w http.ResponseWriter, req *http.Request) {
	rc := http.NewResponseController(w)
	if req.Header.Get("Upgrade") != "" {
		c, rw, err := rc.Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(c, rw)
		return
	}
	rc.EnableFullDuplex()
	w.Header().Set("Content-Length", req.Header.Get("Content-Length"))
	rc.Flush()
	buf := make([]byte, 64)
	for {
		n, err := req.Body.Read(buf)
		w.Write(buf[:n])
		rc.Flush()
		if err != nil {
			return
		}
	}
}
