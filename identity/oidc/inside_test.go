package oidc_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/oidc"
	"github.com/genericcorp/corp/identity/oidc/oidctest"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/seal"
)

// serveAt serves on an address of this machine.
func serveAt(t *testing.T, address string, h http.Handler) (url string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// An issuer says itself where its keys and tokens are. 127.0.0.2 stands for the
// public address: it is the only one that the policy lists.
// Attack case 51. Control: with all of its addresses outside, the same issuer signs somebody in.
func TestAnIssuerLeadsNobodyInside(t *testing.T) {
	t.Parallel()
	var inside atomic.Int64
	inner := serveAt(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		inside.Add(1)
		_, _ = w.Write([]byte(`{"keys":[]}`))
	}))
	ring, err := seal.New([]byte(strings.Repeat("k", seal.SecretSize)))
	if err != nil {
		t.Fatal(err)
	}
	client := outbound.NewClient(outbound.Policy{Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}}, 1<<20)
	for name, change := range map[string]func(document map[string]any) (redirect string){
		"nothing":             func(map[string]any) string { return "" },
		"keys inside":         func(d map[string]any) string { d["jwks_uri"] = inner + "/keys"; return "" },
		"tokens inside":       func(d map[string]any) string { d["token_endpoint"] = inner + "/token"; return "" },
		"keys at metadata":    func(d map[string]any) string { d["jwks_uri"] = "http://169.254.169.254/latest"; return "" },
		"keys by another way": func(d map[string]any) string { d["jwks_uri"] = "file:///etc/passwd"; return "" },
		"a redirect inside":   func(map[string]any) string { return inner + "/.well-known/openid-configuration" },
	} {
		issuer := oidctest.New()
		issuer.Become(map[string]any{"sub": "ada-1", "email": "ada@example.com", "email_verified": true})
		outer := serveAt(t, "127.0.0.2:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/.well-known/openid-configuration" {
				issuer.ServeHTTP(w, r)
				return
			}
			said := httptest.NewRecorder()
			issuer.ServeHTTP(said, r)
			var document map[string]any
			if err := json.Unmarshal(said.Body.Bytes(), &document); err != nil {
				t.Error(err)
			}
			if to := change(document); to != "" {
				http.Redirect(w, r, to, http.StatusFound)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(document)
		}))
		issuer.Address = outer
		w := &world{issuer: issuer, now: time.Now()}
		if w.Party, err = oidc.New(client, ring, redirect, w.clock, []oidc.Config{
			{Name: "ours", Issuer: outer, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret}, {Name: "inside", Issuer: inner, ClientID: "x"},
		}); err != nil {
			t.Fatal(err)
		}
		address, cookie, err := w.Begin(t.Context(), "ours", corp.UserID{}, corp.SessionID{})
		var who oidc.Person
		if err == nil {
			who, _, err = w.Finish(t.Context(), cookie, w.visit(t, address))
		}
		if (err == nil) != (name == "nothing") || (who.Subject == "ada-1") != (name == "nothing") {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
		if err != nil && strings.Contains(err.Error(), "root:") {
			t.Errorf("%s tells %v", name, err)
		}
		if _, _, err := w.Begin(t.Context(), "inside", corp.UserID{}, corp.SessionID{}); corp.KindOf(err) != corp.KindUnavailable {
			t.Errorf("an issuer that is inside itself: %v", err)
		}
	}
	if inside.Load() != 0 {
		t.Errorf("%d requests came inside", inside.Load())
	}
}
