package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

const (
	// identityTTL is how long a revoked key may still be accepted when every hint
	// of its end is lost.
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

	mu        sync.Mutex
	known     map[string]verdict
	forgotten int // how often something was: what was asked before that is old
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
	forgotten := au.forgotten
	au.mu.Unlock()
	if ok && au.now().Before(v.until) {
		return v.who, v.err
	}
	asked := au.now()
	who, err := au.lookUp(ctx, hash)
	if err != nil && corp.KindOf(err) != corp.KindUnauthenticated {
		return corp.Identity{}, err // says nothing about the key
	}
	au.remember(hash, verdict{who, err, asked.Add(identityTTL)}, forgotten)
	return who, err
}

// forget makes the next use of the credential ask again.
func (au *authenticator) forget(hash string) {
	au.mu.Lock()
	defer au.mu.Unlock()
	delete(au.known, hash)
	au.forgotten++
}

// changed makes the next use of every credential ask again that a notice is about:
// a person's, a workspace's, or all. What was refused, or is somebody's who is in no
// workspace, may be good by now: nothing tells whether the notice is about it.
func (au *authenticator) changed(n postgres.Notice) {
	au.mu.Lock()
	defer au.mu.Unlock()
	au.forgotten++
	for name, v := range au.known {
		if n.Kind != postgres.NoticeAccess || v.err != nil || v.who.Workspace.IsZero() || v.who.Workspace == n.Workspace && n.User.IsZero() || v.who.User == n.User && !n.User.IsZero() {
			delete(au.known, name)
		}
	}
}

func (au *authenticator) remember(hash string, v verdict, forgotten int) {
	au.mu.Lock()
	defer au.mu.Unlock()
	if forgotten != au.forgotten {
		return // it may have been asked just before the change
	}
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

// identify returns who makes a request, and by what name of their credential the
// server knows that.
func (a *API) identify(ctx context.Context, c presented) (who corp.Identity, name string, err error) {
	return a.identifyBy(ctx, c, a.auth.identity)
}

func (a *API) identifyBy(ctx context.Context, c presented, look func(context.Context, string) (corp.Identity, error)) (who corp.Identity, name string, err error) {
	if name, err = a.credential(c); err != nil {
		return who, "", err
	}
	if who, err = look(ctx, name); err != nil {
		return who, name, err
	}
	return who, name, comesFrom(who, c.address)
}

// admit is the middleware of every operation: who calls, and may they? It runs
// before anything else of the request is read.
func (a *API) admit(hctx huma.Context, next func(huma.Context)) {
	action, _ := hctx.Operation().Metadata["action"].(corp.Action)
	x := exchangeOf(hctx.Context())
	x.witness(hctx)
	if action != public {
		var err error
		if x.who, x.hash, err = a.identify(hctx.Context(), x.presented); err != nil {
			if corp.KindOf(err) == corp.KindUnauthenticated && x.hash != "" { // that cost a look-up
				a.refusedCredential(hctx.Context(), x)
			}
			a.refuse(hctx, x, a.auditDenial(hctx.Context(), x, hctx.Operation(), err)) // a key from where it must not be used
			return
		}
	}
	if err := a.limitRequest(hctx, x); err != nil {
		a.refuse(hctx, x, err)
		return
	}
	if action != public {
		err := x.agrees()
		if err == nil {
			err = allowed(x.who, action)
		}
		if err != nil {
			a.refuse(hctx, x, a.auditDenial(hctx.Context(), x, hctx.Operation(), err))
			return
		}
	}
	err := single(hctx)
	if err == nil {
		err = media(hctx)
	}
	if err != nil {
		a.refuse(hctx, x, err)
		return
	}
	next(hctx)
}

// stillAdmitted asks once more who calls, and whether they may, when a body has arrived: it
// may have taken half a minute, in which the right to send it was taken away.
func (a *API) stillAdmitted(ctx context.Context, x *exchange, op *huma.Operation) (err error) {
	action, _ := op.Metadata["action"].(corp.Action)
	if action == public || op.Method == http.MethodGet {
		return nil
	}
	if x.who, x.hash, err = a.identify(ctx, x.presented); err != nil {
		return a.auditDenial(ctx, x, op, err)
	}
	if err = allowed(x.who, action); err != nil {
		return a.auditDenial(ctx, x, op, err)
	}
	return x.agrees()
}

func (a *API) refuse(hctx huma.Context, x *exchange, err error) {
	p := x.problem(hctx.Context(), err)
	if p.Kind == corp.KindUnauthenticated {
		hctx.SetHeader("WWW-Authenticate", `Bearer realm="corp"`)
	}
	for name, value := range p.headers() {
		hctx.SetHeader(name, value)
	}
	hctx.SetHeader("Content-Type", p.ContentType(""))
	hctx.SetStatus(p.Status)
	_ = huma.DefaultJSONFormat.Marshal(hctx.BodyWriter(), p) // the client may be gone
}

// allowed asks the one table of roles.
func allowed(who corp.Identity, action corp.Action) error {
	refuse := func(message, hint string) error {
		return &corp.Error{Kind: corp.KindForbidden, Message: message, Hint: hint}
	}
	switch {
	case who.Suspended && (who.Session.IsZero() || action != person && action != signedIn): // people see to their account all the same
		return corp.Suspended()
	case action == signedIn, action == person && !who.Session.IsZero(), who.May(action):
		return nil
	case action == person:
		return refuse("This is about a person, and a key is none.", "Sign in: corp login.")
	case who.Role == "":
		return refuse("You are in no workspace.", "Make one, accept an invitation, or switch to one of yours.")
	case corp.RoleOperator.May(action):
		return refuse("Your role is "+string(who.Role)+", which may not do this.", "That is the operator's: the command line on the server's machine is signed in as such.")
	case who.Role.May(action):
		return refuse("Your key is narrowed to other actions than "+string(action)+".", "Use a key with this scope; its owner can make one.")
	default:
		return refuse("Your role is "+string(who.Role)+", which may not do this.", "Use a role that has the action "+string(action)+"; an admin of the workspace can give it.")
	}
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
