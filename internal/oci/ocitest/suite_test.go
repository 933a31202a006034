package ocitest

import "testing"

func TestDirStore(t *testing.T) {
	TestBlobStore(t, StoreUnderTest{Store: NewDirStore(t.TempDir()), Collected: func() {}})
}

func TestMemoryRecords(t *testing.T) {
	TestRecords(t, func(*testing.T) RecordsUnderTest {
		a, b := "000000000000/us-east-1/a", "000000000000/us-east-1/b/c"
		r := NewRecords(a, b)
		return RecordsUnderTest{Records: r, A: a, B: b, SetImmutable: r.SetImmutable, Drop: r.Drop}
	})
}
