package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func TestAClientCannotSteerAProxyInFrontOfTheVendor(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	a := newWorld(t, vendor).run(0)
	r := a.request(t.Context(), message("sim/claude-sonnet-4-5", "hi", "50", false))
	steering := []string{
		"Forwarded", "X-Forwarded-Host", "x-forwarded-for", "X-Forwarded-Proto", "X-Original-URL", "X-Rewrite-Url", "X-Host", "X-HTTP-Method-Override",
		"Helicone-Target-URL", "Helicone-Auth", "X-Portkey-Custom-Host", "x-portkey-config", "Cf-Aig-Authorization", "X-Envoy-Original-Dst-Host", "X-Target-Url", "X-Upstream-Host",
		"Cookie", "Api-Key", "OpenAI-Org" + "anization", "OpenAI-Project", "X-Real-IP", "Via", "X-Litellm-Api-Base",
	}
	for _, name := range steering {
		r.Header.Set(name, "169.254.169.254")
	}
	r.Header.Set("X-New", "stays")
	r.Host = "victim.example.com"
	if got := a.do(r); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	up, _ := vendor.last(t)
	for _, name := range steering {
		if got := up.Header.Get(name); got != "" {
			t.Errorf("%s reached the vendor", name)
		}
	}
	if up.Header.Get("X-New") != "stays" {
		t.Error("a harmless header did not reach the vendor; the test proves nothing")
	}
	if !strings.HasPrefix(up.Host, "127.0.0.1:") {
		t.Errorf("the vendor was called as %q", up.Host)
	}
}

func TestABodyCannotSteerAProxyInFrontOfTheVendor(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	a := newWorld(t, vendor).run(0)
	for _, field := range []string{"api_base", "API_Base", "api_\\u0062ase", "base_url", "api_key", "extra_headers", "user_config", "custom_llm_provider"} {
		got := a.call(`{"model":"sim/claude-sonnet-4-5","max_tokens":50,"` + field + `":"http://169.254.169.254","messages":[{"role":"user","content":"hi"}]}`)
		if got.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", field, got.status, got.body)
		}
	}
	if got := a.call(`{"model":"sim/claude-sonnet-4-5","max_tokens":50,"brand_new":{"api_base":1},"messages":[{"role":"user","content":"hi"}]}`); got.status != http.StatusOK {
		t.Errorf("what is new: %d %s", got.status, got.body)
	}
	if up, _ := vendor.last(t); up == nil {
		t.Error("nothing reached the vendor; the test proves nothing")
	}
}

// Attack case 51. Control: the installation's own vendor at such an address is called, in TestTheInstallationsVendorIsWhereTheOperatorSays.
func TestAWorkspacesOwnVendorIsNotInsideTheOperatorsNetwork(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	vendor := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		plainAnswer(w, r)
	})
	w := newWorld(t, vendor, func(c *gateway.Config) { c.Outbound = outbound.Policy{} })
	inside := httptest.NewTLSServer(vendor)
	t.Cleanup(inside.Close)
	w.provider("metadata", "http://169.254.169.254")
	w.provider("tls", inside.URL)
	w.provider("named", strings.Replace(inside.URL, "127.0.0.1", "localhost", 1))
	w.provider("odd", strings.Replace(inside.URL, "127.0.0.1", "2130706433", 1))
	for _, provider := range []string{"sim", "metadata", "tls", "named", "odd"} {
		got := w.run(0).call(message(provider+"/claude-sonnet-4-5", "hi", "50", false))
		if got.status != http.StatusBadRequest || !strings.Contains(string(got.body), "--allow-private") {
			t.Errorf("%s: %d %s, want a refusal that says what helps", provider, got.status, got.body)
		}
	}
	if calls.Load() != 0 {
		t.Fatal("an address inside was called")
	}
}

func TestTheInstallationsVendorIsWhereTheOperatorSays(t *testing.T) {
	t.Parallel()
	vendor := &recording{answer: plainAnswer}
	w := newWorldIn(t, pgtest.Database(t), vendor, func(c *gateway.Config) {
		c.Outbound = outbound.Policy{}
		c.Env = func(string) string { return vendorKey }
	})
	err := w.env.DB.System("test").SetInstallationProviders(t.Context(), []postgres.InstallationProvider{{
		Provider: corp.Provider{ID: corp.NewID[corp.ProviderID](), ProviderSpec: corp.ProviderSpec{
			Name: "operators", Dialect: corp.DialectAnthropic, BaseURL: w.vendor, Vendor: "anthropic",
		}, Installation: true, CreatedBy: corp.ActorSystem},
		KeyEnv: "KEY",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.run(0).call(message("operators/claude-sonnet-4-5", "hi", "50", false)); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
}
