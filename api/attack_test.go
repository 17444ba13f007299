package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/identity/token"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/seal"
)

// A token that we signed ourselves is worth what its person is in the workspace now,
// and no more than the session behind it.
// Attack case 11. Control: in the workspace where the person is a member it is accepted, and again after switching back.
func TestATokenIsWorthWhatItsPersonIsInTheWorkspaceNow(t *testing.T) {
	t.Parallel()
	h := shared(t)
	mine, victim := h.office(t), h.office(t)
	p := mine.person(t, corp.RoleOwner)
	other := victim.person(t, corp.RoleViewer)
	try := func(c token.Claims) reply {
		text, _, err := h.api.Tokens.Issue(c)
		if err != nil {
			t.Fatal(err)
		}
		return h.do(t, text, http.MethodGet, "/v1/workspace", nil, "")
	}
	own := token.Claims{User: p.id, Session: p.session, Workspace: mine.ws}
	if got := try(own); got.status != http.StatusOK || !strings.Contains(got.body, mine.ws.String()) {
		t.Fatalf("the control: %d %s", got.status, got.body)
	}
	for name, c := range map[string]token.Claims{
		"another workspace":                  {User: p.id, Session: p.session, Workspace: victim.ws},
		"another workspace and its member":   {User: other.id, Session: p.session, Workspace: victim.ws},
		"a session that is none":             {User: p.id, Session: corp.NewID[corp.SessionID](), Workspace: mine.ws},
		"a workspace that is none":           {User: p.id, Session: p.session, Workspace: corp.NewID[corp.WorkspaceID]()},
		"another's session, one's workspace": {User: p.id, Session: other.session, Workspace: mine.ws},
	} {
		if got := try(c); got.status != http.StatusUnauthorized || strings.Contains(got.body, victim.ws.String()) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	// Who works elsewhere by now has another token; the one from before is over until they switch back.
	elsewhere := mine.joined(t, p, corp.RoleViewer)
	switchTo := func(ws corp.WorkspaceID) {
		t.Helper()
		if err := h.api.People.Of(p.id).WorkIn(t.Context(), p.session, ws); err != nil {
			t.Fatal(err)
		}
	}
	switchTo(elsewhere)
	pgtest.Eventually(t, within, "the token of the workspace from before to be refused", func(context.Context) bool { return try(own).status == http.StatusUnauthorized })
	if got := try(token.Claims{User: p.id, Session: p.session, Workspace: elsewhere}); got.status != http.StatusOK || !strings.Contains(got.body, elsewhere.String()) {
		t.Errorf("in the other workspace: %d %s", got.status, got.body)
	}
	switchTo(mine.ws)
	pgtest.Eventually(t, within, "the token to be good again", func(context.Context) bool { return try(own).status == http.StatusOK })
	if err := mine.owner().RemoveMember(t.Context(), p.id); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, within, "the token of somebody who was removed to be refused", func(context.Context) bool { return try(own).status == http.StatusUnauthorized })
}

// Who can write into the database, but has not the installation's secret, makes no key.
// Attack case 16. Control: with the installation's own hash the row is a key.
func TestAKeysRowWithoutTheInstallationsSecretOpensNothing(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	stranger, err := seal.New([]byte(strings.Repeat("s", seal.SecretSize)))
	if err != nil {
		t.Fatal(err)
	}
	plain := func(key string) []byte { sum := sha256.Sum256([]byte(key)); return sum[:] }
	keyed := func(with string) func(string) []byte {
		return func(key string) []byte {
			mac := hmac.New(sha256.New, []byte(with))
			mac.Write([]byte(key))
			return mac.Sum(nil)
		}
	}
	for name, hash := range map[string]func(string) []byte{
		"the installation's own": o.ring.Hash, "the key itself": func(key string) []byte { return []byte(key) }, "SHA-256": plain, "HMAC with nothing": keyed(""), "HMAC with its own name": keyed("credential"), "another installation's": stranger.Hash,
	} {
		for role, prefix := range map[corp.Role]string{corp.RoleOwner: corp.KeyPrefixLive, corp.RoleRunner: corp.KeyPrefixRunner, corp.RoleOperator: corp.KeyPrefixOp} {
			key := corp.NewSecret(prefix)
			if role == corp.RoleOperator {
				o.env.Exec(t, `INSERT INTO operator_keys (id, name, role, prefix, hash, created_by) VALUES (gen_random_uuid(), 'x', 'operator', 'x', $1, 'x')`, hash(key))
			} else {
				o.env.Exec(t, `INSERT INTO api_keys (workspace_id, id, name, role, prefix, hash, created_by) VALUES ($1, gen_random_uuid(), 'x', $2, 'x', $3, 'x')`, o.ws, role, hash(key))
			}
			want := http.StatusUnauthorized
			if name == "the installation's own" {
				want = http.StatusOK
			}
			if got := o.do(t, key, http.MethodGet, "/v1/whoami", nil, ""); got.status != want {
				t.Errorf("a key of the role %s by %s: %d, want %d: %s", role, name, got.status, want, got.body)
			}
		}
	}
}

// The key and the secret that a run has are for model calls and its lease: here they
// open nothing, whoever submitted the task, and neither does the runner's key open
// what only people may do.
// Attack cases 47 and 49. Control: the same lease's secret reports the run's transcript, and who submitted it reads it.
func TestTheSecretsOfAnOwnersRunHaveNothingOfTheOwners(t *testing.T) {
	t.Parallel()
	h := shared(t)
	o := h.office(t)
	offer := o.running(t, o.submit(t)) // by the owner
	tried := 0
	for _, op := range operations {
		if op.action == public {
			continue
		}
		s := samples[op.id](t, o, o.keys[corp.RoleRunner])[0]
		for name, secret := range map[string]string{"the run's key": offer.RunKey, "the lease's secret": offer.Secret} {
			if got := s.send(t, h, op, secret, nil); got.status != http.StatusUnauthorized {
				t.Errorf("%s with %s: %d %s", op, name, got.status, got.body)
			}
			tried++
		}
		if op.action != corp.RunnerLease && op.action != signedIn {
			if got := s.send(t, h, op, o.keys[corp.RoleRunner], nil); got.status != http.StatusForbidden {
				t.Errorf("%s with the runner's key: %d %s", op, got.status, got.body)
			}
		}
	}
	must[int64](t)(o.runner().ReportEntries(t.Context(), corp.EntryBatch{Lease: offer.Lease, Entries: []corp.Entry{{Kind: corp.EntryMessage, Text: "done"}}}))
	if list := must[[]corp.Entry](t)(o.owner().Entries(t.Context(), offer.RunID, -1, 100)); len(list) == 0 {
		t.Error("positive control: nothing was reported")
	}
	// A run's secret is that run's alone.
	second := o.running(t, o.submit(t))
	crossed := second.Lease
	crossed.Secret = offer.Secret
	if _, err := o.runner().ReportEntries(t.Context(), corp.EntryBatch{Lease: crossed, Entries: []corp.Entry{{Kind: corp.EntryMessage, Text: "x"}}}); corp.KindOf(err) != corp.KindLeaseLost {
		t.Errorf("one run's secret for another run: %v", err)
	}
	if tried < 100 {
		t.Errorf("only %d were tried", tried)
	}
}

// Nobody follows what is another workspace's: not by naming it, not by a pattern, not
// by a place in the stream.
// Attack case 37. Control: its own workspace hears of each of its tasks, in the same time.
func TestAStreamTellsOnlyOfItsOwnWorkspace(t *testing.T) {
	t.Parallel()
	h := shared(t)
	mine, victim := h.office(t), h.office(t)
	task := victim.submit(t)
	key := mine.keys[corp.RoleOwner]
	for _, name := range []string{"*", "ws.*", "#", ">", "%", "..", "../" + victim.ws.String(), victim.ws.String(), victim.ws.UUID(), task.ID.UUID(), "task_*", task.ID.String() + ",", task.ID.String() + "/..", "'; LISTEN corp; --"} {
		for _, parameter := range []string{"task", "run", "after"} {
			target := "/v1/stream?until=final&" + parameter + "=" + strings.NewReplacer("%", "%25", "#", "%23", ";", "%3B", " ", "%20").Replace(name)
			if got := h.do(t, key, http.MethodGet, target, nil, ""); got.status < 400 || got.status >= 500 || strings.Contains(got.body, `"event"`) {
				t.Errorf("%s=%s: %d %s", parameter, name, got.status, got.body)
			}
		}
	}
	for _, parameter := range []string{"task=" + task.ID.String(), "run=" + task.RunID.String()} {
		if got := h.do(t, key, http.MethodGet, "/v1/stream?until=final&"+parameter, nil, ""); got.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", parameter, got.status, got.body)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	heard := func(o *office, until func(corp.Event) bool) (all []corp.Event) {
		for u, err := range o.owner().Stream(ctx, client.StreamQuery{After: "e:0"}) {
			if err != nil {
				t.Fatal(err)
			}
			if u.Event == nil {
				continue
			}
			if all = append(all, *u.Event); until(*u.Event) {
				break
			}
		}
		return all
	}
	for range 5 {
		victim.submit(t)
	}
	last := mine.submit(t)
	theirs := heard(victim, func(e corp.Event) bool { return e.Seq >= 6 })
	for _, e := range heard(mine, func(e corp.Event) bool { return e.TaskID == last.ID }) {
		if slices.ContainsFunc(theirs, func(x corp.Event) bool { return x.TaskID == e.TaskID && !e.TaskID.IsZero() }) {
			t.Errorf("an event of another workspace's: %+v", e)
		}
	}
	// A place in somebody else's stream is a number and no key.
	for _, after := range []int64{0, theirs[0].Seq, theirs[len(theirs)-1].Seq - 1} {
		for _, e := range must[[]corp.Event](t)(mine.owner().Events(t.Context(), after, 100)) {
			if strings.Contains(string(e.Data), task.ID.String()) || slices.ContainsFunc(theirs, func(x corp.Event) bool { return x.TaskID == e.TaskID && !e.TaskID.IsZero() }) {
				t.Errorf("after %d: another workspace's event: %+v", after, e)
			}
		}
	}
}

// A workspace's name is nobody else's afterwards, and nothing that looks like one.
// Attack case 64. Control: an ordinary name that nobody had is taken.
func TestNoWorkspaceIsCalledLikeAnotherOneOrTheInstallation(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	p := o.person(t, corp.RoleViewer)
	found := func(slug string) reply {
		return o.do(t, p.access, http.MethodPost, "/v1/me/workspaces", nil, asJSON(t, myWorkspaceRequest{Slug: slug}))
	}
	taken := unique("acme")
	if got := found(taken); got.status != http.StatusCreated {
		t.Fatalf("the control: %d %s", got.status, got.body)
	}
	for _, slug := range []string{
		"www", "api", "admin", "auth", "status", "cdn", "mail", "app", "login", "_dmarc", "xn--80ak6aa92e", "xn--cme-5na", "acm\u0435", "ac\u200bme", "ACME", "acme.", ".acme", "a.b", "acme/..", "-acme", "acme-", "a", "", "acme%2e", "acme ", "127-0-0-1.", "аpple", strings.Repeat("a", 64), "acme\u0000", "ⅼogin", "ａcme",
	} {
		if got := found(slug); got.status != http.StatusUnprocessableEntity && got.status != http.StatusBadRequest {
			t.Errorf("%q: %d %s", slug, got.status, got.body)
		}
	}
	if got := found(taken); got.status != http.StatusConflict {
		t.Errorf("the same again: %d %s", got.status, got.body)
	}
	// Archived, or about to be deleted: its links and its visitors' habits are still around.
	for _, end := range []string{"archived_at", "delete_after"} {
		o.env.Exec(t, fmt.Sprintf(`UPDATE workspaces SET %s = now() - interval '1 second' WHERE slug = $1`, end), taken)
		if got := found(taken); got.status != http.StatusConflict {
			t.Errorf("after %s: %d %s", end, got.status, got.body)
		}
	}
}
