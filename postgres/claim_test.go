package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// leader takes the seat in a database of the test's own.
func leader(t *testing.T, env *pgtest.Env) (corp.ServerID, int64) {
	t.Helper()
	server := corp.NewID[corp.ServerID]()
	term, won, err := env.DB.System("test").TakeLeadership(t.Context(), server, "here", time.Minute)
	if err != nil || !won {
		t.Fatal(won, err)
	}
	return server, term
}

func claimOf(q postgres.QueuedRun) postgres.Claim {
	return postgres.Claim{
		Workspace: q.Workspace, RunID: q.RunID, Epoch: q.Epoch + 1, RunnerID: corp.NewID[corp.RunnerID](), RunnerName: "box",
		LeaseHash: secretHash(), RunKeyHash: secretHash(), AckWithin: 10 * time.Second, TTL: time.Minute,
	}
}

func TestOneServerLeadsAtATime(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	system, ctx := env.DB.System("test"), t.Context()
	a, b := corp.NewID[corp.ServerID](), corp.NewID[corp.ServerID]()
	if address, term, err := system.Leader(ctx); address != "" || term != 0 || err != nil {
		t.Error(address, term, err)
	}
	term, won, err := system.TakeLeadership(ctx, a, "a:1", time.Minute)
	if err != nil || !won || term != 1 {
		t.Fatal(term, won, err)
	}
	if _, won, err := system.TakeLeadership(ctx, b, "b:1", time.Minute); won || err != nil {
		t.Error(won, err)
	}
	if address, term, err := system.Leader(ctx); address != "a:1" || term != 1 || err != nil {
		t.Error(address, term, err)
	}
	if renewed := must(system.RenewLeadership(ctx, a, 1, time.Minute))(t); !renewed {
		t.Error("the leader cannot go on")
	}
	for _, other := range []struct {
		server corp.ServerID
		term   int64
	}{{b, 1}, {a, 2}, {a, 0}} {
		if renewed := must(system.RenewLeadership(ctx, other.server, other.term, time.Minute))(t); renewed {
			t.Errorf("%+v renewed", other)
		}
		ok(t, system.Resign(ctx, other.server, other.term))
	}
	if term, won, err := system.TakeLeadership(ctx, a, "a:1", time.Minute); err != nil || !won || term != 2 {
		t.Error("the same server with an empty memory", term, won, err)
	}
	ok(t, system.Resign(ctx, a, 2))
	if term, won, err := system.TakeLeadership(ctx, b, "b:1", time.Minute); err != nil || !won || term != 3 {
		t.Error(term, won, err)
	}
	env.Exec(t, `UPDATE leaders SET expires_at = now() - interval '1 second'`)
	if renewed := must(system.RenewLeadership(ctx, b, 3, time.Minute))(t); !renewed {
		t.Error("nobody else has led meanwhile")
	}
	env.Exec(t, `UPDATE leaders SET expires_at = now() - interval '1 second'`)
	if term, won, err := system.TakeLeadership(ctx, a, "a:1", time.Minute); err != nil || !won || term != 4 {
		t.Error(term, won, err)
	}
}

func TestAClaimLeasesWhatIsQueuedAndDueAndNothingElse(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	db, system, ctx := env.DB.In(ws), env.DB.System("test"), t.Context()
	server, term := leader(t, env)
	due, later, gone := env.Submit(t, ws, corp.TaskSpec{Priority: 4, Labels: []string{"gpu"}}), env.Submit(t, ws, corp.TaskSpec{}), env.Submit(t, ws, corp.TaskSpec{})
	env.Exec(t, `UPDATE runs SET not_before = now() + interval '1 minute' WHERE id = $1`, later.RunID)
	queue := must(system.Queue(ctx))(t)
	if len(queue) != 3 || queue[0].RunID != due.RunID || queue[1].NotBefore == nil {
		t.Fatalf("%+v", queue)
	}
	want := postgres.QueuedRun{Workspace: ws, RunID: due.RunID, TaskID: due.ID, AgentID: due.AgentID, Runtime: corp.RuntimeBuiltin, Priority: 4, Labels: []string{"gpu"}, CreatedAt: queue[0].CreatedAt}
	if diff := cmp.Diff(want, queue[0]); diff != "" {
		t.Error(diff)
	}
	if of := must(system.QueueOf(ctx, []corp.WorkspaceID{ws}))(t); !cmp.Equal(of, queue, cmpopts.IgnoreFields(postgres.QueuedRun{}, "DueInMS")) {
		t.Error(of, queue)
	}
	if of := must(system.QueueOf(ctx, []corp.WorkspaceID{env.Workspace(t)}))(t); len(of) != 0 {
		t.Error(of)
	}
	must(db.CancelTask(ctx, actor, gone.ID))(t)
	claims := []postgres.Claim{claimOf(queue[0]), claimOf(queue[1]), claimOf(queue[2])}
	wrongEpoch := claimOf(queue[0])
	wrongEpoch.Epoch = 7
	if claimed := must(system.ClaimRuns(ctx, server, term, []postgres.Claim{wrongEpoch}))(t); len(claimed) != 0 {
		t.Error(claimed)
	}
	if claimed := must(system.ClaimRuns(ctx, server, term, claims))(t); !slices.Equal(claimed, []corp.RunID{due.RunID}) {
		t.Errorf("claimed %v", claimed)
	}
	if claimed := must(system.ClaimRuns(ctx, server, term, claims))(t); len(claimed) != 0 {
		t.Errorf("claimed twice: %v", claimed)
	}
	if claimed := must(system.ClaimRuns(ctx, server, term, nil))(t); len(claimed) != 0 {
		t.Error(claimed)
	}
	run, task := must(db.Run(ctx, due.RunID))(t), must(db.Task(ctx, due.ID))(t)
	if run.State != corp.RunLeased || run.Epoch != 1 || run.RunnerName != "box" || run.LeasedAt == nil || task.State != corp.TaskRunning || task.StartedAt == nil {
		t.Errorf("%+v %+v", run, task)
	}
	who := must(env.DB.Auth().Run(ctx, claims[0].RunKeyHash))(t)
	if diff := cmp.Diff(postgres.RunIdentity{Workspace: ws, RunID: run.ID, TaskID: task.ID, AgentID: task.AgentID, AgentVersion: 1, Epoch: 1, TraceID: run.TraceID}, who); diff != "" {
		t.Error(diff)
	}
	if leased := must(system.Leased(ctx))(t); len(leased) != 1 || leased[0].RunID != run.ID || leased[0].RunnerID != claims[0].RunnerID {
		t.Errorf("%+v", leased)
	}
	counts := must(system.Counts(ctx))(t)
	if counts.Runs[corp.RunQueued] != 1 || counts.Runs[corp.RunLeased] != 1 || counts.Tasks[corp.TaskRunning] != 1 {
		t.Errorf("%+v", counts)
	}
	ok(t, db.AckRun(ctx, run.ID, 1))
	if left := pgtest.Value[float64](t, env, `SELECT extract(epoch FROM lease_expires_at - now())::float8 FROM runs WHERE id = $1`, run.ID); left < 30 || left > 60 {
		t.Errorf("the lease has %.0f s left, want the claim's minute", left)
	}
	kinds := eventKinds(t, db)
	if !slices.Contains(kinds, "run.leased") || !slices.Contains(kinds, "task.running") || !slices.Contains(kinds, "run.running") {
		t.Error(kinds)
	}
}

func eventKinds(t *testing.T, db postgres.WorkspaceDB) (kinds []string) {
	t.Helper()
	for _, e := range must(db.Events(t.Context(), 0, 10_000))(t) {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// A leader that was replaced claims nothing, not even what it had begun to claim:
// the new term begins after its last claim is committed.
func TestALeaderThatWasReplacedClaimsNothing(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	system, ctx := env.DB.System("test"), t.Context()
	old, term := leader(t, env)
	for range 40 {
		env.Submit(t, ws, corp.TaskSpec{})
	}
	queue := must(system.Queue(ctx))(t)
	late := queue[30:]
	var newTerm atomic.Int64
	var all sync.WaitGroup
	var after atomic.Int64
	for _, q := range queue[:30] {
		all.Go(func() {
			known := newTerm.Load()
			claimed, err := system.ClaimRuns(ctx, old, term, []postgres.Claim{claimOf(q)})
			if err != nil {
				t.Error(err)
			}
			if known != 0 {
				after.Add(int64(len(claimed)))
			}
		})
	}
	all.Go(func() {
		env.Exec(t, `UPDATE leaders SET expires_at = clock_timestamp()`)
		next, won, err := system.TakeLeadership(ctx, corp.NewID[corp.ServerID](), "there", time.Minute)
		if err != nil || !won || next != term+1 {
			t.Error(next, won, err)
		}
		newTerm.Store(next)
	})
	all.Wait()
	if after.Load() != 0 {
		t.Errorf("%d runs were claimed under a term that was over", after.Load())
	}
	for _, q := range late {
		if claimed := must(system.ClaimRuns(ctx, old, term, []postgres.Claim{claimOf(q)}))(t); len(claimed) != 0 {
			t.Errorf("the old leader claimed %v", claimed)
		}
	}
	if claimed := must(system.ClaimRuns(ctx, corp.NewID[corp.ServerID](), newTerm.Load(), []postgres.Claim{claimOf(late[0])}))(t); len(claimed) != 0 {
		t.Error("somebody else claimed under the leader's term")
	}
	if n := must(system.ExtendLeases(ctx, term, time.Hour))(t); n != 0 {
		t.Errorf("the old leader extended %d leases", n)
	}
}

// A claim that has begun is committed before the next term begins, however long
// it takes: nobody can lease under a term that is over.
func TestTheNextTermWaitsForAClaimThatHasBegun(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	system, ctx := env.DB.System("test"), t.Context()
	old, term := leader(t, env)
	env.Submit(t, ws, corp.TaskSpec{})
	claims := []postgres.Claim{claimOf(must(system.Queue(ctx))(t)[0])}
	tx, err := connect(t, env.SuperURL).Begin(ctx)
	ok(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(ctx, `SELECT FROM event_heads FOR UPDATE`) // the claim stops here, at its last step
	ok(t, err)
	waiting := func(n int) {
		t.Helper()
		pgtest.Eventually(t, 30*time.Second, fmt.Sprint(n, " wait for a lock"), func(context.Context) bool {
			return pgtest.Value[int](t, env, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'corp_system' AND wait_event_type = 'Lock'`) == n
		})
	}
	claimed := make(chan []corp.RunID, 1)
	go func() {
		runs, err := system.ClaimRuns(ctx, old, term, claims)
		if err != nil {
			t.Error(err)
		}
		claimed <- runs
	}()
	waiting(1)
	next := make(chan int64, 1)
	go func() {
		// As if the term had run out meanwhile: the row itself is held by the claim.
		got, won, err := system.TakeLeadership(ctx, old, "there", time.Minute)
		if err != nil || !won {
			t.Error(won, err)
		}
		next <- got
	}()
	waiting(2)
	select {
	case got := <-next:
		t.Fatalf("term %d began before the claim was committed", got)
	default:
	}
	ok(t, tx.Commit(ctx))
	if runs := <-claimed; len(runs) != 1 {
		t.Errorf("claimed %v", runs)
	}
	if got := <-next; got != term+1 {
		t.Errorf("term %d", got)
	}
}

// Claims of many workspaces, cancels, heartbeats and finishes at the same time:
// nothing deadlocks, and no run is leased twice.
func TestClaimsHeartbeatsAndCancelsDoNotGetInEachOthersWay(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	system, ctx := env.DB.System("test"), t.Context()
	server, term := leader(t, env)
	var workspaces []corp.WorkspaceID
	for range 4 {
		ws := env.Workspace(t)
		workspaces = append(workspaces, ws)
		for range 15 {
			env.Submit(t, ws, corp.TaskSpec{})
		}
	}
	queue := must(system.Queue(ctx))(t)
	runner := corp.NewID[corp.RunnerID]()
	claims := make([]postgres.Claim, len(queue))
	for i, q := range queue {
		claims[i] = claimOf(q)
		claims[i].RunnerID = runner
	}
	var leasedTimes atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			claimed, err := system.ClaimRuns(ctx, server, term, claims)
			if err != nil {
				t.Error(err)
			}
			leasedTimes.Add(int64(len(claimed)))
		})
	}
	for i, c := range claims {
		all.Go(func() {
			if i%3 == 0 {
				if _, err := env.DB.In(c.Workspace).CancelTask(ctx, actor, queue[i].TaskID); err != nil {
					t.Error(err)
				}
				return
			}
			proofs := make([]postgres.LeaseProof, len(claims))
			for j, other := range claims {
				proofs[j] = postgres.LeaseProof{RunID: other.RunID, Epoch: other.Epoch, SecretHash: other.LeaseHash}
			}
			if _, err := system.BeatLeases(ctx, runner, proofs, time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	events := pgtest.Value[int64](t, env, `SELECT count(*) FROM events WHERE kind = 'run.leased'`)
	if leasedTimes.Load() != events {
		t.Errorf("%d leases, %d events", leasedTimes.Load(), events)
	}
	for _, ws := range workspaces {
		gapless(t, env.DB.In(ws))
	}
}

func TestAHeartbeatRenewsWhatIsHeldAndSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws, other := env.Workspace(t), env.Workspace(t)
	system, ctx := env.DB.System("test"), t.Context()
	server, term := leader(t, env)
	runner := corp.NewID[corp.RunnerID]()
	for range 2 {
		env.Submit(t, ws, corp.TaskSpec{})
		env.Submit(t, other, corp.TaskSpec{})
	}
	var proofs []postgres.LeaseProof
	var claims []postgres.Claim
	for _, q := range must(system.Queue(ctx))(t) {
		c := claimOf(q)
		c.RunnerID = runner
		claims = append(claims, c)
		proofs = append(proofs, postgres.LeaseProof{RunID: c.RunID, Epoch: c.Epoch, SecretHash: c.LeaseHash})
	}
	must(system.ClaimRuns(ctx, server, term, claims))(t)
	for _, c := range claims[:3] {
		ok(t, env.DB.In(c.Workspace).AckRun(ctx, c.RunID, c.Epoch))
	}
	env.Exec(t, `UPDATE runs SET lease_expires_at = now() + interval '1 second'`)
	ok(t, env.DB.In(claims[1].Workspace).StopRun(ctx, claims[1].RunID, corp.ReasonBudget, "No money left."))
	must(env.DB.In(claims[2].Workspace).FinishRun(ctx, claims[2].RunID, 1, succeeded))(t)
	wrong := proofs[0]
	wrong.SecretHash = secretHash()
	stale := proofs[0]
	stale.Epoch = 0
	unknown := postgres.LeaseProof{RunID: corp.NewID[corp.RunID](), Epoch: 1, SecretHash: secretHash()}
	got := must(system.BeatLeases(ctx, runner, append(slices.Clone(proofs), unknown), time.Hour))(t)
	want := []corp.Verdict{
		{RunID: proofs[0].RunID, Say: corp.VerdictOK},
		{RunID: proofs[1].RunID, Say: corp.VerdictStop, Reason: corp.ReasonBudget, Detail: "No money left."},
		{RunID: proofs[2].RunID, Say: corp.VerdictLost},
		{RunID: proofs[3].RunID, Say: corp.VerdictOK}, // offered, not yet acknowledged
		{RunID: unknown.RunID, Say: corp.VerdictLost},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	renewed := func(run corp.RunID) bool {
		return pgtest.Value[bool](t, env, `SELECT coalesce(lease_expires_at > now() + interval '30 minutes', false) FROM runs WHERE id = $1`, run)
	}
	for i, want := range []bool{true, true, false, false} {
		if renewed(proofs[i].RunID) != want {
			t.Errorf("run %d renewed: %t", i, !want)
		}
	}
	for _, bad := range []postgres.LeaseProof{wrong, stale} {
		if v := must(system.BeatLeases(ctx, runner, []postgres.LeaseProof{bad}, time.Hour))(t); v[0].Say != corp.VerdictLost {
			t.Errorf("%+v", v)
		}
	}
	if v := must(system.BeatLeases(ctx, corp.NewID[corp.RunnerID](), proofs[:1], time.Hour))(t); v[0].Say != corp.VerdictLost {
		t.Errorf("another runner's heartbeat: %+v", v)
	}
	if v := must(system.BeatLeases(ctx, runner, nil, time.Hour))(t); len(v) != 0 {
		t.Errorf("%+v", v)
	}
}

func TestExpiredOffersAndLeasesAreFoundAndANewLeaderGivesRunnersTime(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	system, ctx := env.DB.System("test"), t.Context()
	_, term := leader(t, env)
	offered, running := env.Claim(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID), env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	refs := func(found []postgres.RunRef, err error) (runs []corp.RunID) {
		ok(t, err)
		for _, ref := range found {
			runs = append(runs, ref.RunID)
		}
		return runs
	}
	if a, b := refs(system.ExpiredOffers(ctx)), refs(system.ExpiredLeases(ctx, 0)); len(a)+len(b) != 0 {
		t.Error(a, b)
	}
	env.Exec(t, `UPDATE runs SET lease_expires_at = now() - interval '3 seconds'`)
	if a := refs(system.ExpiredOffers(ctx)); !slices.Equal(a, []corp.RunID{offered.RunID}) {
		t.Error(a)
	}
	if b := refs(system.ExpiredLeases(ctx, time.Second)); !slices.Equal(b, []corp.RunID{running.RunID}) {
		t.Error(b)
	}
	if b := refs(system.ExpiredLeases(ctx, 5*time.Second)); len(b) != 0 {
		t.Error("lost within the margin", b)
	}
	if n := must(system.ExtendLeases(ctx, term, time.Minute))(t); n != 1 {
		t.Errorf("%d leases extended", n)
	}
	if b := refs(system.ExpiredLeases(ctx, 0)); len(b) != 0 {
		t.Error(b)
	}
}

func TestAnArchivedWorkspacesRunsAreNotPlaced(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	env.Submit(t, ws, corp.TaskSpec{})
	env.Exec(t, `UPDATE workspaces SET archived_at = now() WHERE workspace_id = $1`, ws)
	if queue := must(env.DB.System("test").Queue(t.Context()))(t); len(queue) != 0 {
		t.Error(queue)
	}
	if all := must(env.DB.System("test").WorkspaceQueues(t.Context(), corp.WorkspaceID{}, 10, 10))(t); len(all) != 0 {
		t.Error(all)
	}
}

// The leader may not have heard yet that a workspace is out of use, by its owner or the
// operator: what it hands out names the prompt and carries credentials. Control: it is
// handed out once the workspace is in use again.
func TestNothingOfAWorkspaceThatIsOutOfUseIsClaimed(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	server, term := leader(t, env)
	ws := env.Workspace(t)
	env.Submit(t, ws, corp.TaskSpec{})
	queued := must(env.DB.System("test").Queue(t.Context()))(t)
	claim := func() int {
		t.Helper()
		return len(must(env.DB.System("test").ClaimRuns(t.Context(), server, term, []postgres.Claim{claimOf(queued[0])}))(t))
	}
	for _, column := range []string{"suspended_at", "archived_at"} {
		env.Exec(t, `UPDATE workspaces SET `+column+` = now() WHERE workspace_id = $1`, ws)
		if n := claim(); n != 0 {
			t.Errorf("%s: claimed", column)
		}
		env.Exec(t, `UPDATE workspaces SET `+column+` = NULL WHERE workspace_id = $1`, ws)
	}
	if n := claim(); n != 1 {
		t.Error("in use again, it is not claimed")
	}
}

// Somebody cancels a tree, or submits thousands that follow a task, and holds its
// row meanwhile: the leader, who serves everybody, does not wait for that.
func TestAClaimDoesNotWaitForWhoeverHoldsARow(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	server, term := leader(t, env)
	system := env.DB.System("test")
	busy, other := env.Workspace(t), env.Workspace(t)
	for _, held := range []struct{ what, sql string }{
		{"a task that others are to follow", `SELECT FROM tasks WHERE workspace_id = $1 FOR SHARE`},
		{"a task that is cancelled", `SELECT FROM tasks WHERE workspace_id = $1 FOR NO KEY UPDATE`},
		{"a run", `SELECT FROM runs WHERE workspace_id = $1 FOR NO KEY UPDATE`},
	} {
		env.Submit(t, busy, corp.TaskSpec{})
		free := env.Submit(t, other, corp.TaskSpec{})
		tx, err := connect(t, env.SuperURL).Begin(t.Context())
		ok(t, err)
		_, err = tx.Exec(t.Context(), held.sql, busy)
		ok(t, err)
		var claims []postgres.Claim
		for _, q := range must(system.Queue(t.Context()))(t) {
			claims = append(claims, claimOf(q))
		}
		begun := time.Now()
		claimed := must(system.ClaimRuns(t.Context(), server, term, claims))(t)
		if !slices.Equal(claimed, []corp.RunID{free.RunID}) {
			t.Errorf("%s: claimed %v, want %v", held.what, claimed, free.RunID)
		}
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("%s: the claim took %v", held.what, took)
		}
		ok(t, tx.Rollback(t.Context()))
	}
}
