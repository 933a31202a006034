package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// A record is what a running server tells about itself in its data directory, for
// `lotse server stop|status|env`.
type record struct {
	process
	Endpoint  string `json:"endpoint"` // http://127.0.0.1:4566
	Front     string `json:"front"`
	Account   string `json:"account"`
	Region    string `json:"region"`
	Ephemeral bool   `json:"ephemeral"`
}

func readRecord(p Paths) (record, error) {
	var r record
	b, err := os.ReadFile(p.Server())
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

func writeRecord(p Paths, r record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.Server()+".new", append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(p.Server()+".new", p.Server())
}

// lock makes sure that one server at a time works with a data directory. The kernel gives it
// back however the holder ends.
func lock(p Paths) (*os.File, error) {
	f, err := os.OpenFile(p.Lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s; see lotse server status --data-dir %s", errRunning, p.Data, p.Data)
		}
		return nil, err
	}
	return f, nil
}

// noteHolder writes into the lock's file which server holds it. Others who hold it for a moment don't.
func noteHolder(held *os.File) error {
	b, err := json.Marshal(self())
	if err != nil {
		return err
	}
	if err := held.Truncate(0); err != nil {
		return err
	}
	_, err = held.WriteAt(b, 0)
	return err
}

// listen takes a TCP address. One that is taken is an error that names the owner.
func listen(flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		owner := "another process"
		if o := portOwner(address); o != "" {
			owner = o
		}
		return nil, fmt.Errorf("%s %s is taken by %s: stop that, or choose another address with %s", flag, address, owner, flag)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s %s may be bound by root alone: use sudo, or a port from 1024 on", flag, address)
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", flag, address, err)
	}
	return l, nil
}
