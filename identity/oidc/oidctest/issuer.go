// Package oidctest is an issuer of OpenID Connect for tests: a whole one, over
// HTTP, that says of anybody what the test wants, and may be made to lie.
//
// It signs whoever comes in as its Person, without asking. Nothing but tests may
// import it; the architecture test sees to that.
package oidctest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The one client that it knows.
const (
	ClientID     = "corp-test"
	ClientSecret = "not-a-secret"
)

const keyID = "one"

// Issuer is an http.Handler. Its address is set before it is used.
type Issuer struct {
	Address string

	mu     sync.Mutex
	key    *rsa.PrivateKey
	mux    *http.ServeMux
	person map[string]any
	forge  func(claims jwt.MapClaims) (jwt.SigningMethod, any)
	codes  map[string]grant
	access string         // the newest access token
	told   map[string]any // what it says besides the id token; nil: the person
}

type grant struct{ nonce, challenge, redirect string }

// New makes an issuer.
func New() *Issuer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	i := &Issuer{key: key, mux: http.NewServeMux(), codes: map[string]grant{}}
	i.mux.HandleFunc("GET /.well-known/openid-configuration", i.discover)
	i.mux.HandleFunc("GET /keys", i.keys)
	i.mux.HandleFunc("GET /authorize", i.authorize)
	i.mux.HandleFunc("POST /token", i.token)
	i.mux.HandleFunc("GET /userinfo", i.userInfo)
	return i
}

// ServeHTTP answers as the issuer.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.mux.ServeHTTP(w, r) }

// Become sets what is said of whoever signs in next: sub, email, email_verified,
// name and whatever else. Until then everybody is somebody new.
func (i *Issuer) Become(person map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.person, i.forge, i.told = person, nil, nil
}

// Tell sets what is said of whoever signs in to who asks for more than the id token
// has; until then that is the person.
func (i *Issuer) Tell(person map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.told = person
}

// Lie lets a test change the claims of the next id tokens, and choose what they
// are signed with; nil is the issuer's own key.
func (i *Issuer) Lie(forge func(claims jwt.MapClaims) (jwt.SigningMethod, any)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.forge = forge
}

// PublicKey returns its key as it is published.
func (i *Issuer) PublicKey() *rsa.PublicKey { return &i.key.PublicKey }

func (i *Issuer) discover(w http.ResponseWriter, _ *http.Request) {
	say(w, http.StatusOK, map[string]any{
		"issuer": i.Address, "authorization_endpoint": i.Address + "/authorize", "token_endpoint": i.Address + "/token", "jwks_uri": i.Address + "/keys", "userinfo_endpoint": i.Address + "/userinfo",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"}, "code_challenge_methods_supported": []string{"S256"},
	})
}

func (i *Issuer) keys(w http.ResponseWriter, _ *http.Request) {
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	say(w, http.StatusOK, map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": keyID, "n": number(i.key.N), "e": number(big.NewInt(int64(i.key.E))),
	}}})
}

func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" {
		http.Error(w, "no such request", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	i.mu.Lock()
	i.codes[code] = grant{nonce: q.Get("nonce"), challenge: q.Get("code_challenge"), redirect: q.Get("redirect_uri")}
	i.mu.Unlock()
	answer := back.Query()
	answer.Set("code", code)
	answer.Set("state", q.Get("state"))
	answer.Set("iss", i.Address)
	back.RawQuery = answer.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound) //nolint:gosec // G710: a test's issuer, and a registered client
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	g, known := i.codes[r.PostFormValue("code")]
	delete(i.codes, r.PostFormValue("code")) // once
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !known || id != ClientID || secret != ClientSecret || g.redirect != r.PostFormValue("redirect_uri") || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge {
		say(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	now := time.Now()
	claims := jwt.MapClaims{"iss": i.Address, "aud": ClientID, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "nonce": g.nonce}
	if i.person == nil {
		sub := strings.ToLower(rand.Text())
		maps.Copy(claims, jwt.MapClaims{"sub": sub, "email": sub + "@example.com", "email_verified": true, "name": "Somebody New"})
	}
	maps.Copy(claims, i.person)
	var method jwt.SigningMethod
	var key any
	if i.forge != nil {
		method, key = i.forge(claims)
	}
	if method == nil {
		method, key = jwt.SigningMethodRS256, i.key
	}
	unsigned := jwt.NewWithClaims(method, claims)
	unsigned.Header["kid"] = keyID
	signed, err := unsigned.SignedString(key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	i.access = rand.Text()
	say(w, http.StatusOK, map[string]any{"access_token": i.access, "token_type": "Bearer", "expires_in": 3600, "id_token": signed})
}

func (i *Issuer) userInfo(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.access == "" || r.Header.Get("Authorization") != "Bearer "+i.access {
		say(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		return
	}
	if i.told != nil {
		say(w, http.StatusOK, i.told)
		return
	}
	say(w, http.StatusOK, i.person)
}

func say(w http.ResponseWriter, status int, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(what) // the client may be gone
}
