package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// stalled sends a request but for its body, waits until the server, which has let the
// caller in, asks for that, and returns what sends it.
func stalled(t *testing.T, h *house, key, method, path, body string) (finish func() (status int, text string)) {
	t.Helper()
	host := strings.TrimPrefix(h.url, "http://")
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	in := bufio.NewReader(c)
	_, _ = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", method, path, host, key, len(body))
	for line := ""; line != "\r\n"; {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "HTTP/1.1 ") && !strings.HasPrefix(line, "HTTP/1.1 100") {
			t.Fatalf("the body is not asked for: %s", line)
		}
	}
	return func() (int, string) {
		_, _ = io.WriteString(c, body)
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(text)
	}
}

// Whoever fears to be put out may hold a request ready, all but its body, that leaves
// something behind: a key of the workspace's own, an owner. Who may send it is asked when it
// is whole.
// Attack case 60. Control: whose right is not taken away makes the key.
func TestARightThatEndsWhileABodyIsOnItsWayIsGone(t *testing.T) {
	t.Parallel()
	h := shared(t)
	for name, c := range map[string]struct {
		end  func(o *office, who signedUp, key string) error
		want int
	}{
		"nothing": {func(*office, signedUp, string) error { return nil }, http.StatusCreated},
		"removed": {func(o *office, who signedUp, _ string) error {
			return o.api.People.In(o.ws).RemoveMember(t.Context(), "x", corp.RoleOwner, who.id)
		}, http.StatusUnauthorized},
		"demoted": {func(o *office, who signedUp, _ string) error {
			_, err := o.api.People.In(o.ws).SetRole(t.Context(), "x", corp.RoleOwner, who.id, corp.RoleViewer)
			return err
		}, http.StatusForbidden},
		"revoked": {func(o *office, _ signedUp, key string) error {
			_, err := o.api.system("test").RevokeKey(t.Context(), key, corp.OperatorID{})
			return err
		}, http.StatusUnauthorized},
		"kept out": {func(o *office, who signedUp, _ string) error {
			return o.api.People.System("test").Disable(t.Context(), who.id, true)
		}, http.StatusUnauthorized},
		"suspended": {func(o *office, _ signedUp, _ string) error {
			_, err := o.api.system("test").Suspend(t.Context(), o.ws.String(), true)
			return err
		}, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := h.office(t)
			who := o.person(t, corp.RoleOwner)
			o.person(t, corp.RoleOwner) // another owner
			key := o.make(t, corp.APIKey{Role: corp.RoleOwner, UserID: who.id})
			finish := stalled(t, h, key, http.MethodPost, "/v1/keys", `{"name":"left behind","role":"owner","service":true}`)
			if err := c.end(o, who, key); err != nil {
				t.Fatal(err)
			}
			pgtest.Eventually(t, 10*time.Second, "the right to be gone", func(context.Context) bool {
				return c.want == http.StatusCreated || o.do(t, key, http.MethodPost, "/v1/keys", nil, `{"name":"x","role":"viewer","service":true}`).status == c.want
			})
			if status, text := finish(); status != c.want {
				t.Errorf("%d %s", status, text)
			}
			if n := pgtest.Value[int](t, o.env, `SELECT count(*) FROM api_keys WHERE workspace_id = $1 AND name = 'left behind'`, o.ws); (n == 1) != (c.want == http.StatusCreated) {
				t.Errorf("%d keys are left behind", n)
			}
		})
	}
}

// A founding is in the installation's log, also when its maker is gone before the end of it.
// Attack case 45. Control: nothing is broken off.
func TestAFoundingIsRecordedThoughItIsBrokenOff(t *testing.T) {
	t.Parallel()
	h := ownHouse(t)
	o := h.office(t)
	p := o.person(t, corp.RoleOwner)
	found := func(slug string) int {
		t.Helper()
		got := o.do(t, p.access, http.MethodPost, "/v1/me/workspaces", nil, `{"slug":"`+slug+`"}`)
		if n := pgtest.Value[int](t, h.env, `
			SELECT count(*) FROM audit_events e JOIN workspaces w ON w.slug = e.changes ->> 'slug'
			WHERE e.operation = 'foundWorkspace' AND w.slug = $1 AND e.workspace_id = '00000000-0000-0000-0000-000000000000'`, slug); n != 1 {
			t.Errorf("%s: %d events", slug, n)
		}
		return got.status
	}
	if status := found("whole"); status != http.StatusOK && status != http.StatusCreated {
		t.Errorf("the control: %d", status)
	}
	h.env.Exec(t, `CREATE FUNCTION broken_off() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''here''; END'`)
	h.env.Exec(t, `CREATE TRIGGER broken_off BEFORE INSERT ON agents FOR EACH ROW EXECUTE FUNCTION broken_off()`)
	if status := found("broken-off"); status < 500 {
		t.Errorf("it was not broken off: %d", status)
	}
}
