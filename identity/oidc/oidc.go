// Package oidc lets people sign in with an account that they have elsewhere
// (OpenID Connect: authorization code, PKCE, state, nonce).
//
// A person is known by issuer and subject; an address is only passed on when the
// issuer says that it is verified. What belongs to one attempt travels in a
// cookie, sealed, so that only the browser that began can end it, on any server.
//
// It keeps no session and links no account: that is the caller's, as is the HTTP
// client, through which every issuer is asked. It refuses id tokens that are
// signed with a shared secret, and issuers that are not in the configuration.
package oidc

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	upstream "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/seal"
)

// AttemptLife is how long a person has to sign in at the issuer.
const AttemptLife = 10 * time.Minute

// Config is one issuer that people may sign in with.
type Config struct {
	Name         string // in addresses and lists: "google", "okta"
	Issuer       string // URL, exactly as its tokens say it
	ClientID     string
	ClientSecret string
	TrustEmail   bool // its verified addresses join accounts of the same address
}

// Person is who the issuer says somebody is.
type Person struct {
	Issuer     string
	Subject    string
	Email      string // verified, lower case; "" otherwise
	Name       string
	TrustEmail bool
}

// Attempt is what began in a browser and is to end there.
type Attempt struct {
	Provider  string         `json:"p"`
	State     string         `json:"s"`
	Nonce     string         `json:"n"`
	Verifier  string         `json:"v"`
	User      corp.UserID    `json:"u,omitzero"` // who is signed in and links another account
	Session   corp.SessionID `json:"i,omitzero"` // theirs
	ExpiresAt time.Time      `json:"e"`
}

// Party is the side that relies on issuers. It is safe for concurrent use.
type Party struct {
	client   *http.Client
	ring     *seal.Ring
	redirect string
	now      func() time.Time
	names    []string
	issuers  map[string]*issuer
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// New makes a party. Redirect is the address that issuers send browsers back to, each
// of them with its name behind that: so an answer of one is never taken for another's.
// It returns an invalid error for a configuration that cannot work; it asks no
// issuer yet.
func New(client *http.Client, ring *seal.Ring, redirect string, now func() time.Time, configs []Config) (*Party, error) {
	p := &Party{client: client, ring: ring, redirect: redirect, now: now, issuers: map[string]*issuer{}}
	for _, c := range configs {
		const field = "oidc"
		u, err := url.Parse(c.Issuer)
		switch {
		case !nameForm.MatchString(c.Name):
			return nil, corp.Invalid(field, fmt.Sprintf("%q is no name for an issuer.", c.Name), "Use a short one of a-z, 0-9 and dashes.")
		case p.issuers[c.Name] != nil:
			return nil, corp.Invalid(field, fmt.Sprintf("The issuer %q is there twice.", c.Name), "Give each a name of its own.")
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
			return nil, corp.Invalid(field, fmt.Sprintf("The issuer of %q is not an address.", c.Name), "Give what its tokens carry as iss: https://accounts.example.com.")
		case c.ClientID == "":
			return nil, corp.Invalid(field, fmt.Sprintf("The issuer %q has no client id.", c.Name), "Register an application there and take its client id and secret.")
		}
		p.names, p.issuers[c.Name] = append(p.names, c.Name), &issuer{Config: c}
	}
	return p, nil
}

// Names lists the issuers in the order of the configuration.
func (p *Party) Names() []string { return slices.Clone(p.names) }

// Begin returns where to send the browser, and what to give it as a cookie until
// it comes back. User and session are set when somebody who is signed in links
// another account. It returns a not-found error for an unknown name, and an
// unavailable one when the issuer cannot be reached.
func (p *Party) Begin(ctx context.Context, name string, user corp.UserID, session corp.SessionID) (address, cookie string, err error) {
	at, provider, err := p.issuer(ctx, name)
	if err != nil {
		return "", "", err
	}
	a := Attempt{
		Provider: name, State: oauth2.GenerateVerifier(), Nonce: oauth2.GenerateVerifier(), Verifier: oauth2.GenerateVerifier(),
		User: user, Session: session, ExpiresAt: p.now().Add(AttemptLife),
	}
	plain, err := json.Marshal(a)
	if err != nil {
		return "", "", fmt.Errorf("write down a sign-in attempt: %w", err)
	}
	address = p.oauth(at, provider).AuthCodeURL(a.State, upstream.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier))
	return address, base64.RawURLEncoding.EncodeToString(p.ring.Seal(plain, sealedAs)), nil
}

const sealedAs = "oidc attempt"

// Answer is what the browser brings back, and the name in the address that it was sent
// back to.
type Answer struct{ Name, State, Code, Issuer, Error string }

// Finish returns who the issuer says the person is. It returns an unauthenticated
// error for anything that did not begin in this browser within AttemptLife, and
// whenever the issuer's word does not hold.
func (p *Party) Finish(ctx context.Context, cookie string, got Answer) (Person, Attempt, error) {
	a, err := p.open(cookie)
	if err != nil {
		return Person{}, a, err
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(a.State), []byte(got.State)) != 1:
		return Person{}, a, refused(errors.New("the state is another"))
	case got.Name != a.Provider: // RFC 9700, 2.1 and 4.4
		return Person{}, a, refused(fmt.Errorf("the answer is for %q", got.Name))
	}
	at, provider, err := p.issuer(ctx, a.Provider)
	if err != nil {
		return Person{}, a, err
	}
	if got.Issuer != at.Issuer && (got.Issuer != "" || at.says) { // RFC 9207
		return Person{}, a, refused(fmt.Errorf("the answer comes from %q", got.Issuer))
	}
	if got.Error != "" || got.Code == "" {
		return Person{}, a, &corp.Error{Kind: corp.KindUnauthenticated, Code: "sign_in_denied", Message: "The sign-in was not completed there.", Hint: "Try again, or sign in with your password."}
	}
	ctx = upstream.ClientContext(ctx, p.client)
	tokens, err := p.oauth(at, provider).Exchange(ctx, got.Code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return Person{}, a, asked(err)
	}
	person, err := p.read(ctx, at, provider, tokens, a.Nonce)
	return person, a, err
}

// claims is what is read of an id token, or of what the issuer tells besides.
type claims struct {
	Subject  string `json:"sub"`
	Email    string `json:"email"`
	Verified truth  `json:"email_verified"`
	Name     string `json:"name"`
	Party    string `json:"azp"`
}

// truth is true, or "true" as some issuers write it; anything else is not.
type truth bool

// UnmarshalJSON takes what it does not know for false.
func (t *truth) UnmarshalJSON(b []byte) error {
	*t = string(b) == "true" || string(b) == `"true"`
	return nil
}

func (p *Party) read(ctx context.Context, at *issuer, provider *upstream.Provider, tokens *oauth2.Token, nonce string) (Person, error) {
	raw, _ := tokens.Extra("id_token").(string)
	verifier := provider.VerifierContext(ctx, &upstream.Config{ClientID: at.ClientID, SupportedSigningAlgs: asymmetric, Now: p.now})
	id, err := verifier.Verify(ctx, raw)
	if err != nil {
		return Person{}, refused(err)
	}
	var c claims
	if err := id.Claims(&c); err != nil {
		return Person{}, refused(err)
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1:
		return Person{}, refused(errors.New("the nonce is another"))
	case id.Subject == "" || len(id.Subject) > 255:
		return Person{}, refused(errors.New("there is no subject"))
	case c.Party != "" && c.Party != at.ClientID, len(id.Audience) > 1 && c.Party == "":
		return Person{}, refused(errors.New("the token was made for another party"))
	}
	if c.Email == "" && provider.UserInfoEndpoint() != "" {
		if c, err = more(ctx, provider, tokens, c); err != nil {
			return Person{}, err
		}
	}
	found := Person{Issuer: at.Issuer, Subject: id.Subject, Name: c.Name, TrustEmail: at.TrustEmail}
	if c.Verified {
		found.Email = strings.ToLower(strings.TrimSpace(c.Email))
	}
	return found, nil
}

// more asks the issuer for what its token does not say.
func more(ctx context.Context, provider *upstream.Provider, tokens *oauth2.Token, c claims) (claims, error) {
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return c, asked(err)
	}
	var told claims
	if err := info.Claims(&told); err != nil || told.Subject != c.Subject {
		return c, refused(errors.New("the issuer tells of somebody else"))
	}
	told.Party = c.Party
	return told, nil
}

// asymmetric is what an id token may be signed with: never the client's secret.
var asymmetric = []string{upstream.RS256, upstream.RS384, upstream.RS512, upstream.ES256, upstream.ES384, upstream.ES512, upstream.PS256, upstream.PS384, upstream.PS512, upstream.EdDSA}

func (p *Party) open(cookie string) (a Attempt, err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		return a, refused(err)
	}
	plain, err := p.ring.Open(sealed, sealedAs)
	if err != nil {
		return a, refused(err)
	}
	if err := json.Unmarshal(plain, &a); err != nil {
		return a, refused(err)
	}
	if p.now().After(a.ExpiresAt) {
		return a, refused(errors.New("the attempt is too old"))
	}
	return a, nil
}

func (p *Party) oauth(at *issuer, provider *upstream.Provider) *oauth2.Config {
	return &oauth2.Config{ClientID: at.ClientID, ClientSecret: at.ClientSecret, Endpoint: provider.Endpoint(), RedirectURL: p.redirect + "/" + at.Name, Scopes: []string{upstream.ScopeOpenID, "email", "profile"}}
}

// asked is what failed at the issuer: it is away, or it does not agree.
func asked(err error) error {
	if no, ok := errors.AsType[*oauth2.RetrieveError](err); ok && no.Response.StatusCode < http.StatusInternalServerError {
		return refused(err)
	}
	return &corp.Error{Kind: corp.KindUnavailable, Code: "issuer_unavailable", Message: "The place where you sign in does not answer.", Hint: "Try again in a minute, or sign in with your password.", Err: err}
}

func refused(err error) error {
	return &corp.Error{Kind: corp.KindUnauthenticated, Code: "sign_in_failed", Message: "This sign-in does not hold.", Hint: "Begin again in the same browser, and finish within ten minutes.", Err: err}
}
