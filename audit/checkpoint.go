package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"time"

	"github.com/genericcorp/corp"
)

var errDigits = errors.New("a hash is 64 hexadecimal digits")

// Checkpoint is a signed statement of how a chain looked: so many events, the
// last with this hash. Kept elsewhere, it shows when the chain is cut or made anew.
type Checkpoint struct {
	WorkspaceID corp.WorkspaceID `json:"workspace_id,omitzero"` // left out: the installation's
	Seq         int64            `json:"seq"`
	Hash        Hash             `json:"hash"`
	At          time.Time        `json:"at"`     // to the microsecond, UTC
	KeyID       string           `json:"key_id"` // see KeyID
	Signature   []byte           `json:"signature"`
}

// message is what is signed.
func (c Checkpoint) message() []byte {
	var p parts
	p.text(labelCheckpoint)
	p.add(c.WorkspaceID[:])
	p.number(c.Seq)
	p.add(c.Hash[:])
	p.number(c.At.UnixMicro())
	p.text(c.KeyID)
	return p
}

// KeyLabel names the use of the installation's secret that the signing key is derived for.
const KeyLabel = "audit"

// Signer signs checkpoints. It is safe for concurrent use.
type Signer struct {
	key ed25519.PrivateKey
	id  string
}

// NewSigner makes a signer from the installation's key.
func NewSigner(key ed25519.PrivateKey) *Signer {
	return &Signer{key, KeyID(publicOf(key))}
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey {
	return ed25519.PublicKey(key[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
}

// Public returns the key that verifies what the signer signs.
func (s *Signer) Public() ed25519.PublicKey { return publicOf(s.key) }

// Sign makes a checkpoint of a chain whose event seq has the hash.
func (s *Signer) Sign(ws corp.WorkspaceID, seq int64, hash Hash, at time.Time) Checkpoint {
	c := Checkpoint{WorkspaceID: ws, Seq: seq, Hash: hash, At: exact(at), KeyID: s.id}
	c.Signature = ed25519.Sign(s.key, c.message())
	return c
}

// KeyID names a public key: the first 16 hexadecimal digits of its SHA-256.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// PublicKeyText writes a public key for people: base64, 44 characters.
func PublicKeyText(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(key) }

// ParsePublicKey reads what PublicKeyText wrote, or returns an invalid error.
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, corp.Invalid("public_key", "That is not a public key.", "It is 44 characters of base64, as corp audit checkpoint shows it.")
	}
	return key, nil
}

// exact is a time as it is counted here.
func exact(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// signedBy says whether one of the keys made the checkpoint; known is false when
// none of them has its id.
func (c Checkpoint) signedBy(keys []ed25519.PublicKey) (known, valid bool) {
	for _, k := range keys {
		if len(k) == ed25519.PublicKeySize && KeyID(k) == c.KeyID {
			return true, ed25519.Verify(k, c.message(), c.Signature)
		}
	}
	return false, false
}
