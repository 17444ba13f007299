package identity_test

import (
	"log/slog"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/limit/redistest"
)

// L1: nobody guesses while no two servers agree on how often was guessed.
func TestWithoutTheSharedStoreNobodyGetsIn(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	shared, err := limit.NewRedis(redis.URL())
	ok(t, err)
	t.Cleanup(func() { _ = shared.Close() })
	w := newWorld(t, func(c *identity.Config) {
		store := limit.WithFallback(shared, limit.NewMemory(c.Now, 1000), slog.New(slog.DiscardHandler))
		c.Limits, c.Backoff = store, store
	})
	s := w.join(t, corp.SessionCLI)
	d, err := w.BeginDevice(t.Context(), s.from)
	ok(t, err)
	_, err = w.login(t, s.email, good, "")
	ok(t, err)

	redis.Stop()
	ways := map[string]func() error{
		"a password":      func() error { _, err := w.login(t, s.email, good, ""); return err },
		"an account":      func() error { return w.Register(t.Context(), unique("eve"), "Eve", from(t)) },
		"a forgotten one": func() error { return w.Reset(t.Context(), s.email, from(t)) },
		"a device's wait": func() error { _, err := w.TakeDevice(t.Context(), d.Secret, s.from); return err },
		"a device's code": func() error { _, err := w.Device(t.Context(), s.who, d.Code); return err },
	}
	for name, try := range ways {
		if err := try(); corp.KindOf(err) != corp.KindUnavailable {
			t.Errorf("%s: %v, want unavailable", name, err)
		}
	}
	if !w.alive(t, s.in.Session) {
		t.Error("who was in before is out")
	}
}
