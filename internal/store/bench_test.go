package store

import (
	"fmt"
	"testing"
)

// BenchmarkPut measures a whole Update with one Put, most of it the fsync.
func BenchmarkPut(b *testing.B) {
	db := openTest(b, Options{})
	for i := 0; b.Loop(); i++ {
		put(b, db, fmt.Sprint("k/", i%1000), i+1)
	}
}

func BenchmarkPut_100PerUpdate(b *testing.B) {
	db := openTest(b, Options{})
	n := 0
	for b.Loop() {
		err := db.Update(b.Context(), func(tx *WriteTx) error {
			for range 100 {
				n++
				o, _ := cities.Get(tx, fmt.Sprint("k/", n%1000))
				o.Val.Size = n
				if err := cities.Put(tx, &o); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	db := openTest(b, Options{})
	for i := range 100 {
		put(b, db, fmt.Sprint("k/", i), i+1)
	}
	for i := 0; b.Loop(); i++ {
		if _, err := get(b, db, fmt.Sprint("k/", i%100)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList_100(b *testing.B) {
	db := openTest(b, Options{})
	for i := range 100 {
		put(b, db, fmt.Sprint("k/", i), i+1)
	}
	for b.Loop() {
		if got := len(list(b, db, "k/")); got != 100 {
			b.Fatal(got)
		}
	}
}
