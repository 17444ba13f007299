package api

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// BenchmarkAdmission is what it costs to know who makes a request, whether they
// may, and whether they do it too often, when the server has just heard of them:
// one operation that reads nothing, with all of that and by the same code without
// any, and what the least of handlers takes. No network is in it.
func BenchmarkAdmission(b *testing.B) {
	h := build(b.Context(), b, pgtest.Database(b), b.TempDir())
	o := h.office(b)
	h.env.Exec(b, `UPDATE plans SET requests_per_hour = 1000000000, request_burst = 1000000 WHERE name = 'pro'`)
	person := o.person(b, corp.RoleMember)
	in, err := h.api.Identity.SignIn(b.Context(), identity.Login{Email: person.email, Password: goodPassword, Kind: corp.SessionBrowser}, identity.Caller{})
	if err != nil {
		b.Fatal(err)
	}
	if err := h.api.People.Of(person.id).WorkIn(b.Context(), in.Session, o.ws); err != nil {
		b.Fatal(err)
	}
	was := []int64{perAddress.Quota, perAddress.Burst}
	perAddress.Quota, perAddress.Burst = 3_000_000_000, 100_000_000
	defer func() { perAddress.Quota, perAddress.Burst = was[0], was[1] }()

	least := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"version":"test"}`))
	})
	ask := func(name string, handler http.Handler, address, header, value string) {
		b.Run(name, func(b *testing.B) { serve(b, handler, address, header, value) })
	}
	ask("bare", least, "127.0.0.1", "", "")
	ask("open", h.api.unguarded(corp.Identity{Workspace: o.ws, Actor: "key_1", Role: corp.RoleMember, Name: "member"}), "127.0.0.1", "", "")
	for _, plan := range []string{"unlimited", "pro"} {
		h.env.Exec(b, `UPDATE workspaces SET plan = $2 WHERE workspace_id = $1`, o.ws, plan)
		h.api.auth.changed(postgres.Notice{Kind: postgres.NoticeResync})
		address := "127.0.0.1"
		if plan == "pro" {
			address = "198.51.100.7"
		}
		ask(plan+"/key", h.api.Handler(), address, "Authorization", "Bearer "+o.keys[corp.RoleMember])
		ask(plan+"/token", h.api.Handler(), address, "Authorization", "Bearer "+person.access)
		ask(plan+"/cookie", h.api.Handler(), address, "Cookie", h.api.Cookie+"="+in.Cookie)
	}
	h.server.CloseClientConnections()
}

// serve answers the same request again and again.
func serve(b *testing.B, handler http.Handler, address, header, value string) {
	b.Helper()
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://localhost/v1/whoami", nil)
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(address), 4711).String()
	r.Header.Set("User-Agent", "bench/1")
	if header != "" {
		r.Header.Set(header, value)
	}
	w := &sink{header: http.Header{}}
	handler.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		b.Fatalf("status %d: %s", w.status, w.body)
	}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		w.body = w.body[:0]
		handler.ServeHTTP(w, r)
	}
}

// sink takes an answer.
type sink struct {
	header http.Header
	status int
	body   []byte
}

func (s *sink) Header() http.Header { return s.header }

func (s *sink) WriteHeader(status int) { s.status = status }

func (s *sink) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	s.body = append(s.body, b...)
	return len(b), nil
}

// unguarded is the same server with the same operation, but without the middleware
// that asks who calls, whether they may and how often.
func (a *API) unguarded(who corp.Identity) http.Handler {
	mux := http.NewServeMux()
	bare := huma.NewAPI(humaConfig(), humago.NewAdapter(mux, ""))
	bare.UseMiddleware(func(hctx huma.Context, next func(huma.Context)) {
		exchangeOf(hctx.Context()).who = who
		next(hctx)
	})
	op := operations[slices.IndexFunc(operations, func(op operation) bool { return op.id == "whoami" })]
	op.handle(a, bare, op.describe())
	return a.exchanges(mux)
}
