package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadinessKeepsAYesForASecondAndAsksANoAgainSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked int
		ready := false
		r := newReadiness(func(context.Context) readyBody {
			asked++
			return readyBody{Ready: ready}
		})
		for range 100 { // a flood of probes is one question
			if r.now(t.Context()).Ready {
				t.Fatal("ready before it is")
			}
		}
		ready = true
		<-time.After(notReadyTTL + 1) // of the bubble's clock
		for range 100 {
			if !r.now(t.Context()).Ready {
				t.Fatal("a no was kept")
			}
		}
		if asked != 2 {
			t.Errorf("asked %d times, want 2", asked)
		}
		ready = false
		<-time.After(readyTTL / 2)
		if !r.now(t.Context()).Ready {
			t.Error("a yes was not kept")
		}
		<-time.After(readyTTL)
		if r.now(t.Context()).Ready {
			t.Error("a yes was kept for ever")
		}
	})
}
