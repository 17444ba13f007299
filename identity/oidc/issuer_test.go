package oidc_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity/oidc"
	"github.com/genericcorp/corp/identity/oidc/oidctest"
	"github.com/genericcorp/corp/seal"
)

// behind is a world whose issuer somebody stands before.
func behind(t *testing.T, front func(issuer http.Handler, w http.ResponseWriter, r *http.Request)) *world {
	t.Helper()
	w := &world{issuer: oidctest.New(), now: time.Now()}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { front(w.issuer, rw, r) }))
	t.Cleanup(w.server.Close)
	w.issuer.Address = w.server.URL
	w.Party = w.party(t, strings.Repeat("k", seal.SecretSize))
	return w
}

// Strangers begin sign-ins. An issuer that does not answer is asked once for all of them, and
// nobody waits longer than they like.
func TestASilentIssuerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	came, release := make(chan struct{}, 1), make(chan struct{})
	w := behind(t, func(issuer http.Handler, rw http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			issuer.ServeHTTP(rw, r)
			return
		}
		came <- struct{}{}
		<-release
		rw.WriteHeader(http.StatusInternalServerError)
	})
	begin := func(ctx context.Context) corp.Kind {
		_, _, err := w.Begin(ctx, "ours", corp.UserID{}, corp.SessionID{})
		return corp.KindOf(err)
	}
	patient := make(chan corp.Kind, 1)
	go func() { patient <- begin(t.Context()) }()
	<-came
	gone, leave := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	for range 10 {
		crowd.Go(func() {
			if kind := begin(gone); kind != corp.KindUnavailable {
				t.Errorf("who left is told %q", kind)
			}
		})
	}
	leave()
	crowd.Wait()
	close(release)
	if kind := <-patient; kind != corp.KindUnavailable {
		t.Errorf("who waited is told %q", kind)
	}
	if kind := begin(t.Context()); kind != corp.KindUnavailable || asked.Load() != 1 {
		t.Errorf("a moment later: %q, and it was asked %d times", kind, asked.Load())
	}
	w.mu.Lock()
	w.now = w.now.Add(6 * time.Second)
	w.mu.Unlock()
	if kind := begin(t.Context()); kind != "" || asked.Load() != 2 {
		t.Errorf("six seconds later: %q, and it was asked %d times", kind, asked.Load())
	}
}

// What one issuer answered is not taken for another's (RFC 9207). Control: of one that does
// not announce to say who it is, an answer without is taken.
func TestAnIssuerThatSaysWhoItIsDoesSoAlways(t *testing.T) {
	t.Parallel()
	for _, says := range []bool{true, false} {
		w := behind(t, func(issuer http.Handler, rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/.well-known/openid-configuration" {
				issuer.ServeHTTP(rw, r)
				return
			}
			whole := httptest.NewRecorder()
			issuer.ServeHTTP(whole, r)
			var document map[string]any
			if err := json.Unmarshal(whole.Body.Bytes(), &document); err != nil {
				t.Error(err)
			}
			document["authorization_response_iss_parameter_supported"] = says
			rw.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(rw).Encode(document)
		})
		answer, cookie := w.begin(t, "ours")
		answer.Issuer = ""
		_, _, err := w.Finish(t.Context(), cookie, answer)
		if (err != nil) != says || says && corp.KindOf(err) != corp.KindUnauthenticated {
			t.Errorf("announced %t: %v", says, err)
		}
		other, cookie := w.begin(t, "ours")
		other.Name = "wrong-secret"
		if who, _, err := w.Finish(t.Context(), cookie, other); corp.KindOf(err) != corp.KindUnauthenticated || who != (oidc.Person{}) {
			t.Errorf("come back to another's address: %+v, %v", who, err)
		}
	}
}
