// Package token issues and verifies access tokens: JWTs (RFC 9068) that say who
// somebody is and which session they come from, for ten minutes, and never what
// they may do.
//
// There is one algorithm, Ed25519, and one set of keys, our own, found by kid.
// What else a header offers (other algorithms, keys, places to fetch keys from)
// is not looked at. Keys follow one another so that each is published before it
// signs; making, storing and sealing them is the caller's.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/genericcorp/corp"
)

// Life is how long an access token is valid.
const Life = 10 * time.Minute

const (
	algorithm = "EdDSA"
	alias     = "Ed25519" // its name by RFC 9864
	kind      = "at+jwt"
	audience  = "corp"
	leeway    = time.Minute // by which servers' clocks may differ
	maxLength = 4096

	cacheFor  = time.Minute // at most: what a hit is worth, against a key that was thrown away
	cacheSize = 20_000
)

func init() {
	jwt.RegisterSigningMethod(alias, func() jwt.SigningMethod { return jwt.SigningMethodEdDSA })
}

// Claims is what a token says.
type Claims struct {
	User      corp.UserID
	Session   corp.SessionID
	Workspace corp.WorkspaceID // the one that the session works in; zero for none
	ID        string           // of the token
	ExpiresAt time.Time
}

// Tokens issues and verifies. It is safe for concurrent use.
type Tokens struct {
	issuer string
	keys   *Keys
	now    func() time.Time
	parser *jwt.Parser

	mu    sync.Mutex
	known map[[sha256.Size]byte]verified
}

type verified struct {
	claims Claims
	set    *[]Key // which keys it was verified with
	until  time.Time
}

// New makes an issuer and verifier of tokens that carry the issuer's name: that of
// the installation, not of one of its servers. Now is the clock.
func New(issuer string, keys *Keys, now func() time.Time) *Tokens {
	return &Tokens{
		issuer: issuer, keys: keys, now: now, known: map[[sha256.Size]byte]verified{},
		parser: jwt.NewParser(jwt.WithValidMethods([]string{algorithm}), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
			jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(now), jwt.WithStrictDecoding()),
	}
}

type payload struct {
	jwt.RegisteredClaims

	Session   corp.SessionID   `json:"sid"`
	Workspace corp.WorkspaceID `json:"ws,omitzero"`
}

// Issue signs a token; its ID and time are set here. The error says that no key
// signs now: the set is empty or old.
func (t *Tokens) Issue(c Claims) (text string, issued Claims, err error) {
	now := t.now().UTC().Truncate(time.Second)
	key, ok := t.keys.signer(now)
	if !ok {
		return "", Claims{}, errors.New("no signing key is active")
	}
	c.ID, c.ExpiresAt = rand.Text(), now.Add(Life)
	unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, payload{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: t.issuer, Audience: jwt.ClaimStrings{audience}, Subject: c.User.String(), ID: c.ID,
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(c.ExpiresAt),
		},
		Session: c.Session, Workspace: c.Workspace,
	})
	unsigned.Header["typ"], unsigned.Header["kid"] = kind, key.ID.String()
	text, err = unsigned.SignedString(key.Private)
	if err != nil {
		return "", Claims{}, fmt.Errorf("sign an access token: %w", err)
	}
	return text, c, nil
}

// Verify returns what a token says, when it is one of ours and valid now. It
// returns an unauthenticated error otherwise; the code of one whose time is over is
// "token_expired".
func (t *Tokens) Verify(text string) (Claims, error) {
	if len(text) > maxLength {
		return Claims{}, refused(nil)
	}
	set, name := t.keys.list.Load(), sha256.Sum256([]byte(text))
	if c, ok := t.cached(name, set); ok {
		return c, nil
	}
	var p payload
	_, err := t.parser.ParseWithClaims(text, &p, t.choose)
	if err != nil {
		return Claims{}, refused(err)
	}
	user, err := corp.ParseID[corp.UserID](p.Subject)
	if err != nil || p.Session.IsZero() || p.ID == "" {
		return Claims{}, refused(err)
	}
	c := Claims{User: user, Session: p.Session, Workspace: p.Workspace, ID: p.ID, ExpiresAt: p.ExpiresAt.UTC()}
	t.remember(name, verified{c, set, earlier(t.now().Add(cacheFor), c.ExpiresAt.Add(leeway))})
	return c, nil
}

// choose returns the key to verify a token with: ours, by its name, and of the
// header nothing else. What the parser refuses already is not asked again.
func (t *Tokens) choose(unverified *jwt.Token) (any, error) {
	if unverified.Header["typ"] != kind {
		return nil, errors.New("the token is of another type")
	}
	if _, critical := unverified.Header["crit"]; critical {
		return nil, errors.New("the token demands what is not supported")
	}
	id, _ := unverified.Header["kid"].(string)
	if key, ok := t.keys.public(id, t.now()); ok {
		return key, nil
	}
	return nil, errors.New("the token names a signing key that is not known here")
}

func refused(err error) error {
	if errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return &corp.Error{Kind: corp.KindUnauthenticated, Code: "token_expired", Message: "This access token has expired.", Hint: "Exchange the refresh credential for another.", Err: err}
	}
	return &corp.Error{Kind: corp.KindUnauthenticated, Code: "token_invalid", Message: "This access token is not valid.", Hint: "Sign in again: corp login.", Err: err}
}

func (t *Tokens) cached(name [sha256.Size]byte, set *[]Key) (Claims, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.known[name]
	return v.claims, ok && v.set == set && t.now().Before(v.until)
}

// remember keeps the memory bounded: only tokens with a good signature get here.
func (t *Tokens) remember(name [sha256.Size]byte, v verified) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= cacheSize {
		now := t.now()
		for n, old := range t.known {
			if !now.Before(old.until) {
				delete(t.known, n)
			}
		}
		if len(t.known) >= cacheSize {
			clear(t.known)
		}
	}
	t.known[name] = v
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
