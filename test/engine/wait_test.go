//go:build engine || soak

package engine

import (
	"context"
	"os"
	"testing"
	"time"
)

// patience is how long a test waits for what should come in seconds. Less of it
// is enough to see that a mutation broke something.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv(envPatience)); err == nil {
		return d
	}
	return 90 * time.Second
}()

// pauseFor waits, and says whether ctx still lives.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// until asks until the answer is yes, and returns how long that took; what
// names it in the failure.
func until(t testing.TB, within time.Duration, what string, ask func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for !ask() {
		if !pauseFor(ctx, 10*time.Millisecond) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
	return time.Since(began)
}

// window lets time pass, when that is what a test is about: work goes on, or a
// lease runs out.
func window(t testing.TB, d time.Duration) {
	t.Helper()
	pauseFor(t.Context(), d)
}

// folder makes a folder in memory that other users may pass through.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(shop, "t-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
