package gateway_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// keysSeen is a vendor that notes with whose key it was called.
type keysSeen struct {
	mu   sync.Mutex
	keys []string
}

func (k *keysSeen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	k.keys = append(k.keys, r.Header.Get("X-Api-Key"))
	k.mu.Unlock()
	plainAnswer(w, r)
}

func (k *keysSeen) since() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen := k.keys
	k.keys = nil
	return seen
}

// Two workspaces whose vendor accounts have the same name, and even the same id: what
// is remembered of one is never taken for the other's, and a sealed key that was copied
// from one to the other opens nothing.
// Attack cases 35 and 41. Control: each workspace's own calls go through with its own key.
func TestAVendorsKeyIsItsWorkspacesOwn(t *testing.T) {
	t.Parallel()
	vendor := &keysSeen{}
	w := newWorld(t, vendor, func(c *gateway.Config) { c.Times.Provider, c.Times.Identity = time.Hour, time.Hour })
	other := *w
	other.ws = w.env.Workspace(t)
	id := corp.NewID[corp.ProviderID]()
	for of, key := range map[*world]string{w: "key-of-one", &other: "key-of-the-other"} {
		_, err := w.env.DB.In(of.ws).CreateProvider(t.Context(), corp.ActorSystem, id, corp.ProviderSpec{Name: "same", Dialect: corp.DialectAnthropic, BaseURL: w.vendor, Vendor: "anthropic"},
			w.ring.Seal([]byte(key), of.ws.String(), "provider", id.String()))
		if err != nil {
			t.Fatal(err)
		}
	}
	body := message("same/claude-sonnet-4-5", "hi", "50", false)
	one, two := w.run(0), other.run(0)
	for range 3 { // the later ones from what is remembered
		for a, want := range map[*agent]string{one: "key-of-one", two: "key-of-the-other"} {
			if got := a.call(body); got.status != http.StatusOK {
				t.Fatalf("the control: %d %s", got.status, got.body)
			}
			if seen := vendor.since(); !slices.Equal(seen, []string{want}) {
				t.Errorf("the vendor was called with %q, want %s", seen, want)
			}
		}
	}
	// Somebody who can write rows gives the other workspace the first one's account, and another account's key.
	copied := corp.NewID[corp.ProviderID]()
	w.env.Exec(t, `INSERT INTO providers (workspace_id, id, name, dialect, base_url, vendor, key, created_by)
		SELECT $1, $2, 'copied', dialect, base_url, vendor, key, created_by FROM providers WHERE workspace_id = $3 AND id = $4`, other.ws, copied, w.ws, id)
	w.env.Exec(t, `INSERT INTO providers (workspace_id, id, name, dialect, base_url, vendor, key, created_by)
		SELECT $1, $2, 'renamed', dialect, base_url, vendor, key, created_by FROM providers WHERE workspace_id = $1 AND id = $3`, other.ws, corp.NewID[corp.ProviderID](), id)
	for _, name := range []string{"copied", "renamed"} {
		got := other.run(0).call(message(name+"/claude-sonnet-4-5", "hi", "50", false))
		if got.status < 400 || strings.Contains(string(got.body), "key-of") {
			t.Errorf("with a %s key: %d %s", name, got.status, got.body)
		}
	}
	// The very same id in the other workspace, its row overwritten: the place is sealed in, not only the id.
	w.env.Exec(t, `UPDATE providers SET name = 'swapped', key = (SELECT key FROM providers WHERE workspace_id = $1 AND id = $2) WHERE workspace_id = $3 AND id = $2`, w.ws, id, other.ws)
	if got := other.run(0).call(message("swapped/claude-sonnet-4-5", "hi", "50", false)); got.status < 400 {
		t.Errorf("with a swapped key: %d %s", got.status, got.body)
	}
	if seen := vendor.since(); len(seen) != 0 {
		t.Errorf("the vendor was called with %q", seen)
	}
}

// The runs of a suspended workspace call no model any more, whatever was remembered of
// them for a while.
// Control: before it, and once it is resumed, the same call goes through.
func TestASuspendedWorkspacesRunsCallNoModel(t *testing.T) {
	t.Parallel()
	vendor := &keysSeen{}
	w := newWorld(t, vendor)
	a, body := w.run(0), message("sim/claude-sonnet-4-5", "hi", "50", false)
	suspend := func(yes bool) {
		t.Helper()
		if _, err := w.env.DB.System("test").Suspend(t.Context(), w.ws.String(), yes); err != nil {
			t.Fatal(err)
		}
	}
	answers := func(status int) {
		t.Helper()
		pgtest.Eventually(t, 5*time.Second, http.StatusText(status), func(context.Context) bool { return a.call(body).status == status })
	}
	if got := a.call(body); got.status != http.StatusOK {
		t.Fatalf("the control: %d %s", got.status, got.body)
	}
	suspend(true)
	answers(http.StatusForbidden)
	vendor.since()
	if got := a.call(body); got.status != http.StatusForbidden || !strings.Contains(string(got.body), "suspended") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if seen := vendor.since(); len(seen) != 0 {
		t.Errorf("the vendor was called with %q", seen)
	}
	suspend(false)
	answers(http.StatusOK)
}
