//go:build engine

package engine

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

// skewClock is added to the standard library's package time, so that a process's
// wall clock is wrong by the seconds in CLOCK_SKEW, the other way every ten.
const skewClock = `package time

import "syscall"

var skewed = readSkew()

func readSkew() int64 {
	text, _ := syscall.Getenv("CLOCK_SKEW")
	n, err := atoi(text)
	if err != nil {
		return 0
	}
	return int64(n)
}

func skewAt(mono int64) int64 {
	if (mono-startNano)/10_000_000_000%2 == 1 {
		return -skewed
	}
	return skewed
}
`

// skewedBinary is the product with a clock that can be wrong.
var skewedBinary = sync.OnceValues(func() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	text, err := os.ReadFile(filepath.Join(dir, "time.go"))
	if err != nil {
		return "", err
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	patched := strings.Replace(string(text), now, now+"\tsec += skewAt(mono)\n", 1)
	if patched == string(text) {
		return "", os.ErrNotExist
	}
	overlay := map[string]map[string]string{"Replace": {
		filepath.Join(dir, "time.go"):   filepath.Join(shop, "time.go.txt"),
		filepath.Join(dir, "skewed.go"): filepath.Join(shop, "skewed.go.txt"),
	}}
	if mutation != "" {
		text, err := os.ReadFile(mutation)
		var more map[string]map[string]string
		if err == nil {
			err = json.Unmarshal(text, &more)
		}
		if err != nil {
			return "", err
		}
		maps.Copy(overlay["Replace"], more["Replace"])
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	for name, text := range map[string]string{"time.go.txt": patched, "skewed.go.txt": skewClock, "skew.json": string(list)} {
		if err := os.WriteFile(filepath.Join(shop, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return build("corp-skewed", "-overlay", filepath.Join(shop, "skew.json"))
})

// Invariant 18: the servers' wall clocks may be ten minutes wrong, and jump; the
// runners' an hour. Nothing that counts goes by them.
func TestWrongAndJumpingClocksHaveNoEffect(t *testing.T) {
	t.Parallel()
	slow, err := skewedBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, skew := range []string{"600", "-600"} {
		t.Run("servers wrong by "+skew+" s", func(t *testing.T) {
			t.Parallel()
			s := newSite(t, plan{servers: 2, binary: slow, env: []string{"CLOCK_SKEW=" + skew}})
			w := s.tenant("unlimited")
			delays := hold(t, 18, "servers' clocks "+skew+" s wrong and jumping: delays", "start in [t, t + 1 s]")
			s.checkDelays(delays, w)
			late := hold(t, 18, "servers' clocks "+skew+" s wrong: silent runner's runs", lossBound.String())
			early := hold(t, 18, "servers' clocks "+skew+" s wrong: no early expiry", "0 early")
			const each = 3
			gone := s.hand("gone", s.poolKey, each)
			ids := w.submitMany(each, work("ms=600000"))
			s.awaitRunning(ids...)
			s.quickRetry(ids...)
			window(t, 11*time.Second) // over a jump
			d := newDiary()
			s.crew("heir", s.poolKey, each, d)
			m := slowness(t)
			gone.kill()
			for _, id := range ids {
				s.checkLoss(late, early, d, id, time.Now(), m)
				lost := value[int](s.oracle, `SELECT count(*)::int FROM runs WHERE task_id = $1 AND state = 'lost'`, id)
				early.must(lost == 1, "task %s lost %d runs", id, lost)
			}
			early.saw("0 early")
			s.cancelAll(w)
		})
	}
	t.Run("runners wrong by an hour", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, plan{servers: 2})
		w := s.tenant("unlimited")
		r := hold(t, 18, "runners' clocks 1 h wrong either way", "1 attempt each, times are the server's")
		for name, skew := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
			s.crew(name, s.poolKey, 4, newDiary(), func(f *sim) { f.skew = skew })
		}
		ids := w.submitMany(12, work("ms=%d&entries=3", (ttl+time.Second).Milliseconds()))
		s.awaitFinal(patience, ids...)
		for _, id := range ids {
			task := w.task(id)
			r.must(task.State == corp.TaskSucceeded && task.Attempts == 1, "task %s is %s after %d attempts", id, task.State, task.Attempts)
			wrong := value[int](s.oracle, `SELECT count(*)::int FROM runs WHERE task_id = $1 AND (finished_at - started_at NOT BETWEEN interval '3 seconds' AND interval '60 seconds' OR finished_at > clock_timestamp())`, id)
			r.must(wrong == 0, "task %s has a time of its runner's clock", id)
		}
		r.saw("1 attempt each")
	})
}
