package test

import (
	"testing"
	"time"
)

// BenchmarkServerStart is from the start of `lotse server run` to the first 200 of its health
// check, which says that tasks can be run and requests be balanced: the first time, with an
// empty data directory and all other processes to be started, and again while those run.
func BenchmarkServerStart(b *testing.B) {
	b.Run("first", func(b *testing.B) {
		var took samples
		for b.Loop() {
			s := benchServer(b)
			began := time.Now()
			if err := s.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			took.add(time.Since(began))
			if err := s.Remove(); err != nil {
				b.Fatal(err)
			}
		}
		took.report(b, "ready", "s")
	})
	b.Run("again", func(b *testing.B) {
		s := benchServer(b)
		if err := s.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		var took samples
		for b.Loop() {
			if err := s.Stop(); err != nil {
				b.Fatal(err)
			}
			began := time.Now()
			if err := s.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			took.add(time.Since(began))
		}
		took.report(b, "ready", "s")
	})
}
