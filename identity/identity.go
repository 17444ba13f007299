// Package identity is how people come in, prove who they are, and leave: accounts,
// passwords, second factors, sessions, devices, sign-in elsewhere.
//
// Every flow asks the back-off before it computes a hash, and does for an unknown
// address the same things in the same order as for a known one. Secrets are made
// here, handed out once, and kept as keyed hashes; everything that is used up is
// used up in the transaction that it allows (package postgres/people).
//
// It decides who somebody is and never what they may do: roles are read where they
// can be taken away. It sends no mail itself and reads no request.
package identity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/mail"
	"net/netip"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/oidc"
	"github.com/genericcorp/corp/identity/password"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/seal"
)

// How long things last.
const (
	verifyLasts  = 24 * time.Hour
	changeLasts  = 24 * time.Hour
	resetLasts   = 30 * time.Minute
	deviceLasts  = 10 * time.Minute
	browserIdle  = 12 * time.Hour
	browserLasts = 7 * 24 * time.Hour
	cliIdle      = 7 * 24 * time.Hour
	cliLasts     = 30 * 24 * time.Hour
	refreshGrace = 10 * time.Second
	proofLasts   = 10 * time.Minute   // of a proof, for what is worth stealing a session for
	DeleteGrace  = 7 * 24 * time.Hour // in which signing in takes a deletion back
)

// Mailer sends letters; it returns when a letter is safe, not when it has arrived.
type Mailer interface {
	Send(ctx context.Context, to, subject, text string) error
}

// Config is what the flows are built from. Everything is needed but Elsewhere
// and Issuer.
type Config struct {
	People    *people.Store
	Ring      *seal.Ring
	Hasher    *password.Hasher
	Backoff   limit.Backoff
	Limits    limit.Store
	Mailer    Mailer
	Elsewhere *oidc.Party      // nil: nobody signs in elsewhere
	SignUp    bool             // everybody may make an account; else only who is invited
	PublicURL string           // what links begin with: "https://corp.example.com"
	Issuer    string           // whom access tokens say they are from, the same at every server; empty: PublicURL
	Now       func() time.Time // of one-time codes and tokens; everything else goes by the database's clock
	Logger    *slog.Logger
}

// Flows is all of it. It is safe for concurrent use.
type Flows struct {
	Config

	keys   *token.Keys
	tokens *token.Tokens

	keysChanged chan struct{}
}

// New builds the flows. LoadKeys must have been called once before a command line
// can sign in. It returns an error when a part is missing.
func New(c Config) (*Flows, error) {
	if c.People == nil || c.Ring == nil || c.Hasher == nil || c.Backoff == nil || c.Limits == nil || c.Mailer == nil || c.PublicURL == "" || c.Now == nil || c.Logger == nil {
		return nil, errors.New("build the identity flows: a part is missing in their configuration")
	}
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	c.Issuer = cmp.Or(c.Issuer, c.PublicURL)
	f := &Flows{Config: c, keys: token.NewKeys(), keysChanged: make(chan struct{}, 1)}
	f.tokens = token.New(c.Issuer, f.keys, c.Now)
	return f, nil
}

// Caller is where a request comes from.
type Caller struct {
	Address   netip.Addr
	UserAgent string
	Note      string // that a browser keeps, as SignedIn gave it; "" for none
}

func (c Caller) address() string {
	if !c.Address.IsValid() {
		return ""
	}
	return c.Address.Unmap().String()
}

const maxUserAgent = 200 // bytes of it that are kept

func (c Caller) userAgent() string {
	kept := strings.ToValidUTF8(strings.Map(printable, c.UserAgent), "")
	for len(kept) > maxUserAgent {
		kept = strings.ToValidUTF8(kept[:maxUserAgent], "")
	}
	return kept
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return -1
	}
	return r
}

// ReadEmail returns the one spelling of an address that accounts are known by. What
// could not sign in is an invalid error about email.
func ReadEmail(given string) (string, error) {
	email := strings.ToLower(strings.TrimSpace(given))
	parsed, err := mail.ParseAddress(email)
	_, domain, _ := strings.Cut(email, "@")
	ascii := strings.IndexFunc(email, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
	if err != nil || parsed.Address != email || len(email) > 254 || !ascii || strings.ContainsAny(domain, `"[]()`) {
		return "", corp.Invalid("email", "That is not an e-mail address.", "Give one like ada@example.com; letters of other scripts are not supported in it.")
	}
	return email, nil
}

const maxName = 80 // characters

func readName(given string) (string, error) {
	name := strings.TrimSpace(given)
	if name == "" || len([]rune(name)) > maxName || strings.Map(printable, name) != name {
		return "", corp.Invalid("name", "A name has 1 to 80 characters, on one line.", "Give the name that colleagues know you by.")
	}
	return name, nil
}

// digest is what an address is called in keys of limits, which others may read.
func (f *Flows) digest(email string) string {
	sum := sha256.Sum256(f.Ring.Hash("account " + email))
	return hex.EncodeToString(sum[:12])
}
