package trail_test

import (
	"testing"
	"time"

	"github.com/genericcorp/corp/postgres/pgtest"
)

// What a round of the sealer costs when each of many workspaces has one new event.
func BenchmarkSealTheLogsOf1000Workspaces(b *testing.B) {
	l := fresh(b)
	var rounds int
	for b.Loop() {
		b.StopTimer()
		l.Exec(b, `INSERT INTO audit_events (workspace_id, id, actor, via, operation, action, target, result, request_id, personal_hash)
			SELECT ('00000000-0000-0000-0001-' || lpad(to_hex(n), 12, '0'))::uuid, gen_random_uuid(), 'key_01m82h6xcgejj95vrv2d2ck9ce', '', 'createAgent', 'agent.write', 'agent_01m82h6xcgejj95vrv2d2ck9ce', 'done', 'req_sqkfhciox6h3eja7dkon27qt5i', ''
			FROM generate_series(1, 1000) n`)
		b.StartTimer()
		l.seal(b)
		rounds++
	}
	idle := time.Now()
	for range 20 {
		if backlog, err := l.Backlog(b.Context()); err != nil || len(backlog.Logs) > 0 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(time.Since(idle).Microseconds())/20, "µs-when-nothing-is-new")
	bytes := pgtest.Value[int64](b, l.Env, `SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c WHERE c.relname ~ '^audit_(events|links|checkpoints)' AND c.relkind IN ('r') `)
	b.ReportMetric(float64(bytes)/float64(rounds*1000), "B/event")
}
