package api

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
)

const (
	// identityTTL is how long a revoked key may still be accepted.
	identityTTL = 2 * time.Second
	// maxIdentities bounds the memory that keys nobody knows can take.
	maxIdentities = 20_000
	// touchEvery is how exact last_used_at is.
	touchEvery = time.Minute
)

// authenticator knows who a credential belongs to, for identityTTL without
// asking again. Credentials are named by their keyed hash.
type authenticator struct {
	lookUp func(ctx context.Context, hash string) (corp.Identity, error)
	now    func() time.Time

	mu    sync.Mutex
	known map[string]verdict
}

// verdict is what became of a look-up: an identity, or that there is none.
type verdict struct {
	who   corp.Identity
	err   error
	until time.Time
}

func newAuthenticator(lookUp func(context.Context, string) (corp.Identity, error)) *authenticator {
	return &authenticator{lookUp: lookUp, now: time.Now, known: map[string]verdict{}}
}

// identity returns who the credential belongs to, or an unauthenticated error.
func (au *authenticator) identity(ctx context.Context, hash string) (corp.Identity, error) {
	au.mu.Lock()
	v, ok := au.known[hash]
	au.mu.Unlock()
	if ok && au.now().Before(v.until) {
		return v.who, v.err
	}
	asked := au.now()
	who, err := au.lookUp(ctx, hash)
	if err != nil && corp.KindOf(err) != corp.KindUnauthenticated {
		return corp.Identity{}, err // says nothing about the key
	}
	au.remember(hash, verdict{who, err, asked.Add(identityTTL)})
	return who, err
}

// forget makes the next use of the credential ask again.
func (au *authenticator) forget(hash string) {
	au.mu.Lock()
	defer au.mu.Unlock()
	delete(au.known, hash)
}

// forgetActor is forget for a credential of which only the name is known.
func (au *authenticator) forgetActor(actor corp.Actor) {
	au.mu.Lock()
	defer au.mu.Unlock()
	for hash, v := range au.known {
		if v.who.Actor == actor {
			delete(au.known, hash)
		}
	}
}

func (au *authenticator) remember(hash string, v verdict) {
	au.mu.Lock()
	defer au.mu.Unlock()
	if len(au.known) >= maxIdentities {
		now := au.now()
		for h, old := range au.known {
			if !now.Before(old.until) {
				delete(au.known, h)
			}
		}
		if len(au.known) >= maxIdentities {
			clear(au.known) // a flood of unknown keys: the known ones are asked for again
		}
	}
	au.known[hash] = v
}

// lookUpKey asks the database, and notes there that the key was used.
func (a *API) lookUpKey(ctx context.Context, hash string) (corp.Identity, error) {
	who, err := a.DB.Auth().Key(ctx, []byte(hash))
	if err != nil {
		return corp.Identity{}, err
	}
	if key, err := corp.ParseID[corp.APIKeyID](string(who.Actor)); err == nil && !who.Workspace.IsZero() && a.touches.due(string(who.Actor), time.Now()) {
		if err := a.DB.In(who.Workspace).TouchAPIKeys(ctx, map[corp.APIKeyID]time.Time{key: time.Now()}); err != nil {
			a.Logger.WarnContext(ctx, "last use of a key not noted", "workspace_id", who.Workspace.String(), "actor", string(who.Actor), "error", err)
		}
	}
	return who, nil
}

// touches remembers when the use of a key was last noted.
type touches struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newTouches() *touches { return &touches{last: map[string]time.Time{}} }

func (t *touches) due(key string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.last[key]) < touchEvery {
		return false
	}
	if len(t.last) >= maxIdentities {
		clear(t.last)
	}
	t.last[key] = now
	return true
}

// credential reads the request's key and returns its hash. A key that is
// mistyped is refused by its checksum, without asking the database.
func (a *API) credential(header string) (string, error) {
	if header == "" {
		return "", &corp.Error{Kind: corp.KindUnauthenticated, Code: "no_key", Message: "This needs a key.", Hint: "Send one as \"Authorization: Bearer KEY\"; the first start of the server says where it is."}
	}
	scheme, key, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", &corp.Error{Kind: corp.KindUnauthenticated, Code: "scheme", Message: "The Authorization header is not of the kind Bearer.", Hint: "Send \"Authorization: Bearer KEY\"."}
	}
	switch prefix, whole := corp.SecretPrefix(key); {
	case !whole:
		return "", &corp.Error{Kind: corp.KindUnauthenticated, Code: "mistyped_key", Message: "That is not a whole key.", Hint: "Copy it again: its last characters are a checksum, and it does not hold."}
	case prefix == corp.KeyPrefixRun:
		return "", &corp.Error{Kind: corp.KindUnauthenticated, Code: "run_key", Message: "A run's key is for model calls only.", Hint: "Use an API key here."}
	case prefix == corp.KeyPrefixLease:
		return "", &corp.Error{Kind: corp.KindUnauthenticated, Code: "lease_secret", Message: "The secret of a lease is not a key.", Hint: "Use the runner's key."}
	}
	return string(a.Ring.Hash(key)), nil
}

// identify returns who makes a request.
func (a *API) identify(ctx context.Context, header string) (who corp.Identity, hash string, err error) {
	if hash, err = a.credential(header); err != nil {
		return who, "", err
	}
	who, err = a.auth.identity(ctx, hash)
	return who, hash, err
}

// admit is the middleware of every operation: who calls, and may they? It runs
// before anything else of the request is read.
func (a *API) admit(hctx huma.Context, next func(huma.Context)) {
	action, _ := hctx.Operation().Metadata["action"].(corp.Action)
	x := exchangeOf(hctx.Context())
	if action != public {
		var err error
		if x.who, x.hash, err = a.identify(hctx.Context(), hctx.Header("Authorization")); err == nil {
			err = allowed(x.who, action)
		}
		if err != nil {
			a.refuse(hctx, x, err)
			return
		}
	}
	if err := single(hctx); err != nil {
		a.refuse(hctx, x, err)
		return
	}
	next(hctx)
}

func (a *API) refuse(hctx huma.Context, x *exchange, err error) {
	p := x.problem(hctx.Context(), err)
	if p.Kind == corp.KindUnauthenticated {
		hctx.SetHeader("WWW-Authenticate", `Bearer realm="corp"`)
	}
	hctx.SetHeader("Content-Type", p.ContentType(""))
	hctx.SetStatus(p.Status)
	_ = huma.DefaultJSONFormat.Marshal(hctx.BodyWriter(), p) // the client may be gone
}

// allowed asks the one table of roles.
func allowed(who corp.Identity, action corp.Action) error {
	if action == signedIn || who.Role.May(action) {
		return nil
	}
	hint := "Use a key whose role has the action " + string(action) + "; an admin can make one."
	if corp.RoleOperator.May(action) {
		hint = "That is the operator's: the command line on the server's machine is signed in as such."
	}
	return &corp.Error{Kind: corp.KindForbidden, Message: "Your key has the role " + string(who.Role) + ", which may not do this.", Hint: hint}
}

// single refuses a parameter that is given twice where one is meant: two readers
// could take different ones.
func single(hctx huma.Context) error {
	u := hctx.URL()
	query := u.Query()
	for _, p := range hctx.Operation().Parameters {
		if p.In == "query" && len(query[p.Name]) > 1 && p.Schema != nil && p.Schema.Type != huma.TypeArray {
			return corp.Invalid(p.Name, "The parameter \""+p.Name+"\" is there more than once.", "Give it once.")
		}
	}
	return nil
}
