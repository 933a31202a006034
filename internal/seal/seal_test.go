package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func newKey(t *testing.T) *Key {
	t.Helper()
	k, err := Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKey_OpensWhatItSealedForTheRecordAlone(t *testing.T) {
	k := newKey(t)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		record, other := rapid.String().Draw(t, "record"), rapid.String().Draw(t, "other")
		sealed, err := k.Seal(plain, record)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open(sealed, record); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("Open = %q, %v", got, err)
		}
		if _, err := k.Open(sealed, other); other != record && !errors.Is(err, ErrTampered) {
			t.Fatalf("Open for another record: %v", err)
		}
		again, err := k.Seal(plain, record)
		if err != nil || again == sealed {
			t.Fatal("the same value is sealed the same twice")
		}
		if len(plain) > 3 && (strings.Contains(sealed, string(plain)) || strings.Contains(sealed, base64.RawStdEncoding.EncodeToString(plain))) {
			t.Fatal("the plain value shows")
		}
	})
}

// Any change to any character is found.
func TestKey_Tampered(t *testing.T) {
	k := newKey(t)
	rapid.Check(t, func(t *rapid.T) {
		sealed, err := k.Seal(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "plain"), "record")
		if err != nil {
			t.Fatal(err)
		}
		b := []byte(sealed)
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		case 1:
			b = b[:rapid.IntRange(0, len(b)-1).Draw(t, "length")]
		case 2:
			at := rapid.IntRange(0, len(b)).Draw(t, "at")
			b = append(append(append([]byte{}, b[:at]...), rapid.Byte().Draw(t, "more")), b[at:]...)
		}
		if plain, err := k.Open(string(b), "record"); err == nil {
			t.Fatalf("Open(%q) = %q, sealed was %q", b, plain, sealed)
		}
	})
}

func TestKey_Other(t *testing.T) {
	a, b := newKey(t), newKey(t)
	if a.ID() == b.ID() || len(a.ID()) != 8 {
		t.Fatalf("ids %s, %s", a.ID(), b.ID())
	}
	sealed, err := a.Seal([]byte("hunter2"), "r")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(sealed, "r"); !errors.Is(err, ErrOtherKey) || !strings.Contains(err.Error(), a.ID()) {
		t.Errorf("Open with another key: %v", err)
	}
	// Even with the other's id written into it.
	if _, err := b.Open(strings.Replace(sealed, a.ID(), b.ID(), 1), "r"); !errors.Is(err, ErrTampered) {
		t.Errorf("Open with another key under its id: %v", err)
	}
}

func TestOpen_File(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var wg sync.WaitGroup
	keys := make([]*Key, 8)
	for i := range keys {
		wg.Go(func() {
			k, err := Open(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = k
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	sealed, err := keys[0].Seal([]byte("hunter2"), "r")
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		if got, err := k.Open(sealed, "r"); err != nil || string(got) != "hunter2" {
			t.Errorf("key %d of those made at once: %q, %v", i, got, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others may read: %v", err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "holds no key") {
		t.Errorf("an empty file: %v", err)
	}
}
