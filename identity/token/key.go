package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"sync/atomic"
	"time"

	"github.com/genericcorp/corp"
)

// How signing keys follow one another.
const (
	Every  = 30 * 24 * time.Hour // so long a key signs
	Lead   = 24 * time.Hour      // so long it is published before it signs
	Linger = time.Hour           // so long it is published after it signed; longer than a token lives
)

// Key is a pair that signs between two times.
type Key struct {
	ID         corp.SigningKeyID
	Public     ed25519.PublicKey
	Private    ed25519.PrivateKey
	ActiveFrom time.Time
	RetiredAt  time.Time
}

// Window is when a key that is still to be made will sign.
type Window struct{ ActiveFrom, RetiredAt time.Time }

// NewKey draws a key for a window.
func NewKey(w Window) Key {
	public, private, _ := ed25519.GenerateKey(rand.Reader) // crypto/rand never fails
	return Key{ID: corp.NewID[corp.SigningKeyID](), Public: public, Private: private, ActiveFrom: w.ActiveFrom, RetiredAt: w.RetiredAt}
}

// Plan says which keys are to be made, and which to be thrown away, so that one
// signs now and the next is known everywhere before it does.
func Plan(now time.Time, have []Key) (add []Window, drop []corp.SigningKeyID) {
	var last time.Time
	signs := false
	for _, k := range have {
		if k.RetiredAt.Add(Linger).Before(now) {
			drop = append(drop, k.ID)
			continue
		}
		signs = signs || k.signs(now)
		if k.RetiredAt.After(last) {
			last = k.RetiredAt
		}
	}
	if !signs { // the first start, or nobody was here for a month
		w := Window{ActiveFrom: now.Add(-leeway), RetiredAt: now.Add(Every)} // for a server whose clock is behind, too
		add = append(add, w)
		if w.RetiredAt.After(last) {
			last = w.RetiredAt
		}
	}
	if last.Sub(now) < Lead {
		add = append(add, Window{ActiveFrom: last, RetiredAt: last.Add(Every)})
	}
	return add, drop
}

func (k Key) signs(now time.Time) bool { return !now.Before(k.ActiveFrom) && now.Before(k.RetiredAt) }

// Keys is the set that a server knows. It is safe for concurrent use.
type Keys struct{ list atomic.Pointer[[]Key] }

// NewKeys makes a set.
func NewKeys(keys ...Key) *Keys {
	set := &Keys{}
	set.Replace(keys)
	return set
}

// Replace makes keys the whole set from now on.
func (s *Keys) Replace(keys []Key) {
	list := slices.Clone(keys)
	slices.SortFunc(list, func(a, b Key) int { return b.ActiveFrom.Compare(a.ActiveFrom) })
	s.list.Store(&list)
}

// signer returns the newest key that signs now.
func (s *Keys) signer(now time.Time) (Key, bool) {
	for _, k := range *s.list.Load() {
		if k.signs(now) && k.Private != nil {
			return k, true
		}
	}
	return Key{}, false
}

// public returns the key of this name, if it may have signed what is still valid.
func (s *Keys) public(id string, now time.Time) (ed25519.PublicKey, bool) {
	for _, k := range *s.list.Load() {
		if k.ID.String() == id && !now.After(k.RetiredAt.Add(Linger)) {
			return k.Public, true
		}
	}
	return nil, false
}

// JWKS is the document by which others verify our tokens (RFC 7517, RFC 8037).
type JWKS struct {
	Keys []JWK `json:"keys"`
}

// JWK is one public key of it.
type JWK struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
	ID        string `json:"kid"`
	X         string `json:"x"`
}

// Document returns what is published at a time: what signs, signed and will sign.
func (s *Keys) Document(now time.Time) JWKS {
	doc := JWKS{Keys: []JWK{}}
	for _, k := range *s.list.Load() {
		if !now.After(k.RetiredAt.Add(Linger)) {
			doc.Keys = append(doc.Keys, JWK{KeyType: "OKP", Curve: "Ed25519", Algorithm: algorithm, Use: "sig", ID: k.ID.String(), X: base64.RawURLEncoding.EncodeToString(k.Public)})
		}
	}
	return doc
}
