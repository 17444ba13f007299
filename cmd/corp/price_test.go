package main

import (
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

func TestRatesAreReadExactly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]corp.Picodollars{"0": 0, "0.15": 150_000, "$2.50": 2_500_000, "0.000001": 1, "150": 150_000_000} {
		var r rate
		if err := r.Set(text); err != nil || r.value != want || r.given() == nil {
			t.Errorf("%s: %d, %v", text, r.value, err)
		}
	}
	for _, bad := range []string{"", "-1", "0.0000001", "1e3", "free"} {
		if err := new(rate).Set(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if new(rate).given() != nil || perMillion(150_000) != "$0.15" || perMillion(0) != "$0.00" {
		t.Error("a rate is not shown as it was given")
	}
}

func TestAPriceOfZeroMustBeSaid(t *testing.T) {
	t.Parallel()
	_, errs, code := command(t, map[string]string{"CORP_DATA": t.TempDir()}, "price", "add", "m", "--vendor", "ollama", "--output", "0")
	if code != 2 || !strings.Contains(errs, "input") {
		t.Errorf("exit %d: %s", code, errs)
	}
	_, errs, code = command(t, map[string]string{"CORP_DATA": t.TempDir()}, "provider", "add", "x", "--base-url", "http://127.0.0.1:1/v1")
	if code != 2 || !strings.Contains(errs, "no-key") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
