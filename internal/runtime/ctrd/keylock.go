package ctrd

import "sync"

// keyLocks are mutexes by name; the zero value is ready. Not for many names held at once: waiting is in no order.
type keyLocks struct {
	mu sync.Mutex
	m  map[string]*keyLock
}

type keyLock struct {
	sync.Mutex
	users int // holders and waiters
}

// lock waits for the name's lock and returns its unlock.
func (k *keyLocks) lock(name string) (unlock func()) {
	k.mu.Lock()
	l := k.m[name]
	if l == nil {
		if k.m == nil {
			k.m = map[string]*keyLock{}
		}
		l = &keyLock{}
		k.m[name] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.m, name)
		}
	}
}
