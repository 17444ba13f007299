package token_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/stage"
)

const issuer = "https://corp.example.com"

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// house is one issuer with one active key and a clock of its own.
type house struct {
	*token.Tokens
	keys *token.Keys
	key  token.Key
	*stage.Clock
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{Clock: stage.NewClock(start), key: token.NewKey(token.Window{ActiveFrom: start.Add(-time.Hour), RetiredAt: start.Add(token.Every)})}
	h.keys = token.NewKeys(h.key)
	h.Tokens = token.New(issuer, h.keys, h.Now)
	return h
}

func someone() token.Claims {
	return token.Claims{User: corp.NewID[corp.UserID](), Session: corp.NewID[corp.SessionID](), Workspace: corp.NewID[corp.WorkspaceID]()}
}

// claims is what an access token of someone holds, to be changed by an attack.
func claims(c token.Claims) jwt.MapClaims {
	return jwt.MapClaims{
		"iss": issuer, "aud": "corp", "sub": c.User.String(), "sid": c.Session.String(), "ws": c.Workspace.String(), "jti": "x",
		"iat": start.Unix(), "nbf": start.Unix(), "exp": start.Add(token.Life).Unix(),
	}
}

func forge(t *testing.T, method jwt.SigningMethod, header map[string]any, c jwt.MapClaims, key any) string {
	t.Helper()
	forged := jwt.NewWithClaims(method, c)
	for name, value := range header {
		if value == nil {
			delete(forged.Header, name)
			continue
		}
		forged.Header[name] = value
	}
	text, err := forged.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestATokenSaysWhoItWasIssuedTo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, want := range []token.Claims{someone(), {User: corp.NewID[corp.UserID](), Session: corp.NewID[corp.SessionID]()}} {
		text, issued, err := h.Issue(want)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second comes from memory
			got, err := h.Verify(text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(issued, got); diff != "" {
				t.Error(diff)
			}
		}
		if issued.ExpiresAt != start.Add(token.Life) || issued.ID == "" {
			t.Errorf("%+v", issued)
		}
		body, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
		if err != nil || strings.Contains(string(body), "role") {
			t.Errorf("the token says %s (%v)", body, err)
		}
	}
}

// Attack cases 8, 9 and 10. Control: the same token, rightly signed, is accepted.
func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	who, kid := someone(), h.key.ID.String()
	at := map[string]any{"typ": "at+jwt", "kid": kid}
	mallory := token.NewKey(token.Window{ActiveFrom: start, RetiredAt: start.Add(time.Hour)})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	jwk := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(mallory.Public)}
	with := func(name string, value any) jwt.MapClaims {
		c := claims(who)
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	head := func(name string, value any) map[string]any {
		return map[string]any{"typ": "at+jwt", "kid": kid, name: value}
	}
	ed, mine := jwt.SigningMethodEdDSA, h.key.Private
	good := forge(t, ed, at, claims(who), mine)
	if got, err := h.Verify(good); err != nil || got.User != who.User {
		t.Fatalf("the control is refused: %v", err)
	}
	if _, err := h.Verify(forge(t, ed, head("alg", "Ed25519"), claims(who), mine)); err != nil {
		t.Errorf("the algorithm by its newer name is refused: %v", err)
	}
	parts := strings.Split(good, ".")
	for name, text := range map[string]string{
		"empty": "", "no jwt": "gc_live_x", "two parts": parts[0] + "." + parts[1], "four parts": good + ".x", "long": good + strings.Repeat("A", 1<<16),
		"alg none":                    forge(t, jwt.SigningMethodNone, at, claims(who), jwt.UnsafeAllowNoneSignatureType),
		"alg None":                    forge(t, jwt.SigningMethodNone, head("alg", "None"), claims(who), jwt.UnsafeAllowNoneSignatureType),
		"no signature":                parts[0] + "." + parts[1] + ".",
		"HS256 with the public key":   forge(t, jwt.SigningMethodHS256, at, claims(who), []byte(h.key.Public)),
		"HS256 named EdDSA":           forge(t, jwt.SigningMethodHS256, head("alg", "EdDSA"), claims(who), []byte(h.key.Public)),
		"RS256 with our kid":          forge(t, jwt.SigningMethodRS256, at, claims(who), rsaKey),
		"another's key with our kid":  forge(t, ed, at, claims(who), mallory.Private),
		"another's kid":               forge(t, ed, head("kid", mallory.ID.String()), claims(who), mallory.Private),
		"no kid":                      forge(t, ed, head("kid", nil), claims(who), mine),
		"kid is a path":               forge(t, ed, head("kid", "../../etc/passwd"), claims(who), mine),
		"kid is a list":               forge(t, ed, head("kid", []string{kid}), claims(who), mine),
		"a key in the header":         forge(t, ed, head("jwk", jwk), claims(who), mallory.Private),
		"a set of keys elsewhere":     forge(t, ed, head("jku", "http://127.0.0.1:1/jwks"), claims(who), mallory.Private),
		"a certificate elsewhere":     forge(t, ed, head("x5u", "http://127.0.0.1:1/x"), claims(who), mallory.Private),
		"a certificate in the header": forge(t, ed, head("x5c", []string{"MIIB"}), claims(who), mallory.Private),
		"demands":                     forge(t, ed, head("crit", []string{"exp"}), claims(who), mine),
		"another type":                forge(t, ed, head("typ", "JWT"), claims(who), mine),
		"no type":                     forge(t, ed, head("typ", nil), claims(who), mine),
		"an id token":                 forge(t, ed, head("typ", "id+jwt"), claims(who), mine),
		"expired":                     forge(t, ed, at, with("exp", start.Add(-2*time.Minute).Unix()), mine),
		"no expiry":                   forge(t, ed, at, with("exp", nil), mine),
		"not yet valid":               forge(t, ed, at, with("nbf", start.Add(2*time.Minute).Unix()), mine),
		"no beginning":                forge(t, ed, at, with("nbf", nil), mine),
		"another issuer":              forge(t, ed, at, with("iss", "https://corp.example.com.evil.test"), mine),
		"no issuer":                   forge(t, ed, at, with("iss", nil), mine),
		"another audience":            forge(t, ed, at, with("aud", "other"), mine),
		"no audience":                 forge(t, ed, at, with("aud", nil), mine),
		"no subject":                  forge(t, ed, at, with("sub", nil), mine),
		"a subject of another kind":   forge(t, ed, at, with("sub", who.Workspace.String()), mine),
		"no session":                  forge(t, ed, at, with("sid", nil), mine),
		"no id":                       forge(t, ed, at, with("jti", nil), mine),
		"a refresh credential":        corp.NewSecret(corp.KeyPrefixRefresh),
		"another's claims, our mark":  parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"x"}`)) + "." + parts[2],
		"claims with padding":         parts[0] + "." + parts[1] + "=." + parts[2],
		"a mark with loose end bits":  good[:len(good)-1] + string(loosened(good[len(good)-1])),
	} {
		if got, err := h.Verify(text); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		} else if corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range good { // one changed byte anywhere
		other := byte('A')
		if good[i] == 'A' {
			other = 'B'
		}
		if _, err := h.Verify(good[:i] + string(other) + good[i+1:]); err == nil {
			t.Errorf("byte %d may be changed", i)
		}
	}
}

// loosened returns another last character of base64 that decodes to the same byte.
func loosened(last byte) byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return digits[strings.IndexByte(digits, last)^1]
}

// Attack case 10. Control: it is accepted until its time is over.
func TestATokenEndsAlsoInMemory(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	text, _, err := h.Issue(someone())
	if err != nil {
		t.Fatal(err)
	}
	h.Advance(token.Life + 30*time.Second)
	if _, err := h.Verify(text); err != nil {
		t.Errorf("a clock that differs by half a minute: %v", err)
	}
	h.Advance(31 * time.Second)
	_, err = h.Verify(text)
	if e, ok := errors.AsType[*corp.Error](err); !ok || e.Code != "token_expired" {
		t.Errorf("an expired token: %v", err)
	}
}

func TestAKeyThatIsThrownAwayTakesItsTokensAlong(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	text, _, err := h.Issue(someone())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Verify(text); err != nil {
		t.Fatal(err)
	}
	h.keys.Replace([]token.Key{token.NewKey(token.Window{ActiveFrom: start, RetiredAt: start.Add(time.Hour)})})
	if _, err := h.Verify(text); err == nil {
		t.Errorf("a token of a key that is gone: %v", err)
	}
	h.keys.Replace(nil)
	if _, _, err := h.Issue(someone()); err == nil {
		t.Error("a token is signed with nothing")
	}
}

// A key that was retired and is not yet thrown away is no use to whoever copied it.
// Attack case 10. Control: until then what it signed is accepted.
func TestAKeyThatWasRetiredSignsNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	forged := func() string {
		c := claims(someone())
		c["exp"] = start.Add(2 * token.Every).Unix()
		return forge(t, jwt.SigningMethodEdDSA, map[string]any{"typ": "at+jwt", "kid": h.key.ID.String()}, c, h.key.Private)
	}
	h.Advance(token.Every + token.Linger)
	if _, err := h.Verify(forged()); err != nil {
		t.Errorf("while it is published: %v", err)
	}
	h.Advance(time.Second)
	if _, err := h.Verify(forged()); corp.KindOf(err) != corp.KindUnauthenticated {
		t.Errorf("after that: %v", err)
	}
}

func TestKeysFollowEachOtherWithoutAGap(t *testing.T) {
	t.Parallel()
	var keys []token.Key
	published := map[corp.SigningKeyID]time.Time{}
	set := token.NewKeys()
	now := start
	tokens := token.New(issuer, set, func() time.Time { return now })
	type live struct {
		text  string
		until time.Time
	}
	var lives []live
	for step := 0; now.Before(start.Add(100 * 24 * time.Hour)); step++ {
		add, drop := token.Plan(now, keys)
		kept := keys[:0:0]
		for _, k := range keys {
			gone := false
			for _, id := range drop {
				gone = gone || id == k.ID
			}
			if !gone {
				kept = append(kept, k)
			}
		}
		for _, w := range add {
			k := token.NewKey(w)
			kept, published[k.ID] = append(kept, k), now
		}
		keys = kept
		set.Replace(keys)
		if len(keys) > 3 || len(keys) == 0 {
			t.Fatalf("%d keys at %s", len(keys), now)
		}
		text, issued, err := tokens.Issue(someone())
		if err != nil {
			t.Fatalf("at %s: %v", now, err)
		}
		lives = append(lives, live{text, issued.ExpiresAt})
		for len(lives) > 0 && lives[0].until.Before(now) {
			lives = lives[1:]
		}
		for _, l := range lives {
			if _, err := tokens.Verify(l.text); err != nil {
				t.Fatalf("at %s a token that is valid until %s: %v", now, l.until, err)
			}
		}
		kid := keyOf(t, text)
		if when := published[kid]; kid != keys[0].ID && len(published) > 1 && when != start && now.Sub(when) < token.Lead-4*time.Hour {
			t.Errorf("a key signs %s after it was published", now.Sub(when))
		}
		if doc := set.Document(now); len(doc.Keys) == 0 || len(doc.Keys) > 3 {
			t.Errorf("%d keys published", len(doc.Keys))
		}
		if now = now.Add(9 * time.Minute); step%2 == 1 { // the token before is valid still, or long over
			now = now.Add(3 * time.Hour)
		}
	}
	if len(published) < 4 {
		t.Errorf("%d keys in 100 days", len(published))
	}
}

func keyOf(t *testing.T, text string) corp.SigningKeyID {
	t.Helper()
	head, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	var h struct{ KID corp.SigningKeyID }
	if err := json.Unmarshal(head, &h); err != nil {
		t.Fatal(err)
	}
	return h.KID
}

func TestThePlanCatchesUpAfterALongSleep(t *testing.T) {
	t.Parallel()
	old := token.NewKey(token.Window{ActiveFrom: start.Add(-90 * 24 * time.Hour), RetiredAt: start.Add(-60 * 24 * time.Hour)})
	add, drop := token.Plan(start, []token.Key{old})
	if len(drop) != 1 || len(add) != 1 || add[0].ActiveFrom.After(start) {
		t.Errorf("add %v, drop %v", add, drop)
	}
	soon := token.NewKey(token.Window{ActiveFrom: start.Add(time.Hour), RetiredAt: start.Add(token.Every)})
	if add, drop := token.Plan(start, []token.Key{soon}); len(drop) != 0 || len(add) != 1 || add[0].ActiveFrom.After(start) {
		t.Errorf("nothing signs until an hour from now: add %v, drop %v", add, drop)
	}
}

func TestThePublishedKeysVerifyTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	text, _, err := h.Issue(someone())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(h.keys.Document(h.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), `"d"`) {
		t.Error("the private half is published")
	}
	var doc token.JWKS
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	public, err := base64.RawURLEncoding.DecodeString(doc.Keys[0].X)
	if err != nil {
		t.Fatal(err)
	}
	dot := strings.LastIndexByte(text, '.')
	mark, err := base64.RawURLEncoding.DecodeString(text[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	if !ed25519.Verify(public, []byte(text[:dot]), mark) || doc.Keys[0].ID != keyOf(t, text).String() {
		t.Error("the published key does not verify the token")
	}
}

func TestManyTokensStayInBoundedMemoryAndAreSafeTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := token.NewKeys(token.NewKey(token.Window{ActiveFrom: time.Now(), RetiredAt: time.Now().Add(time.Hour)}))
		tokens := token.New(issuer, keys, time.Now)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					text, issued, err := tokens.Issue(someone())
					if err != nil {
						t.Error(err)
						return
					}
					if got, err := tokens.Verify(text); err != nil || got != issued {
						t.Errorf("%v, %v", got, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

func FuzzVerify(f *testing.F) {
	key := token.NewKey(token.Window{ActiveFrom: start, RetiredAt: start.Add(time.Hour)})
	tokens := token.New(issuer, token.NewKeys(key), func() time.Time { return start })
	who := someone()
	good, issued, err := tokens.Issue(who)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := tokens.Verify(text); err == nil && (text != good || got != issued) {
			t.Errorf("%q is accepted as %+v", text, got)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	tokens := token.New(issuer, token.NewKeys(token.NewKey(token.Window{ActiveFrom: start, RetiredAt: start.Add(time.Hour)})), func() time.Time { return start })
	text, _, _ := tokens.Issue(someone())
	for b.Loop() {
		_, _ = tokens.Verify(text)
	}
}
