package test

import (
	"net/http/httptest"
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
	var loaded []*vendorsim.Scenario
	for _, text := range scenarios {
		s, err := vendorsim.Load(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		loaded = append(loaded, s)
	}
	sim := vendorsim.New(vendorsim.Options{}, loaded...)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	return &vendor{sim, web.URL}
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
