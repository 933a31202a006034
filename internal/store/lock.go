package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFile keeps a second server off the file: wake-ups of Changes stay within the process. The kernel drops the
// lock with the process, however it ends. The file stays: removing it would let two hold "the" lock.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w by another process (flock of %s): stop that server first", ErrLocked, path)
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}
