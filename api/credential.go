package api

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/postgres/people"
)

// presented is what a request proves itself with, as it came. A header is stronger
// than a cookie.
type presented struct {
	header  string     // Authorization
	cookie  string     // a browser's session
	address netip.Addr // of the client; the zero address is unknown
}

// The first letter of a credential's name in the server says how to ask for it.
const (
	byKey    = 'k' // and the hash of a key
	byCookie = 'c' // and the hash of a cookie
	byToken  = 't' // and a session's id and a workspace's, 16 bytes each
)

// credential returns the name of what a request proves itself with. A key that is
// mistyped is refused by its checksum, a token by its signature, without asking the
// database.
func (a *API) credential(c presented) (string, error) {
	wrong := func(code, message, hint string) (string, error) {
		return "", &corp.Error{Kind: corp.KindUnauthenticated, Code: code, Message: message, Hint: hint}
	}
	switch prefix, whole := corp.SecretPrefix(c.cookie); {
	case c.header != "":
		return a.bearer(c.header)
	case c.cookie == "":
		return wrong("no_key", "This needs a key.", "Send one as \"Authorization: Bearer KEY\"; the first start of the server says where it is.")
	case prefix != corp.KeyPrefixSession || !whole:
		return wrong("signed_out", "You are not signed in any more.", "Sign in again.")
	default:
		return string(byCookie) + string(a.Ring.Hash(c.cookie)), nil
	}
}

func (a *API) bearer(header string) (string, error) {
	wrong := func(code, message, hint string) (string, error) {
		return "", &corp.Error{Kind: corp.KindUnauthenticated, Code: code, Message: message, Hint: hint}
	}
	scheme, key, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return wrong("scheme", "The Authorization header is not of the kind Bearer.", "Send \"Authorization: Bearer KEY\".")
	}
	if strings.Count(key, ".") == 2 && a.Tokens != nil {
		claims, err := a.Tokens.Verify(key)
		if err != nil {
			return "", err
		}
		return nameToken(claims), nil
	}
	switch prefix, whole := corp.SecretPrefix(key); {
	case !whole:
		return wrong("mistyped_key", "That is not a whole key.", "Copy it again: its last characters are a checksum, and it does not hold.")
	case prefix == corp.KeyPrefixRun:
		return wrong("run_key", "A run's key is for model calls only.", "Use an API key here.")
	case prefix == corp.KeyPrefixLease:
		return wrong("lease_secret", "The secret of a lease is not a key.", "Use the runner's key.")
	case prefix == corp.KeyPrefixLive || prefix == corp.KeyPrefixTest:
		if prefix != a.keyPrefix() {
			return wrong("other_environment", "This key is of another kind of installation.", "Keys of this one begin with "+a.keyPrefix()+".")
		}
	case prefix != corp.KeyPrefixRunner && prefix != corp.KeyPrefixOp:
		return wrong("no_key", "That is a secret, but not a key.", "Use an API key, or sign in.")
	}
	return string(byKey) + string(a.Ring.Hash(key)), nil
}

// keyPrefix is what this installation's API keys begin with.
func (a *API) keyPrefix() string {
	if a.KeyPrefix == "" {
		return corp.KeyPrefixLive
	}
	return a.KeyPrefix
}

func nameToken(c token.Claims) string {
	return string(byToken) + string(c.Session[:]) + string(c.Workspace[:])
}

// present reads what a request proves itself with.
func (a *API) present(r *http.Request) presented {
	p := presented{header: r.Header.Get("Authorization")}
	if a.Cookie != "" {
		if c, err := r.Cookie(a.Cookie); err == nil {
			p.cookie = c.Value
		}
	}
	return p
}

// comesFrom refuses a key that is used from where it must not be.
func comesFrom(who corp.Identity, address netip.Addr) error {
	if who.Addresses == nil {
		return nil
	}
	for _, network := range who.Addresses {
		if network.Contains(address.Unmap()) {
			return nil
		}
	}
	return &corp.Error{Kind: corp.KindForbidden, Code: "address", Message: "This key may not be used from where you are.", Hint: "Its networks are set when it is made; an admin can make another key."}
}

// lookUpIdentity asks the database who a credential is, and notes there that it was
// used.
func (a *API) lookUpIdentity(ctx context.Context, name string) (corp.Identity, error) {
	kind, rest := name[0], name[1:]
	if kind == byKey {
		who, err := a.DB.Auth().Key(ctx, []byte(rest))
		if err == nil {
			a.touchKey(ctx, who)
		}
		return who, err
	}
	ask := a.bySession
	if kind == byCookie {
		ask = func(ctx context.Context, hash string) (people.SignedIn, error) {
			return a.People.ByCookie(ctx, []byte(hash))
		}
	}
	signedIn, err := ask(ctx, rest)
	if err != nil {
		return corp.Identity{}, err
	}
	a.touchSession(ctx, signedIn.Identity, signedIn.SeenAge)
	return signedIn.Identity, nil
}

// bySession asks who an access token's session is, while it works where the token says.
func (a *API) bySession(ctx context.Context, name string) (people.SignedIn, error) {
	var claims token.Claims
	copy(claims.Session[:], name)
	copy(claims.Workspace[:], name[len(claims.Session):])
	signedIn, err := a.People.BySession(ctx, claims.Session)
	if err == nil && !claims.Workspace.IsZero() && signedIn.Workspace != claims.Workspace {
		err = &corp.Error{Kind: corp.KindUnauthenticated, Code: "other_workspace", Message: "You work in another workspace by now, or are not in this one any more.", Hint: "Get a new access token with your refresh credential."}
	}
	return signedIn, err
}

func (a *API) touchKey(ctx context.Context, who corp.Identity) {
	key, err := corp.ParseID[corp.APIKeyID](string(who.Via))
	if err != nil || who.Workspace.IsZero() || !a.touches.due(string(who.Via), time.Now()) {
		return
	}
	if err := a.DB.In(who.Workspace).TouchAPIKeys(ctx, map[corp.APIKeyID]time.Time{key: time.Now()}); err != nil {
		a.Logger.WarnContext(ctx, "last use of a key not noted", "workspace_id", who.Workspace.String(), "actor", string(who.Via), "error", err)
	}
}

func (a *API) touchSession(ctx context.Context, who corp.Identity, age time.Duration) {
	if age < touchEvery || !a.touches.due(string(who.Via), time.Now()) {
		return
	}
	if err := a.People.Of(who.User).Seen(ctx, who.Session); err != nil {
		a.Logger.WarnContext(ctx, "last use of a session not noted", "actor", string(who.Via), "error", err)
	}
}
