//go:build engine

package engine

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// Invariant 20: a transaction that somebody forgot, and that keeps every dead row
// alive, does not make claiming dearer.
func TestAForgottenTransactionDoesNotMakeClaimsDear(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{noServers: true, noAudit: true})
	const tasks, batch, segments = 100_000, 50, 10
	r := hold(t, 20, "processor time of a claim after 100k tasks, xmin pinned", "<= 2 x the first 10k")
	tenants := s.seedTenants(20, "unlimited", 1)
	s.seedTasks(tasks/len(tenants), "ms=1", tenants...)
	s.oracle.execWithin(seeding, `VACUUM ANALYZE`)
	db, err := postgres.Open(t.Context(), postgres.Config{AppURL: s.pg.AppURL(), SystemURL: s.pg.SystemURL(), MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	forgotten, err := s.oracle.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = forgotten.Rollback(t.Context()) })
	if _, err := forgotten.Exec(t.Context(), `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM workspaces`); err != nil {
		t.Fatal(err)
	}
	server := corp.NewID[corp.ServerID]()
	term, ok, err := db.System("suite").TakeLeadership(t.Context(), server, "nowhere", time.Hour)
	if err != nil || !ok {
		t.Fatalf("lead: %v, %v", ok, err)
	}
	queue := s.queue()
	var cpu []time.Duration // a claim's, by segment
	for part := range slices.Chunk(queue, tasks/segments) {
		if len(cpu) == segments/2 { // as happens now and then by itself; it must not lead the planner astray
			s.oracle.execWithin(seeding, `ANALYZE`)
		}
		began, claims := s.systemTime(), 0
		var spent time.Duration
		for some := range slices.Chunk(part, batch) {
			claimed, err := db.System("suite").ClaimRuns(t.Context(), server, term, some)
			if err != nil || len(claimed) != len(some) {
				t.Fatalf("claimed %d of %d: %v", len(claimed), len(some), err)
			}
			claims++
			if claims%20 == 0 { // what is claimed ends, a little later, past the product's connection
				s.end(part[(claims-20)*batch : claims*batch])
			}
		}
		spent = s.systemTime() - began
		cpu = append(cpu, spent/time.Duration(claims))
	}
	r.look(len(queue) / batch)
	first, last := cpu[0], slices.Max(cpu[segments/2:])
	r.saw("%v -> %v (x %.2f)", first, last, float64(last)/float64(first))
	if last > 2*first {
		t.Errorf("a claim of %d cost %v at first and %v later: %v", batch, first, last, cpu)
	}
}

// queue reads all that is queued, as claims.
func (s *site) queue() (claims []postgres.Claim) {
	s.t.Helper()
	type queued struct {
		Workspace corp.WorkspaceID
		Run       corp.RunID
	}
	for i, q := range ask[queued](s.oracle, `SELECT workspace_id, id FROM runs WHERE state = 'queued' ORDER BY created_at, workspace_id`) {
		claims = append(claims, postgres.Claim{
			Workspace: q.Workspace, RunID: q.Run, Epoch: 1, RunnerID: corp.NewID[corp.RunnerID](), RunnerName: "suite",
			LeaseHash: []byte(fmt.Sprint("lease", i)), RunKeyHash: []byte(fmt.Sprint("key", i)), AckWithin: time.Hour, TTL: time.Hour,
		})
	}
	return claims
}

// end makes runs final, as their runners would.
func (s *site) end(claims []postgres.Claim) {
	s.t.Helper()
	ids := make([]corp.RunID, len(claims))
	for i, c := range claims {
		ids[i] = c.RunID
	}
	s.oracle.exec(`
		WITH r AS (UPDATE runs SET state = 'succeeded', run_key_hash = NULL, finished_at = clock_timestamp() WHERE id = ANY($1) RETURNING workspace_id, task_id)
		UPDATE tasks t SET state = 'succeeded', finished_at = clock_timestamp() FROM r WHERE t.workspace_id = r.workspace_id AND t.id = r.task_id`, ids)
}

// systemTime is the processor time of the connection that claims.
func (s *site) systemTime() time.Duration {
	s.t.Helper()
	pid := value[int](s.oracle, `SELECT pid FROM pg_stat_activity WHERE usename = 'corp_system' AND datname = current_database() ORDER BY backend_start LIMIT 1`)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] { // in user mode and in the kernel
		n, err := strconv.Atoi(field)
		if err != nil {
			s.t.Fatal(err)
		}
		ticks += n
	}
	const tick = 10 * time.Millisecond // Linux counts a hundred a second
	return time.Duration(ticks) * tick
}
