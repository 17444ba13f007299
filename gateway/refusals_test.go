package gateway_test

import (
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func TestAnAgentThatRepeatsARefusedCallDoesNotFillTheLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &recording{answer: plainAnswer})
	const unbounded = `{"model":"sim/claude-sonnet-4-5","max_tokens":100,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://example.com/x.png"}}]}]}`
	stubborn, other := w.run(corp.Dollar), w.run(corp.Dollar)
	const atOnce, every = 200, 6 * time.Second // what is recorded of a run
	start := time.Now()
	for range atOnce + 200 {
		if got := stubborn.call(unbounded); got.status != 400 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	other.call(unbounded)
	other.only()
	stubborn.calls(atOnce)
	if n := pgtest.Value[int64](t, w.env, `SELECT count(*) FROM calls WHERE run_id = $1`, stubborn.task.RunID); n > atOnce+1+int64(time.Since(start)/every) {
		t.Errorf("%d refusals were recorded in %s, want at most %d and one every %s", n, time.Since(start), atOnce, every)
	}
}
