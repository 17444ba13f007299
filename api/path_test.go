package api

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// TestNoPathLeadsToAFileThatIsNotTheCallers is about files that are reached over
// HTTP: the only names that lead to one are ids.
// Attack case 53. Control: the caller's own file is read.
func TestNoPathLeadsToAFileThatIsNotTheCallers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const secret = "the-content-of-another-file"
	store := filepath.Join(dir, "blobs")
	if err := os.WriteFile(filepath.Join(dir, "secret.key"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	h := houseOn(t, pgtest.New(t), store)
	mine, victim := h.office(t), h.office(t)
	own, foreign := mine.source(t), victim.source(t)
	key := mine.keys[corp.RoleOwner]
	if got := h.do(t, key, http.MethodGet, "/v1/blobs/"+own.String(), nil, ""); got.status != 200 || got.body == "" {
		t.Fatalf("its own: %d", got.status)
	}
	id := own.String()
	for _, name := range []string{
		"../secret.key", "../../secret.key", "..%2fsecret.key", "%2e%2e/secret.key", "%2e%2e%2fsecret.key", "..%5csecret.key", "..\\secret.key", "/secret.key", "%2fsecret.key", filepath.Join(dir, "secret.key"),
		"....//secret.key", "..;/secret.key", "%c0%ae%c0%ae/secret.key", "\u2025/secret.key", "..\u2215secret.key", "..%00/secret.key", id + "%00", id + "/", id + "/..", id + "/../../../secret.key", id + ".", id + " ",
		strings.ToUpper(id), "BLOB_" + id[5:], "blob_" + strings.Repeat("0", 26), "blob_", "", ".", "..", "store-id", "incoming", victim.ws.String() + "/" + foreign.String(), victim.ws.String() + "%2f" + foreign.String(),
		foreign.String(), "file:///etc/passwd", "blob_../../secret.key", strings.Repeat("../", 500) + "secret.key", "CON", "NUL", "secret.key::$DATA",
	} {
		for _, target := range []string{"/v1/blobs/" + name, "/v1/blobs/" + url.PathEscape(name)} {
			u, err := url.Parse(h.url + target)
			if err != nil {
				continue // no client can send it
			}
			got := h.do(t, key, http.MethodGet, u.RequestURI(), nil, "")
			if strings.Contains(got.body, secret) || got.status < 300 {
				t.Errorf("%q: %d %.100s", target, got.status, got.body)
			}
		}
	}
	// A link in the folder, as a careless restore could leave one, leads nowhere either.
	file := filepath.Join(store, mine.ws.String(), id)
	for _, to := range []string{filepath.Join(dir, "secret.key"), "../../secret.key", filepath.Join(store, victim.ws.String(), foreign.String())} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, file); err != nil {
			t.Fatal(err)
		}
		if got := h.do(t, key, http.MethodGet, "/v1/blobs/"+id, nil, ""); got.status < 400 {
			t.Errorf("a link to %s: %d %.100s", to, got.status, got.body)
		}
	}
}
