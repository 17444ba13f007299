package api

import (
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/identity/otp"
	"github.com/genericcorp/corp/mail"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// confided has the house keep one of every kind of secret there is, and returns them
// by what they are.
func (o *office) confided(t *testing.T) map[string]string {
	t.Helper()
	owner := o.keys[corp.RoleOwner]
	kept := map[string]string{
		"a vendor's key": unique("vendor-key"), "another vendor's key": unique("second-key"), "a repository's password": unique("git-password"), "a mail's link": corp.NewSecret(corp.KeyPrefixLink), "a password": unique("pass-word"),
		"an API key": o.keys[corp.RoleMember], "a runner's key": o.keys[corp.RoleRunner], "the operator's key": o.operator,
	}
	provider := someProvider()
	provider.Key = kept["a vendor's key"]
	made[corp.Provider](t, o.do(t, owner, http.MethodPost, "/v1/providers", nil, asJSON(t, provider)))
	changed := made[corp.Provider](t, o.do(t, owner, http.MethodPost, "/v1/providers", nil, asJSON(t, someProvider())))
	provider.Name, provider.Key = unique("provider"), kept["another vendor's key"]
	made[corp.Provider](t, o.do(t, owner, http.MethodPut, "/v1/providers/"+changed.ID.String(), nil, asJSON(t, provider)))
	repository := someRepository()
	repository.Credential = &corp.GitCredential{Username: "u", Password: kept["a repository's password"]}
	made[corp.Repository](t, o.do(t, owner, http.MethodPost, "/v1/repositories", nil, asJSON(t, repository)))
	key := made[newAPIKey](t, o.do(t, owner, http.MethodPost, "/v1/keys", nil, asJSON(t, apiKeyRequest{Name: "made", Role: corp.RoleViewer})))
	kept["a key that was made"] = key.Key
	rotated := made[newAPIKey](t, o.do(t, owner, http.MethodPost, "/v1/keys/"+key.APIKey.ID.String()+"/rotate", nil, `{"overlap_seconds":60}`))
	kept["a key that was rotated"] = rotated.Key

	m := must[people.Mail](t)(mail.Seal(o.ring, mail.Letter{Kind: "verify", To: "ada@example.org", Subject: "An account", Text: kept["a mail's link"]}))
	if err := o.api.People.PostMail(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	email := unique("grace") + "@example.com"
	link := o.link(t, people.Link{Purpose: people.PurposeVerify, Email: email, Name: "Grace"})
	in := made[client.SignedIn](t, o.do(t, "", http.MethodPost, "/v1/auth/verify", nil, asJSON(t, newcomerRequest{Token: link, Password: kept["a password"]})))
	again := o.do(t, "", http.MethodPost, "/v1/auth/login", nil, asJSON(t, loginRequest{Email: email, Password: kept["a password"], Session: corp.SessionBrowser}))
	cookie, _, _ := strings.Cut(strings.TrimPrefix(again.header.Get("Set-Cookie"), "corp_session="), ";")
	claims, err := o.api.Tokens.Verify(in.Access)
	if err != nil {
		t.Fatal(err)
	}
	who := corp.Identity{User: claims.User, Session: claims.Session, Actor: corp.Actor(claims.User.String()), Via: corp.Actor(claims.Session.String())}
	factor := must[identity.NewFactor](t)(o.api.Identity.BeginFactor(t.Context(), who, identity.Again{}, identity.Caller{}))
	raw := must[[]byte](t)(base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(factor.Secret))
	codes := must[[]string](t)(o.api.Identity.ConfirmFactor(t.Context(), who, otp.Code(raw, otp.Step(time.Now())), identity.Caller{}))
	kept["a spent link"], kept["an access token"], kept["a refresh credential"], kept["a cookie"] = link, in.Access, in.Refresh, cookie
	kept["a second factor"], kept["its bytes"], kept["a recovery code"] = factor.Secret, string(raw), codes[0]

	offer := o.running(t)
	kept["a lease's secret"], kept["a run's key"] = offer.Secret, offer.RunKey
	return kept
}

// dump is every row of every table, as a thief of the database reads it.
func dump(t *testing.T, env *pgtest.Env) string {
	t.Helper()
	var all strings.Builder
	for _, table := range pgtest.Value[[]string](t, env, `SELECT array_agg(oid::regclass::text) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition`) {
		all.WriteString(pgtest.Value[string](t, env, `SELECT coalesce(string_agg(x::text, E'\n'), '') FROM `+table+` x`) + "\n")
	}
	return all.String()
}

// files is every file under a folder.
func files(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// What was confided is in the database as a hash or sealed, and is in no log, in no
// answer but the one that made it, in no error, and in no file.
// Attack cases 40 and 42. Control: a name that is no secret is found in the database, in an answer and in the log, and the sealed key is opened with the installation's secret.
func TestAStoredSecretIsNowhereToBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := houseOn(t, pgtest.Database(t), dir)
	o := h.office(t)
	name := unique("no-secret")
	o.do(t, o.keys[corp.RoleOwner], http.MethodPost, "/v1/agents", map[string]string{"X-Request-ID": name}, asJSON(t, corp.AgentSpec{Name: name, Model: "a/b"}))
	kept := o.confided(t)

	var answers strings.Builder
	for _, key := range []string{o.keys[corp.RoleOwner], h.operator, o.person(t, corp.RoleOwner).access} {
		for _, op := range operations {
			if method, target, _ := strings.Cut(op.route, " "); method == http.MethodGet && op.id != "stream" && op.id != "getMail" && !strings.Contains(target, "{") {
				answers.WriteString(h.do(t, key, method, target, nil, "").body)
			}
		}
	}
	owner := o.keys[corp.RoleOwner]
	var refused strings.Builder
	for what, secret := range kept { // in each place where it does not belong, or beside a mistake
		for _, r := range []reply{
			h.do(t, owner, http.MethodPost, "/v1/providers", nil, asJSON(t, map[string]string{"name": "NO NAME", "dialect": "anthropic", "base_url": "https://" + unique("x") + ".example", "key": secret})),
			h.do(t, owner, http.MethodPost, "/v1/repositories", nil, asJSON(t, map[string]any{"name": "r", "url": "no url", "credential": map[string]string{"username": "u", "password": secret}})),
			h.do(t, owner, http.MethodPost, "/v1/repositories", nil, asJSON(t, map[string]any{"name": "r", "url": "https://x.example/y", "credential": map[string]any{"username": 1, "password": secret}})),
			h.do(t, "", http.MethodPost, "/v1/auth/login", nil, asJSON(t, map[string]any{"email": "ada@example.com", "password": secret, "session": 7})),
			h.do(t, "", http.MethodPost, "/v1/auth/login", nil, asJSON(t, loginRequest{Email: unique("x") + "@example.com", Password: secret})),
			h.do(t, "", http.MethodPost, "/v1/auth/refresh", nil, asJSON(t, refreshRequest{"x" + secret})),
			h.do(t, "", http.MethodGet, "/v1/tasks", map[string]string{"Authorization": "Basic " + strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(secret)), "\n", "")}, ""),
		} {
			if r.status < 400 {
				t.Errorf("%s where it does not belong: %d %s", what, r.status, r.body)
			}
			refused.WriteString(r.body)
		}
	}
	pgtest.Eventually(t, 10*time.Second, "the log's line", func(context.Context) bool { return strings.Contains(h.log.String(), name) })
	places := map[string]string{"the database": dump(t, h.env), "the log": h.log.String(), "a file": files(t, dir), "an answer": answers.String(), "a refusal": refused.String()}
	for what, secret := range kept {
		if len(secret) < 8 {
			t.Fatalf("%s is %q: this proves nothing", what, secret)
		}
		for place, text := range places {
			for form, spelled := range map[string]string{"as it is": secret, "in hex": hex.EncodeToString([]byte(secret)), "in base64": base64.StdEncoding.EncodeToString([]byte(secret)), "in base64 for addresses": base64.RawURLEncoding.EncodeToString([]byte(secret))} {
				if strings.Contains(text, spelled) {
					t.Errorf("%s is in %s, %s", what, place, form)
				}
			}
		}
	}
	for _, place := range []string{"the database", "an answer", "the log"} {
		if !strings.Contains(places[place], name) {
			t.Errorf("positive control: what is no secret is not in %s", place)
		}
	}
	var id corp.ProviderID
	if err := id.Scan(pgtest.Value[string](t, h.env, `SELECT id::text FROM providers WHERE workspace_id = $1 ORDER BY created_at LIMIT 1`, o.ws)); err != nil {
		t.Fatal(err)
	}
	sealed := pgtest.Value[[]byte](t, h.env, `SELECT key FROM providers WHERE workspace_id = $1 AND id = $2`, o.ws, id)
	if plain, err := h.ring.Open(sealed, o.ws.String(), "provider", id.String()); err != nil || string(plain) != kept["a vendor's key"] {
		t.Errorf("positive control: the sealed key opens as %q, %v", plain, err)
	}
	t.Logf("%d secrets in %d places", len(kept), len(places))
}
