package main

import (
	"testing"

	"github.com/genericcorp/corp"
)

func TestACallThatWasNotAnsweredShowsTheModelThatWasAsked(t *testing.T) {
	t.Parallel()
	for want, k := range map[string]corp.Call{
		"sim/m-2026":       {Provider: "sim", ModelAsked: "m", ModelServed: "m-2026"},
		"sim/m":            {Provider: "sim", ModelAsked: "m"},
		"sim/n":            {Provider: "sim", ModelAsked: "sim/n"},
		"nobody/m":         {ModelAsked: "nobody/m"},
		"router/meta/llam": {Provider: "router", ModelAsked: "meta/llam"},
	} {
		if got := modelOf(k); got != want {
			t.Errorf("%+v: %s, want %s", k, got, want)
		}
	}
}
