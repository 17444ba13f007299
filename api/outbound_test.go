package api

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// TestAnAddressThatIsNeverReachedIsRefusedWhenItIsNamed covers the friendly half;
// the other half is the dialler's.
// Attack cases 50 and 51. Control: a public vendor is accepted, and on a laptop one inside.
func TestAnAddressThatIsNeverReachedIsRefusedWhenItIsNamed(t *testing.T) {
	t.Parallel()
	closed := houseOn(t, pgtest.New(t), t.TempDir(), func(a *API) { a.Outbound = outbound.Policy{} }).office(t)
	key := closed.keys[corp.RoleOwner]
	provider := must[corp.Provider](t)(closed.owner().CreateProvider(t.Context(), providerOf("https://vendor.example.com")))
	for _, u := range []string{
		"https://127.0.0.1", "https://localhost", "https://169.254.169.254", "https://[::1]", "https://[::ffff:10.0.0.1]", "https://[64:ff9b::a9fe:a9fe]", "https://2130706433", "https://0x7f000001",
		"https://0177.0.0.1", "https://127.1", "https://10.0.0.1", "https://[fd00:ec2::254]", "http://vendor.example.com", "https://metadata.google.internal",
	} {
		for _, c := range []struct{ method, route, body, field string }{
			{http.MethodPost, "/v1/providers", fmt.Sprintf(`{"name":%q,"dialect":"anthropic","base_url":%q,"key":"k"}`, unique("p"), u), "base_url"},
			{http.MethodPut, "/v1/providers/" + provider.ID.String(), fmt.Sprintf(`{"name":%q,"dialect":"anthropic","base_url":%q,"key":"k"}`, unique("p"), u), "base_url"},
			{http.MethodPost, "/v1/repositories", fmt.Sprintf(`{"name":%q,"url":%q}`, unique("r"), u+"/x.git"), "url"},
			{http.MethodPost, "/v1/tasks", fmt.Sprintf(`{"prompt":"x","repository_url":%q}`, u+"/x.git"), "repository_url"},
			{http.MethodPost, "/v1/batches", fmt.Sprintf(`{"tasks":[{"prompt":"x","repository_url":%q}]}`, u+"/x.git"), "tasks[0].repository_url"},
			{http.MethodPost, "/v1/schedules", fmt.Sprintf(`{"name":%q,"cron":"0 0 * * *","task":{"prompt":"x","repository_url":%q}}`, unique("s"), u+"/x.git"), "task.repository_url"},
		} {
			got := closed.do(t, key, c.method, c.route, nil, c.body)
			if p := got.problem(t); got.status != http.StatusUnprocessableEntity || p.Field != c.field || p.Code != outbound.CodeRefused || p.Hint == "" {
				t.Errorf("%s %s with %s: %d %s", c.method, c.route, u, got.status, got.body)
			}
		}
	}
	laptop := shared(t).office(t)
	for _, u := range []string{"http://127.0.0.1:11434", "http://models.lan"} {
		if _, err := laptop.owner().CreateProvider(t.Context(), providerOf(u)); err != nil {
			t.Errorf("on a laptop %s: %v", u, err)
		}
	}
	if _, err := laptop.owner().CreateProvider(t.Context(), providerOf("http://169.254.169.254")); corp.KindOf(err) != corp.KindInvalid {
		t.Errorf("metadata on a laptop: %v", err)
	}
}

func providerOf(url string) client.ProviderRequest {
	return client.ProviderRequest{ProviderSpec: corp.ProviderSpec{Name: unique("provider"), Dialect: corp.DialectAnthropic, BaseURL: url}, Key: "k"}
}
