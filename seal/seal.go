// Package seal keeps the installation's secrets: it encrypts what must be read
// again (vendor keys, git credentials) and hashes what must only be recognised
// (API keys, run keys, lease secrets).
//
// Everything derives from one secret of 32 random bytes in a file that only its
// owner may read. A sealed value is bound to the place it was made for, so a row
// copied to another workspace or object does not open. Package seal stores
// nothing but that file, and never logs or returns the secret.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
)

// SecretSize is the length of an installation's secret, in bytes.
const SecretSize = 32

// version is the first byte of a sealed value: which keys and cipher made it.
const version = 1

// ErrOpen says that a sealed value was not made by this installation for this
// place, or was changed since.
var ErrOpen = errors.New("a sealed value does not open: it was made with another secret file, for another object, or it was changed")

// Ring seals, opens and hashes with keys derived from one secret. It is safe for
// concurrent use.
type Ring struct {
	aead cipher.AEAD
	macs sync.Pool // of hash.Hash, keyed: every request takes several
	keys []byte    // what signing keys are derived from
	seed []byte    // what other credentials are derived from
}

// New makes a ring from a secret of SecretSize bytes. The same secret makes the
// same ring.
func New(secret []byte) (*Ring, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("the installation's secret has %d bytes, want %d", len(secret), SecretSize)
	}
	sealing, err := hkdf.Key(sha256.New, secret, nil, "corp seal v1", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	mac, err := hkdf.Key(sha256.New, secret, nil, "corp hash v1", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the hashing key: %w", err)
	}
	seed, err := hkdf.Key(sha256.New, secret, nil, "corp derive v1", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the deriving key: %w", err)
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return nil, fmt.Errorf("make the cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make the cipher: %w", err)
	}
	keys, err := hkdf.Key(sha256.New, secret, nil, "corp keys v1", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the signing keys: %w", err)
	}
	return &Ring{aead: aead, macs: sync.Pool{New: func() any { return hmac.New(sha256.New, mac) }}, keys: keys, seed: seed}, nil
}

// SigningKey returns the installation's Ed25519 key for one use, which the label
// names. The same secret makes the same key. Its public half may be shown; it
// says nothing about other keys.
func (r *Ring) SigningKey(label string) (ed25519.PrivateKey, error) {
	seed, err := hkdf.Expand(sha256.New, r.keys, "corp ed25519 v1 "+label, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive the signing key %s: %w", label, err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// Seal encrypts plain for one place, which context names: workspace, kind and
// object id. Two seals of the same value differ.
func (r *Ring) Seal(plain []byte, context ...string) []byte {
	sealed := make([]byte, 1+r.aead.NonceSize(), 1+r.aead.NonceSize()+len(plain)+r.aead.Overhead())
	sealed[0] = version
	_, _ = rand.Read(sealed[1:])                                  // crypto/rand.Read never fails
	return r.aead.Seal(sealed, sealed[1:], plain, bound(context)) //nolint:gosec // G407: the nonce is random, made two lines above
}

// Open decrypts what Seal made with the same context. It returns ErrOpen for
// anything else.
func (r *Ring) Open(sealed []byte, context ...string) ([]byte, error) {
	head := 1 + r.aead.NonceSize()
	if len(sealed) < head || sealed[0] != version {
		return nil, ErrOpen
	}
	plain, err := r.aead.Open(nil, sealed[1:head], sealed[head:], bound(context))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// Hash returns 32 bytes by which a credential is stored and looked up. Without
// the secret file nobody can compute or check one.
func (r *Ring) Hash(secret string) []byte {
	mac := r.macs.Get().(hash.Hash)
	defer r.macs.Put(mac)
	mac.Reset() // it is another secret's
	mac.Write([]byte(secret))
	return mac.Sum(nil)
}

// Derive returns 32 bytes that follow from a secret, for one purpose: always the
// same, and only with the secret file. They are no hash by which anything is
// stored, so what the database holds does not give them away.
func (r *Ring) Derive(purpose, secret string) (seed [32]byte) {
	mac := hmac.New(sha256.New, r.seed)
	mac.Write(bound([]string{purpose, secret}))
	mac.Sum(seed[:0])
	return seed
}

// bound joins the context so that no two lists of strings look the same.
func bound(context []string) []byte {
	out := []byte{version}
	for _, s := range context {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	return out
}
