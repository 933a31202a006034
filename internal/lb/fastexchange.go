package lb

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

var errAnswer = errors.New("the target's answer is malformed")

// fastExchange is one request and its answer in the hands of the fast engine.
type fastExchange struct {
	exchange
	fc      *fastConn
	head    head
	arrived arrival

	mu       sync.Mutex
	cause    error              // why it was aborted
	target   *targetConn        // that waits must be ended of
	stopDial context.CancelFunc // nil while nothing is dialled

	body     requestBody
	uploaded chan struct{} // closed when the body's copying has ended; nil when there is nothing to copy
	answer   targetAnswer
	begun    bool // something of the answer has gone to the client

	abortFn func(error) // abort
}

var exchangePool = sync.Pool{New: func() any {
	e := &fastExchange{}
	e.abortFn = e.abort
	return e
}}

// recycle gives the exchange, which has ended, back.
func (e *fastExchange) recycle() {
	*e = fastExchange{abortFn: e.abortFn, head: head{fields: e.head.fields[:0]}}
	exchangePool.Put(e)
}

// serve serves the request, whose head has so many bytes.
func (e *fastExchange) serve(end int) sequel {
	fc, h, x := e.fc, &e.head, &e.exchange
	p := fc.engine.proxy
	x.conn, x.arrival, x.cancel = fc.c, &e.arrived, e.abortFn
	x.request = request{major: 1, proto: h.version, method: h.method, host: first(h, "Host"), target: h.target, fields: h}
	e.arrived.received.Store(int64(end))
	e.arrived.invalidName = h.invalidName
	p.begin(x)
	own, err := p.decide(x)
	here := int(min(h.framing.length, int64(fc.w-fc.r-end))) // of the body
	left := h.framing.length - int64(here)
	switch {
	case errors.Is(err, errNotAdmitted), own != nil && left > 0, x.up != nil && x.up.wire.multiplexed:
		e.undo()
		return fc.leave()
	case err != nil:
		p.end(x)
		return hangUp
	}
	x.close = x.close || strings.EqualFold(first(h, "Connection"), "close")
	e.arrived.received.Add(int64(here))
	whole := true
	if own != nil {
		fc.r += end + here
		whole = e.reply(own)
	} else {
		whole = e.forward(end, here, left)
	}
	p.end(x)
	switch {
	case left > 0 && !e.body.done.Load():
		if whole {
			fc.c.linger()
		}
		return hangUp
	case !whole || x.close:
		return hangUp
	}
	if fc.r == fc.w {
		fc.free()
	}
	return goOn
}

// Private

// abort is exchange's cancel: it ends what waits for the target.
func (e *fastExchange) abort(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cause == nil {
		e.cause = cause
	}
	if e.target != nil {
		e.target.SetDeadline(past)
	}
	if e.stopDial != nil {
		e.stopDial()
	}
}

// waitFor has abort end what waits for the connection; nil is none.
func (e *fastExchange) waitFor(t *targetConn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.target = t; t != nil && e.cause != nil {
		t.SetDeadline(past)
	}
}

func (e *fastExchange) aborted() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cause
}

// undo makes as if the request had not been read.
func (e *fastExchange) undo() {
	if m := e.member.Swap(nil); m != nil {
		m.release()
	}
	e.endedAt = e.startedAt
	e.conn.end(&e.exchange)
	e.conn.partial.Store(true)
}

// forward sends the request to the target, and passes the answer on. The head has end bytes, here of the body follow it
// in the buffer, and left are still to come. It is false when the client did not get a whole answer.
func (e *fastExchange) forward(end, here int, left int64) (whole bool) {
	fc := e.fc
	if left+int64(here) > 0 {
		e.body.x = &e.exchange
		e.body.begun.Store(true)
		e.body.done.Store(left == 0)
		e.exchange.body.Store(&e.body)
		if cause := e.aborted(); cause != nil {
			fc.c.abort(&e.exchange, cause) // who aborted before did not know of the body
		}
	}
	e.sentAt = e.now()
	a := &e.answer
	a.e = e
	a.room()
	defer a.vacate()
	head := append(e.requestHead(a.space.out[:0]), fc.buf[fc.r+end:fc.r+end+here]...)
	fc.r += end + here
	if left == 0 && fc.r == fc.w {
		fc.free() // while the target thinks
	}
	t, err := e.deliver(head, a, left == 0)
	if t == nil {
		return e.fail(err)
	}
	a.t = t
	if left > 0 {
		e.uploaded = make(chan struct{})
		go e.upload(t, left)
	}
	if err == nil {
		err = a.readHead()
	}
	if err == nil {
		err = a.pass()
	}
	a.release()
	if err != nil && !e.begun {
		return e.fail(err)
	}
	return err == nil
}

// deliver sends the head, and what of the body is there, over a connection of its own. A target may close a kept
// connection just when it is used again. If not a byte was sent there, it is sent again, whatever the method; if one
// was, the target may have acted on it, and AWS answers 502. When that is the whole request, the answer's beginning may be
// in a. With an error, there is a connection when the head has been sent.
func (e *fastExchange) deliver(head []byte, a *targetAnswer, whole bool) (*targetConn, error) {
	for {
		t, kept, err := e.connect()
		if err != nil {
			return nil, err
		}
		e.waitFor(t)
		n := 0
		switch {
		case whole:
			n, a.w, err = t.ask(head, a, kept)
		case kept && !t.usable():
			err = syscall.EPIPE
		default:
			n, err = t.Write(head)
		}
		if err == nil || n == len(head) {
			return t, err
		}
		e.waitFor(nil)
		t.Close()
		if n > 0 || !kept || e.aborted() != nil {
			return nil, err
		}
	}
}

func (e *fastExchange) connect() (t *targetConn, kept bool, err error) {
	u := e.up
	if t := u.kept.take(); t != nil {
		return t, true, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e.mu.Lock()
	e.stopDial = cancel
	cause := e.cause
	e.mu.Unlock()
	if cause != nil {
		return nil, false, cause
	}
	c, err := u.connect(ctx)
	e.mu.Lock()
	e.stopDial = nil
	e.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	return newTargetConn(c), false, nil
}

// upload copies the rest of the body.
func (e *fastExchange) upload(t *targetConn, left int64) {
	defer close(e.uploaded)
	space := workspaces.Get().(*workspace)
	defer workspaces.Put(space)
	buf := space.in[:]
	for left > 0 {
		n, err := e.fc.read(buf[:min(left, int64(len(buf)))])
		e.arrived.received.Add(int64(n))
		left -= int64(n)
		if n > 0 {
			if _, err := t.Write(buf[:n]); err != nil {
				return // the answer tells why
			}
		}
		if left == 0 {
			e.body.done.Store(true)
		} else if err != nil {
			e.body.broken.Store(true)
			t.SetDeadline(past)
			return
		}
	}
}

// endUpload ends the copying of a body that nobody waits for any more.
func (e *fastExchange) endUpload(t *targetConn) {
	if e.uploaded == nil {
		return
	}
	select {
	case <-e.uploaded:
		return
	default:
	}
	t.SetDeadline(past)
	e.conn.SetReadDeadline(past)
	<-e.uploaded
	e.conn.SetReadDeadline(time.Time{})
}

// fail answers for a target that did not.
func (e *fastExchange) fail(err error) bool {
	cause := e.aborted()
	status := e.failure(cause, err)
	if status == 0 {
		return false
	}
	e.engineLog(status, err)
	e.close = e.close || status == http.StatusBadRequest || cause != nil || e.incomplete()
	return e.reply(errorPage(status))
}

func (e *fastExchange) engineLog(status int, err error) {
	e.fc.engine.proxy.log.Debug("request failed", "target", e.up.host, "status", status, "err", err)
}
