package contexts_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/client/contexts"
)

// exchange answers refreshes, and counts them. It takes the newest credential only.
type exchange struct {
	asked  atomic.Int64
	mu     sync.Mutex
	newest string
	file   contexts.File
}

func (e *exchange) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/auth/refresh" {
		// Whoever uses a token has stored it before.
		set, err := e.file.Read()
		if token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); err != nil || set.Known["x"].Access != token {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write([]byte("{}"))
		return
	}
	var ask client.RefreshRequest
	_ = json.NewDecoder(r.Body).Decode(&ask)
	e.mu.Lock()
	defer e.mu.Unlock()
	if ask.Refresh != e.newest {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"kind":"unauthenticated","code":"signed_out","detail":"You are not signed in any more."}`)
		return
	}
	n := e.asked.Add(1)
	e.newest = fmt.Sprintf("gc_refresh_%d", n)
	_ = json.NewEncoder(w).Encode(client.SignedIn{Access: fmt.Sprintf("access-%d", n), ExpiresIn: 600, Refresh: e.newest})
}

func opened(t *testing.T) (*exchange, contexts.File, contexts.Context) {
	t.Helper()
	file := contexts.File(filepath.Join(t.TempDir(), "corp", "contexts.json"))
	e := &exchange{newest: "gc_refresh_0", file: file}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	c := contexts.Context{Server: server.URL, Access: "access-0", Refresh: e.newest, Until: time.Now()}
	err := file.Change(func(s *contexts.Set) error {
		s.Known["x"], s.Current = c, "x"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, file, c
}

func TestTwentyCommandLinesAtOnceExchangeACredentialOnce(t *testing.T) {
	t.Parallel()
	e, file, c := opened(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { // each with the file as it was when it began, as processes have it
			err := client.New(c.Server, "", client.Options{Credential: file.Session("x", c, client.Options{})}).Health(t.Context())
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := e.asked.Load(); n != 1 {
		t.Errorf("exchanged %d times", n)
	}
	info, err := os.Stat(string(file))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v %v", info, err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(string(file)), "*.new"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestASessionThatIsOverSaysHowToSignInAgain(t *testing.T) {
	t.Parallel()
	e, file, c := opened(t)
	e.mu.Lock()
	e.newest = "gc_refresh_of_somebody_else"
	e.mu.Unlock()
	_, err := file.Session("x", c, client.Options{}).Key(t.Context())
	if corp.KindOf(err) != corp.KindUnauthenticated || !strings.Contains(fmt.Sprintf("%#v", err), "corp login") {
		t.Errorf("%v", err)
	}
	if err := file.Change(func(s *contexts.Set) error { return s.Drop("x") }); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Session("x", c, client.Options{}).Renew(t.Context(), "access-0"); corp.KindOf(err) != corp.KindUnauthenticated {
		t.Errorf("a context that is gone: %v", err)
	}
}

func TestACredentialIsNotExchangedWithAnotherServer(t *testing.T) {
	t.Parallel()
	e, file, c := opened(t)
	elsewhere := c
	elsewhere.Server = "http://192.0.2.1"
	if _, err := file.Session("x", elsewhere, client.Options{}).Key(t.Context()); corp.KindOf(err) != corp.KindUnauthenticated || e.asked.Load() != 0 {
		t.Errorf("%v, exchanged %d times", err, e.asked.Load())
	}
}

func TestAFailedChangeChangesNothing(t *testing.T) {
	t.Parallel()
	_, file, _ := opened(t)
	if err := file.Change(func(s *contexts.Set) error { s.Current = "y"; return contexts.Unknown("y") }); corp.KindOf(err) != corp.KindInvalid {
		t.Error(err)
	}
	if set, err := file.Read(); err != nil || set.Current != "x" {
		t.Errorf("%+v %v", set, err)
	}
}
