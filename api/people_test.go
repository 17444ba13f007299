package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/oidc"
	"github.com/genericcorp/corp/identity/oidc/oidctest"
	"github.com/genericcorp/corp/identity/password"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/postgres/people"
)

const (
	goodPassword  = "tulip-anvil-marsh"
	otherPassword = "copper-window-seven"
)

// flows are those of production, with a cheaper hash and a clock that runs so fast
// that no limit is ever met: the tests of a process share them.
func (h *house) flows(tb testing.TB, logger *slog.Logger) *identity.Flows {
	tb.Helper()
	issuer := oidctest.New()
	server := httptest.NewServer(issuer)
	issuer.Address = server.URL
	party, err := oidc.New(server.Client(), h.ring, h.url+ElsewherePath, time.Now, []oidc.Config{
		{Name: "ours", Issuer: server.URL, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret, TrustEmail: true},
	})
	if err != nil {
		tb.Fatal(err)
	}
	var minutes atomic.Int64
	limits := limit.NewMemory(func() time.Time { return time.Unix(0, 0).Add(time.Duration(minutes.Add(1)) * time.Minute) }, 10_000)
	flows, err := identity.New(identity.Config{
		People: people.New(h.env.DB.Door()), Ring: h.ring, Hasher: password.New(password.Cost{Memory: 64, Passes: 1, Lanes: 1}), Backoff: limits, Limits: limits,
		Mailer: h, Elsewhere: party, PublicURL: h.url, SignUp: true, Now: time.Now, Logger: logger,
	})
	if err != nil {
		tb.Fatal(err)
	}
	if err := flows.LoadKeys(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return flows
}

// Send puts a letter into the house's mailbox.
func (h *house) Send(_ context.Context, to, _, text string) error {
	h.mail.Store(to, text)
	return nil
}

// signedUp is a person with a password, who is signed in at a command line.
type signedUp struct {
	id      corp.UserID
	session corp.SessionID
	email   string
	access  string
	refresh string
}

func (p signedUp) who() corp.Identity {
	return corp.Identity{User: p.id, Session: p.session, Actor: corp.Actor(p.id.String()), Via: corp.Actor(p.session.String())}
}

// person makes somebody who has a role in the workspace and is signed in.
func (o *office) person(tb testing.TB, role corp.Role) signedUp {
	tb.Helper()
	p := signedUp{id: corp.NewID[corp.UserID](), email: unique("ada") + "@example.com"}
	hash, err := o.api.Identity.Hasher.Hash(tb.Context(), goodPassword)
	if err != nil {
		tb.Fatal(err)
	}
	o.env.Exec(tb, `INSERT INTO users (user_id, email, name, password_hash) VALUES ($1, $2, 'Ada', $3)`, p.id, p.email, hash)
	o.env.Exec(tb, `INSERT INTO members (workspace_id, user_id, role, created_by) VALUES ($1, $2, $3, 'test')`, o.ws, p.id, role)
	p.session, p.access, p.refresh = o.session(tb, p.id)
	return p
}

// session signs somebody in.
func (o *office) session(tb testing.TB, id corp.UserID) (session corp.SessionID, access, refresh string) {
	tb.Helper()
	secret, session := corp.NewSecret(corp.KeyPrefixRefresh), corp.NewID[corp.SessionID]()
	account, err := o.api.People.Of(id).Credentials(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	_, err = o.api.People.Of(id).SignIn(tb.Context(), people.Proof{Password: account.PasswordHash}, people.NewSession{
		ID: session, Kind: corp.SessionCLI, Refresh: o.ring.Hash(secret), WorksIn: o.ws, Address: "127.0.0.1", UserAgent: "test", Idle: time.Hour, Lasts: time.Hour,
	})
	if err != nil {
		tb.Fatal(err)
	}
	r, err := o.api.Identity.Refresh(tb.Context(), secret)
	if err != nil {
		tb.Fatal(err)
	}
	return session, r.Access, r.Refresh
}

// visitor is a viewer of the workspace who is signed in; always the same.
func (o *office) visitor() signedUp {
	o.came.Do(func() { o.here = o.person(o.tb, corp.RoleViewer) })
	return o.here
}

// stranger is somebody who is signed in, and in no workspace.
func (o *office) stranger() signedUp {
	p := o.person(o.tb, corp.RoleViewer)
	o.env.Exec(o.tb, `DELETE FROM members WHERE user_id = $1`, p.id)
	o.env.Exec(o.tb, `UPDATE sessions SET works_in = NULL WHERE user_id = $1`, p.id)
	fresh, err := o.api.Identity.Refresh(o.tb.Context(), p.refresh)
	if err != nil {
		o.tb.Fatal(err)
	}
	p.access, p.refresh = fresh.Access, fresh.Refresh
	return p
}

// personOf is who an access token belongs to; somebody new for anything else.
func (o *office) personOf(t *testing.T, key string) signedUp {
	t.Helper()
	claims, err := o.api.Tokens.Verify(key)
	if err != nil {
		return o.person(t, corp.RoleViewer)
	}
	account, err := o.api.People.Of(claims.User).Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return signedUp{id: claims.User, session: claims.Session, email: account.Email, access: key}
}

// link makes the link of a mail.
func (o *office) link(t *testing.T, l people.Link) string {
	t.Helper()
	secret := corp.NewSecret(corp.KeyPrefixLink)
	if err := o.api.People.MakeLink(t.Context(), o.ring.Hash(secret), l, time.Hour); err != nil {
		t.Fatal(err)
	}
	return secret
}

// invited makes the link of an invitation into a workspace.
func (o *office) invited(t *testing.T, ws corp.WorkspaceID, email string) string {
	t.Helper()
	secret := corp.NewSecret(corp.KeyPrefixLink)
	if _, err := o.api.People.In(ws).Invite(t.Context(), "test", email, corp.RoleViewer, o.ring.Hash(secret), time.Hour); err != nil {
		t.Fatal(err)
	}
	return secret
}

// joined is another workspace, where the person has a role.
func (o *office) joined(t *testing.T, p signedUp, role corp.Role) corp.WorkspaceID {
	t.Helper()
	ws := o.env.Workspace(t)
	o.env.Exec(t, `INSERT INTO members (workspace_id, user_id, role, created_by) VALUES ($1, $2, $3, 'test'), ($1, $4, 'owner', 'test')`, ws, p.id, role, o.person(t, corp.RoleViewer).id)
	return ws
}

// elsewhere goes through the issuer as a browser does, up to its way back.
func (o *office) elsewhere(t *testing.T) (query url.Values, cookie string) {
	t.Helper()
	address, cookie, err := o.api.Identity.BeginElsewhere(t.Context(), corp.Identity{}, "ours")
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	return back.Query(), CookieName(false) + attemptCookie + "=" + cookie
}
