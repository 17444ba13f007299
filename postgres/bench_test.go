package postgres_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	doors "github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func BenchmarkReadATask(b *testing.B) {
	env, ws, db := door(b)
	task := env.Submit(b, ws, corp.TaskSpec{})
	for b.Loop() {
		must(db.Task(b.Context(), task.ID))(b)
	}
}

func BenchmarkSubmitATask(b *testing.B) {
	env, ws, _ := door(b)
	for b.Loop() {
		env.Submit(b, ws, corp.TaskSpec{})
	}
}

func BenchmarkClaim50Runs(b *testing.B) {
	env := pgtest.Database(b)
	ws := env.Workspace(b)
	system := env.DB.System("bench")
	server := corp.NewID[corp.ServerID]()
	term, _, err := system.TakeLeadership(b.Context(), server, "here", time.Hour)
	ok(b, err)
	for b.Loop() {
		b.StopTimer()
		for range 50 {
			env.Submit(b, ws, corp.TaskSpec{})
		}
		var claims []postgres.Claim
		for _, q := range must(system.QueueOf(b.Context(), []corp.WorkspaceID{ws}))(b) {
			claims = append(claims, claimOf(q))
		}
		b.StartTimer()
		if claimed := must(system.ClaimRuns(b.Context(), server, term, claims))(b); len(claimed) != 50 {
			b.Fatal(len(claimed))
		}
	}
}

func BenchmarkHeartbeatOf100Leases(b *testing.B) {
	env, ws, _ := door(b)
	runner := corp.NewID[corp.RunnerID]()
	proofs := make([]postgres.LeaseProof, 100)
	for i := range proofs {
		l := env.Running(b, ws, env.Submit(b, ws, corp.TaskSpec{}).RunID)
		proofs[i] = postgres.LeaseProof{RunID: l.RunID, Epoch: l.Epoch, SecretHash: l.SecretHash}
	}
	env.Exec(b, `UPDATE runs SET runner_id = $1 WHERE workspace_id = $2`, runner, ws)
	for b.Loop() {
		if v := must(env.DB.System("bench").BeatLeases(b.Context(), runner, proofs, time.Minute))(b); v[99].Say != corp.VerdictOK {
			b.Fatal(v[99])
		}
	}
}

func BenchmarkRecord200Calls(b *testing.B) {
	env, ws, db := door(b)
	task := env.Submit(b, ws, corp.TaskSpec{Budget: new(1_000_000 * corp.Dollar)})
	lease := env.Running(b, ws, task.RunID)
	g := must(db.GrantAllowance(b.Context(), corp.NewID[corp.ServerID](), task.ID, corp.Dollar, 1000*corp.Dollar))(b)[0]
	for b.Loop() {
		records := make([]postgres.CallRecord, 200)
		for i := range records {
			records[i] = postgres.CallRecord{Call: aCall(task, lease.Epoch, 10), Charges: []postgres.Charge{{AllowanceID: g.AllowanceID, BudgetID: g.BudgetID}}}
		}
		ok(b, db.RecordCalls(b.Context(), records))
	}
}

func BenchmarkAppend50Entries(b *testing.B) {
	env, ws, db := door(b)
	lease := env.Running(b, ws, env.Submit(b, ws, corp.TaskSpec{}).RunID)
	next := int64(0)
	for b.Loop() {
		next = must(db.AppendEntries(b.Context(), lease.RunID, lease.Epoch, entries(next, next+50)))(b)
	}
}

func BenchmarkGrantAnAllowance(b *testing.B) {
	env, ws, db := door(b)
	task := env.Submit(b, ws, corp.TaskSpec{Budget: new(1_000_000 * corp.Dollar)})
	server := corp.NewID[corp.ServerID]()
	for b.Loop() {
		must(db.GrantAllowance(b.Context(), server, task.ID, 1, 1))(b)
	}
}

// What the audit log costs a task: with the event that the API puts beside it and
// without, in turn, so that both have the same neighbours.
func BenchmarkSubmitATaskAuditedAndNot(b *testing.B) {
	_, _, db := door(b)
	submit := func(ctx context.Context) time.Duration {
		began := time.Now()
		if _, _, err := db.SubmitTask(ctx, "key_1", corp.TaskSpec{Prompt: "p", RepositoryURL: "https://git.example.com/w.git"}, postgres.Idempotency{}); err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	var with, without []time.Duration
	for b.Loop() {
		p := doors.NewPending(corp.AuditEvent{Actor: "key_1", Operation: "submitTask", Action: corp.TaskWrite, RequestID: "req_1", Personal: &corp.AuditPersonal{Address: "192.0.2.1", UserAgent: "bench/1"}})
		with = append(with, submit(doors.WithAudit(b.Context(), p)))
		if !p.Written() {
			b.Fatal("the event was not written")
		}
		without = append(without, submit(b.Context()))
	}
	for name, all := range map[string][]time.Duration{"µs-audited": with, "µs-not": without} {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1000, name)
	}
}
