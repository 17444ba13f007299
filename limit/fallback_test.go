package limit_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/limit/redistest"
)

var discard = slog.New(slog.DiscardHandler)

// Attack case 59. Control: with the counter there both are admitted.
func TestWithoutRedisLimitsAreLocalAndSignInIsClosed(t *testing.T) {
	t.Parallel()
	server, c := redistest.Start(t), newClock()
	r := newRedis(t, server.URL(), limit.WithClock(c.Now))
	f := limit.WithFallback(r, limit.NewMemory(c.Now, 100), discard)
	open := limit.Ask{Key: newKey(), Policy: policy(60, 3), Cost: 1}
	strict := limit.Ask{Key: newKey(), Policy: limit.Policy{Name: "sign-in", Quota: 60, Window: time.Hour, Burst: 3, FailClosed: true}, Cost: 1}

	for range 2 {
		if !admitted(t, f, open) {
			t.Fatal("refused while there is enough")
		}
	}
	if !admitted(t, f, strict) || f.Down() {
		t.Fatal("what fails closed is refused while redis is there")
	}
	server.Stop()
	for i, want := range []bool{true, true, true, false} { // this server's own bucket is whole
		if admitted(t, f, open) != want {
			t.Fatalf("request %d without redis: not %v", i, want)
		}
	}
	if !f.Down() {
		t.Fatal("the fallback is not said to be in force")
	}
	_, err := f.Take(t.Context(), []limit.Ask{open, strict})
	unavailable(t, err)
	_, err = f.Wait(t.Context(), "account")
	unavailable(t, err)
	unavailable(t, f.Fail(t.Context(), "account"))
	unavailable(t, f.Clear(t.Context(), "account"))

	server.Restart()
	within(t, func() bool {
		_, err := f.Take(t.Context(), []limit.Ask{strict})
		return err == nil
	})
	if f.Down() {
		t.Fatal("the fallback is in force beside redis")
	}
	for i, want := range []bool{true, true, true, false} { // the restarted one knows nothing
		if admitted(t, f, open) != want {
			t.Fatalf("request %d with redis again: not %v", i, want)
		}
	}
}

func unavailable(t *testing.T, err error) {
	t.Helper()
	if corp.KindOf(err) != corp.KindUnavailable {
		t.Fatalf("not unavailable: %v", err)
	}
}

// A store that takes connections and never answers is the worst kind of down.
func TestADeadRedisHoldsUpTheFirstRequestsOnceAndNoOtherOnes(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }() // connections wait in its backlog
	const timeout = time.Second
	f := limit.WithFallback(newRedis(t, "redis://"+listener.Addr().String(), limit.WithTimeout(timeout)), limit.NewMemory(nil, 100), discard)
	ask := limit.Ask{Key: "k", Policy: policy(36_000, 1000), Cost: 1}

	start := time.Now()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { take(t, f, ask) })
	}
	wg.Wait()
	if took := time.Since(start); took > 10*timeout {
		t.Errorf("the first requests waited %s for a timeout of %s", took, timeout)
	}
	start = time.Now()
	for range 500 {
		take(t, f, ask)
	}
	if took := time.Since(start); took > timeout/2 {
		t.Errorf("500 requests beside a dead redis took %s", took)
	}
}

func TestACallerThatLeavesIsNotTakenForADeadRedis(t *testing.T) {
	t.Parallel()
	f := limit.WithFallback(newRedis(t, redistest.Start(t).URL(), limit.WithTimeout(10*time.Second)), limit.NewMemory(nil, 100), discard)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Take(ctx, []limit.Ask{{Key: "k", Policy: policy(60, 1), Cost: 1}}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if f.Down() || !admitted(t, f, limit.Ask{Key: "k", Policy: policy(60, 1), Cost: 1}) {
		t.Error("one caller's leaving changed how others are counted")
	}
}

func TestServersThatShareARedisCountTogetherByItsClock(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t).URL()
	a, b := newRedis(t, url, limit.WithTimeout(10*time.Second)), newRedis(t, url, limit.WithTimeout(10*time.Second))
	ask, n := limit.Ask{Key: newKey(), Policy: policy(10, 30), Cost: 1}, 0
	for range 40 {
		for _, s := range []*limit.Redis{a, b} {
			if admitted(t, s, ask) {
				n++
			}
		}
	}
	if n != 30 {
		t.Errorf("two servers admitted %d, want 30", n)
	}
	if err := a.Fail(t.Context(), "account"); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, b, "account"); got <= 0 || got > time.Second {
		t.Errorf("the other server waits %s", got)
	}
}

func TestKeysInRedisEnd(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := newRedis(t, server.URL(), limit.WithTimeout(10*time.Second))
	take(t, r, limit.Ask{Key: "taken", Policy: policy(3600, 10), Cost: 10})
	take(t, r, limit.Ask{Key: "looked", Policy: policy(3600, 10)})
	if err := r.Fail(t.Context(), "failed"); err != nil {
		t.Fatal(err)
	}
	for key, atMost := range map[string]int{"corp:taken": 71, "corp:pause:failed": 3661} {
		answer, err := server.Command("TTL", key)
		if err != nil {
			t.Fatal(err)
		}
		if n := number(t, answer); n < 1 || n > atMost {
			t.Errorf("%s lives for %d s, want at most %d", key, n, atMost)
		}
	}
	if answer, _ := server.Command("EXISTS", "corp:looked"); answer != ":0" {
		t.Errorf("looking left a key: %s", answer)
	}
}

func number(t *testing.T, answer string) (n int) {
	t.Helper()
	for _, digit := range strings.TrimPrefix(answer, ":") {
		if digit < '0' || digit > '9' {
			t.Fatalf("%q is no number", answer)
		}
		n = 10*n + int(digit-'0')
	}
	return n
}

func TestAWrongURLIsRefusedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://u:geheim@x", "geheim", "redis://x:port-geheim", "redis://:geheim@x:1/notanumber", "http://u:geheim@x?addr=y"} {
		_, err := limit.NewRedis(url)
		if corp.KindOf(err) != corp.KindInvalid || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
