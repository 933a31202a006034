// Package seal keeps secrets encrypted at rest: AES-256-GCM under a key in a file of its own, so that whoever
// reads the database, or a copy of it, reads no secret. It doesn't protect from who reads the key file too.
//
//	k, err := seal.Open("/var/lib/lotse/key")         // makes the file, mode 0600, when there is none
//	sealed, err := k.Seal([]byte("hunter2"), "ssm/…") // the record's key
//	plain, err := k.Open(sealed, "ssm/…")             // an error when either was changed
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// KeySize is a key's length in bytes: AES-256.
const KeySize = 32

// version begins every sealed value; another algorithm gets another one.
const version = "v1"

// ErrOtherKey: the value was sealed with another key than the one at hand.
var ErrOtherKey = errors.New("sealed with another key")

// ErrTampered: the value isn't what Seal returned, or it belongs to another record. Its text never tells the value.
var ErrTampered = errors.New("the sealed value was changed, or belongs to another record")

// A Key seals and opens values. It may be used by many goroutines.
//
// Nonces are random, 96 bits: 2^32 values may be sealed with one key before two nonces meet with a
// probability of 2^-32. Source: NIST SP 800-38D, 8.3.
type Key struct {
	id   string
	aead cipher.AEAD
}

// New makes a Key of KeySize bytes.
func New(key []byte) (*Key, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("a key has %d bytes, not %d", KeySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte("lotse key id\x00"), key...))
	return &Key{id: hex.EncodeToString(sum[:4]), aead: aead}, nil
}

// ID names the key without telling anything of it: 8 hex digits.
func (k *Key) ID() string { return k.id }

// Seal encrypts plain for the record named by record, without which, and without change, Open refuses it. The
// result is text: version, key id, and the nonce with the sealed bytes in base64, joined by dots. It is another one at
// each call.
func (k *Key) Seal(plain []byte, record string) (string, error) {
	nonce := make([]byte, k.aead.NonceSize(), k.aead.NonceSize()+len(plain)+k.aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	sealed := k.aead.Seal(nonce, nonce, plain, k.associated(record))
	return version + "." + k.id + "." + base64.RawStdEncoding.EncodeToString(sealed), nil
}

// Open decrypts what Seal returned for the same record: ErrOtherKey, ErrTampered.
func (k *Key) Open(sealed, record string) ([]byte, error) {
	v, rest, _ := strings.Cut(sealed, ".")
	id, text, ok := strings.Cut(rest, ".")
	if v != version || !ok {
		return nil, ErrTampered
	}
	if id != k.id {
		return nil, fmt.Errorf("%w: the value's key is %q, the one at hand is %s; put the key file of that time back", ErrOtherKey, id, k.id)
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < k.aead.NonceSize() || strings.ContainsAny(text, "\r\n") {
		return nil, ErrTampered
	}
	n := k.aead.NonceSize()
	plain, err := k.aead.Open(nil, b[:n], b[n:], k.associated(record))
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}

// Private

// associated is what is sealed along but not stored: a value can't be moved to another record.
func (k *Key) associated(record string) []byte {
	return []byte(version + "\x00" + k.id + "\x00" + record)
}
