package test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/vendorsim"
)

const model = "claude-sonnet-4-5"

// vendor is a simulated vendor that a server's agents may call.
type vendor struct {
	*vendorsim.Server
	url string
}

func newVendor(t *testing.T, scenarios ...string) *vendor {
	t.Helper()
	return newVendorAt(t, "", scenarios...)
}

// newVendorAt is one behind a path of its own.
func newVendorAt(t *testing.T, path string, scenarios ...string) *vendor {
	t.Helper()
	var loaded []*vendorsim.Scenario
	for _, text := range scenarios {
		s, err := vendorsim.Load(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		loaded = append(loaded, s)
	}
	sim := vendorsim.New(vendorsim.Options{}, loaded...)
	web := httptest.NewServer(http.StripPrefix(path, sim))
	t.Cleanup(web.Close)
	return &vendor{sim, web.URL + path}
}

// with makes the vendor the provider "sim" of the server, and the default agent
// one of its model.
func (s *server) with(v *vendor) {
	s.t.Helper()
	r := s.corpWith(s.t.Context(), []string{"SIM_KEY=sim-secret"}, "provider", "add", "sim", "--dialect", "anthropic", "--base-url", v.url, "--key-env", "SIM_KEY")
	if r.code != 0 {
		s.t.Fatalf("provider add: %d %s%s", r.code, r.out, r.err)
	}
	s.must("agent", "update", "default", "--model", "sim/"+model)
}

// cost prices the vendor's own books by the price book.
func (v *vendor) cost(t *testing.T) (sum corp.Nanodollars, usage corp.Usage) {
	t.Helper()
	prices, err := pricebook.Prices()
	if err != nil {
		t.Fatal(err)
	}
	book := pricebook.New(prices)
	for _, call := range v.Books().Calls {
		quote, ok := book.Lookup(corp.DialectAnthropic, call.Model, time.Now())
		if !ok && call.Usage != (vendorsim.Usage{}) {
			t.Fatalf("no price for %q", call.Model)
		}
		u := corp.Usage{FreshInput: call.Usage.Input, CacheRead: call.Usage.CacheRead, CacheWriteShort: call.Usage.CacheWrite5m, CacheWriteLong: call.Usage.CacheWrite1h, Output: call.Usage.Output}
		c, _, _ := quote.Cost(u)
		sum, usage = sum+c, usage.Add(u)
	}
	return sum, usage
}

var (
	clientAll = client.TaskQuery{}
	usageAll  = client.UsageQuery{}
)

// What is replaced of a provider is what is said, and only its key when that is all.
func TestOnlyWhatIsSaidOfAProviderIsReplaced(t *testing.T) {
	t.Parallel()
	s := start(t)
	add := func(args ...string) result {
		return s.corpWith(t.Context(), []string{"VENDOR_KEY=a-secret"}, append([]string{"provider", "add"}, args...)...)
	}
	is := func(want corp.ProviderSpec, r result) {
		t.Helper()
		var got []corp.Provider
		if err := json.Unmarshal([]byte(s.must("provider", "list", "-o", "json")), &got); err != nil || r.code != 0 {
			t.Fatalf("%v, %d %s", err, r.code, r.err)
		}
		if !slices.ContainsFunc(got, func(p corp.Provider) bool { return p.ProviderSpec == want }) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	spec := corp.ProviderSpec{Name: "mine", Dialect: corp.DialectOpenAI, BaseURL: "http://127.0.0.1:9/v1", Vendor: "groq"}
	for _, short := range [][]string{{"mine"}, {"mine", "--key-env", "VENDOR_KEY"}, {"mine", "--base-url", spec.BaseURL}} {
		if r := add(short...); r.code != 2 {
			t.Errorf("%v: %d %s%s", short, r.code, r.out, r.err)
		}
	}
	is(spec, add("mine", "--dialect", spec.Dialect, "--base-url", spec.BaseURL, "--vendor", spec.Vendor, "--key-env", "VENDOR_KEY"))
	is(spec, add("mine", "--replace", "--key-env", "VENDOR_KEY"))
	spec.Vendor = "together"
	is(spec, add("mine", "--replace", "--vendor", spec.Vendor))
	if r := add("mine", "--replace", "--base-url", "http://127.0.0.1:10/v1"); r.code == 0 || !strings.Contains(r.err, "key") {
		t.Errorf("the key is kept for another address: %d %s", r.code, r.err)
	}
	spec.BaseURL = "http://127.0.0.1:10/v1"
	is(spec, add("mine", "--replace", "--base-url", spec.BaseURL, "--no-key"))
}
