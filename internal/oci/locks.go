package oci

import (
	"hash/maphash"
	"sync"
)

// locks keeps the collector out of a repository while content enters it: whoever takes a hold and then
// writes its record reads-locks; the collector, which looks for holds without record, write-locks.
// The number of locks is fixed; two repositories that share one wait for each other now and then.
type locks [64]sync.RWMutex

var seed = maphash.MakeSeed()

func (l *locks) of(repo string) *sync.RWMutex {
	return &l[maphash.String(seed, repo)%uint64(len(l))]
}
