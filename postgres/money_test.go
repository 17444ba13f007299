package postgres_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func limitWorkspace(t *testing.T, db postgres.WorkspaceDB, limit corp.Nanodollars) {
	t.Helper()
	must(db.UpdateWorkspace(t.Context(), actor, corp.WorkspaceUpdate{Budget: &limit}))(t)
}

// balanced checks all that must hold between a workspace's money tables at any
// moment: no limit is passed, and every sum is the sum of what it is a sum of.
func balanced(t *testing.T, env *pgtest.Env, ws corp.WorkspaceID) {
	t.Helper()
	wrong := pgtest.Value[[]string](t, env, `
		WITH held AS (
			SELECT budget_id, sum(granted_nanodollars - reported_nanodollars) AS rest FROM allowances WHERE workspace_id = $1 AND closed_at IS NULL GROUP BY 1
		), cost AS (
			SELECT b.id, coalesce(sum(c.cost_nanodollars), 0) AS cost FROM budgets b
			LEFT JOIN calls c ON c.workspace_id = b.workspace_id AND (b.task_id IS NULL OR c.task_id = b.task_id) WHERE b.workspace_id = $1 GROUP BY b.id
		), ran AS (
			SELECT run_id, count(*) AS calls, sum(cost_nanodollars) AS cost, sum(fresh_input) AS fresh, sum(cache_read) AS read, sum(output) AS output
			FROM calls WHERE workspace_id = $1 GROUP BY 1
		)
		SELECT array_agg(fault) FROM (
			SELECT 'limit passed: ' || b.* FROM budgets b WHERE workspace_id = $1 AND spent_nanodollars + granted_nanodollars > limit_nanodollars
			UNION ALL SELECT 'granted is not what is held: ' || b.* FROM budgets b LEFT JOIN held h ON h.budget_id = b.id WHERE workspace_id = $1 AND granted_nanodollars <> coalesce(rest, 0)
			UNION ALL SELECT 'spent is not the sum of the calls: ' || b.* FROM budgets b JOIN cost USING (id) WHERE workspace_id = $1 AND spent_nanodollars <> cost
			UNION ALL SELECT 'a run''s sums are not those of its calls: ' || r.id FROM runs r LEFT JOIN ran ON ran.run_id = r.id WHERE workspace_id = $1
				AND (r.calls, r.cost_nanodollars, r.fresh_input, r.cache_read, r.output) IS DISTINCT FROM (coalesce(ran.calls, 0), coalesce(ran.cost, 0), coalesce(ran.fresh, 0), coalesce(ran.read, 0), coalesce(ran.output, 0))
		) AS all_of_them (fault)`, ws)
	for _, fault := range wrong {
		t.Error(fault)
	}
	if len(wrong) > 0 {
		t.FailNow()
	}
}

func TestAGrantTakesFromEveryLimitThatAppliesOrFromNone(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx, server := t.Context(), corp.NewID[corp.ServerID]()
	free := env.Submit(t, ws, corp.TaskSpec{})
	if grants := must(db.GrantAllowance(ctx, server, free.ID, 10, 20))(t); len(grants) != 0 {
		t.Errorf("without a limit nothing needs granting: %+v", grants)
	}
	limitWorkspace(t, db, 100)
	task := env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Nanodollars(50))})
	grants := must(db.GrantAllowance(ctx, server, task.ID, 10, 40))(t)
	if len(grants) != 2 {
		t.Fatalf("%+v", grants)
	}
	for _, g := range grants {
		limit := corp.Nanodollars(100)
		if g.TaskID == task.ID {
			limit = 50
		}
		want := postgres.Grant{AllowanceID: g.AllowanceID, BudgetID: g.BudgetID, TaskID: g.TaskID, Added: 40, Limit: limit, Granted: 40}
		if diff := cmp.Diff(want, g); diff != "" || g.AllowanceID.IsZero() {
			t.Error(diff)
		}
	}
	again := must(db.GrantAllowance(ctx, server, task.ID, 5, 40))(t)
	for _, g := range again {
		want := corp.Nanodollars(10) // what is left of the task's
		if g.TaskID.IsZero() {
			want = 40
		}
		if g.Added != want || !slices.ContainsFunc(grants, func(first postgres.Grant) bool { return first.AllowanceID == g.AllowanceID }) {
			t.Errorf("%+v", g)
		}
	}
	_, err := db.GrantAllowance(ctx, server, task.ID, 1, 1)
	wantKind(t, err, corp.KindLimit)
	wantCode(t, err, postgres.CodeTaskBudget)
	if !strings.Contains(err.Error(), "$0.00000005") {
		t.Errorf("%v", err)
	}
	_, err = db.GrantAllowance(ctx, corp.NewID[corp.ServerID](), free.ID, 21, 21)
	wantCode(t, err, postgres.CodeWorkspaceBudget)
	must(db.GrantAllowance(ctx, corp.NewID[corp.ServerID](), free.ID, 20, 20))(t)
	for _, bad := range [][2]corp.Nanodollars{{-1, 5}, {5, 4}} {
		_, err := db.GrantAllowance(ctx, server, task.ID, bad[0], bad[1])
		wantKind(t, err, corp.KindInvalid)
	}
	_, err = db.GrantAllowance(ctx, server, corp.NewID[corp.TaskID](), 0, 1)
	wantKind(t, err, corp.KindNotFound)
	_, err = db.Budgets(ctx, corp.NewID[corp.TaskID]())
	wantKind(t, err, corp.KindNotFound)
	budgets := must(db.Budgets(ctx, task.ID))(t)
	if len(budgets) != 2 || budgets[0].TaskID != task.ID || budgets[0].Granted != 50 || budgets[1].Granted != 100 {
		t.Errorf("%+v", budgets)
	}
	held := must(db.OpenAllowances(ctx, server))(t)
	if len(held) != 2 || held[0].TaskID != task.ID || held[0].Granted != 50 || held[1].Granted != 80 {
		t.Errorf("%+v", held)
	}
	balanced(t, env, ws)
}

func TestManyServersTogetherAreNeverGrantedMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	const limit = 10_000
	limitWorkspace(t, db, limit)
	tasks := []corp.Task{env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Nanodollars(6000))}), env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Nanodollars(7000))}), env.Submit(t, ws, corp.TaskSpec{})}
	var added [4]atomic.Int64 // by task, and the workspace's
	var all sync.WaitGroup
	for range 5 {
		server := corp.NewID[corp.ServerID]()
		for i := range 20 {
			all.Go(func() {
				for range 10 {
					task := tasks[i%len(tasks)]
					grants, err := db.GrantAllowance(t.Context(), server, task.ID, rand.N[corp.Nanodollars](50), 50+rand.N[corp.Nanodollars](50))
					if err != nil {
						wantKind(t, err, corp.KindLimit)
						continue
					}
					for _, g := range grants {
						at := 3
						if !g.TaskID.IsZero() {
							at = i % len(tasks)
						}
						added[at].Add(int64(g.Added))
					}
				}
			})
		}
	}
	all.Wait()
	for i, most := range []int64{6000, 7000, 0, limit} {
		if got := added[i].Load(); got > most {
			t.Errorf("budget %d: %d granted, limit %d", i, got, most)
		}
	}
	if got := added[3].Load(); got < limit-50 {
		t.Errorf("only %d of the workspace's %d were granted", got, limit)
	}
	balanced(t, env, ws)
}

func TestCallsAreRecordedOnceAndPaidFromTheirAllowances(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx, server := t.Context(), corp.NewID[corp.ServerID]()
	limitWorkspace(t, db, 1000)
	task := env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Nanodollars(500))})
	lease := env.Running(t, ws, task.RunID)
	var charges []postgres.Charge
	for _, g := range must(db.GrantAllowance(ctx, server, task.ID, 100, 100))(t) {
		charges = append(charges, postgres.Charge{AllowanceID: g.AllowanceID, BudgetID: g.BudgetID})
	}
	price := corp.Price{Vendor: "v" + ws.String(), Model: "m", EffectiveFrom: time.Now(), Source: "test", ID: corp.NewID[corp.PriceID]()}
	must(env.DB.System("test").SeedPrices(ctx, []corp.Price{price}))(t)
	paid := aCall(task, lease.Epoch, 30)
	paid.PriceID, paid.ProviderID, paid.Edits, paid.RawUsage = price.ID, corp.NewID[corp.ProviderID](), []string{"credential", "output_cap"}, []byte(`{"input_tokens":  10}`)
	paid.Detail, paid.Simulated, paid.Streamed, paid.StopReason, paid.TraceID = "zero \x00 and \xff", true, true, "end_turn", "t"
	free := aCall(task, lease.Epoch, 0)
	free.Outcome = corp.CallError
	records := []postgres.CallRecord{{Call: paid, Charges: charges}, {Call: free}}
	ok(t, db.RecordCalls(ctx, records))
	ok(t, db.RecordCalls(ctx, records))
	ok(t, db.RecordCalls(ctx, nil))
	ok(t, db.RecordCalls(ctx, []postgres.CallRecord{records[0], {Call: aCall(task, lease.Epoch, 20), Charges: charges}, records[1]}))
	balanced(t, env, ws)
	run := must(db.Run(ctx, task.RunID))(t)
	if run.Calls != 3 || run.Cost != 50 || !run.Simulated || run.Usage != (corp.Usage{FreshInput: 30, CacheRead: 6, Output: 9}) {
		t.Errorf("%+v", run)
	}
	for _, b := range must(db.Budgets(ctx, task.ID))(t) {
		if b.Spent != 50 || b.Granted != 50 {
			t.Errorf("%+v", b)
		}
	}
	if got := must(db.Task(ctx, task.ID))(t); got.Spent != 50 {
		t.Errorf("%+v", got)
	}
	if got := must(db.Workspace(ctx))(t); got.Spent != 50 {
		t.Errorf("%+v", got)
	}
	list := must(db.Calls(ctx, postgres.CallFilter{Run: task.RunID}, corp.Page{}))(t)
	at := slices.IndexFunc(list.Items, func(c corp.Call) bool { return c.ID == paid.ID })
	paid.Detail = "zero  and \uFFFD"
	if len(list.Items) != 3 || at < 0 {
		t.Fatalf("%+v", list)
	}
	if diff := cmp.Diff(paid, list.Items[at]); diff != "" {
		t.Error(diff)
	}
	for _, f := range []postgres.CallFilter{{}, {Task: task.ID}, {Task: task.ID, Run: task.RunID}} {
		if list := must(db.Calls(ctx, f, corp.Page{Limit: 2}))(t); len(list.Items) != 2 || list.NextCursor == "" {
			t.Errorf("%+v: %+v", f, list)
		}
	}
	if list := must(db.Calls(ctx, postgres.CallFilter{Task: corp.NewID[corp.TaskID]()}, corp.Page{}))(t); len(list.Items) != 0 {
		t.Errorf("%+v", list)
	}
	finished := 0
	for _, kind := range eventKinds(t, db) {
		if kind == "call.finished" {
			finished++
		}
	}
	if finished != 2 {
		t.Errorf("%d events for two batches with new calls", finished)
	}
}

func TestTheSameCallsFromManyAtOnceCountOnce(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	limitWorkspace(t, db, 1_000_000)
	task := env.Submit(t, ws, corp.TaskSpec{})
	lease := env.Running(t, ws, task.RunID)
	grants := must(db.GrantAllowance(t.Context(), corp.NewID[corp.ServerID](), task.ID, 1000, 1000))(t)
	var records []postgres.CallRecord
	for range 30 {
		records = append(records, postgres.CallRecord{Call: aCall(task, lease.Epoch, 7), Charges: []postgres.Charge{{AllowanceID: grants[0].AllowanceID, BudgetID: grants[0].BudgetID}}})
	}
	var all sync.WaitGroup
	for range 12 {
		batch := slices.Clone(records)
		rand.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
		all.Go(func() {
			if err := db.RecordCalls(t.Context(), batch[:20]); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	ok(t, db.RecordCalls(t.Context(), records))
	balanced(t, env, ws)
	if run := must(db.Run(t.Context(), task.RunID))(t); run.Calls != 30 || run.Cost != 210 {
		t.Errorf("%+v", run)
	}
}

func TestWhatAnAllowanceDoesNotCoverIsSpentAllTheSame(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	limitWorkspace(t, db, 100)
	task := env.Submit(t, ws, corp.TaskSpec{})
	lease := env.Running(t, ws, task.RunID)
	g := must(db.GrantAllowance(ctx, corp.NewID[corp.ServerID](), task.ID, 10, 10))(t)[0]
	charge := []postgres.Charge{{AllowanceID: g.AllowanceID, BudgetID: g.BudgetID}, {AllowanceID: corp.NewID[corp.AllowanceID](), BudgetID: g.BudgetID}}
	ok(t, db.RecordCalls(ctx, []postgres.CallRecord{{Call: aCall(task, lease.Epoch, 25), Charges: charge}}))
	balanced(t, env, ws)
	ok(t, db.CloseAllowance(ctx, g.AllowanceID, nil))
	ok(t, db.RecordCalls(ctx, []postgres.CallRecord{{Call: aCall(task, lease.Epoch, 5), Charges: charge}}))
	balanced(t, env, ws)
	if b := must(db.Budgets(ctx, task.ID))(t)[1]; b.Spent != 30 || b.Granted != 0 {
		t.Errorf("%+v", b)
	}
	call := aCall(task, lease.Epoch, 1)
	call.RunID = corp.NewID[corp.RunID]()
	wantKind(t, db.RecordCalls(ctx, []postgres.CallRecord{{Call: call}}), corp.KindNotFound)
}

func TestMoneyIsGivenBackOnce(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	limitWorkspace(t, db, 100)
	task := env.Submit(t, ws, corp.TaskSpec{})
	g := must(db.GrantAllowance(ctx, corp.NewID[corp.ServerID](), task.ID, 60, 60))(t)[0]
	ok(t, db.ReturnAllowance(ctx, g.AllowanceID, 20))
	wantKind(t, db.ReturnAllowance(ctx, g.AllowanceID, 41), corp.KindConflict)
	wantKind(t, db.ReturnAllowance(ctx, g.AllowanceID, -1), corp.KindInvalid)
	wantKind(t, db.ReturnAllowance(ctx, corp.NewID[corp.AllowanceID](), 1), corp.KindNotFound)
	wantKind(t, db.CloseAllowance(ctx, corp.NewID[corp.AllowanceID](), nil), corp.KindNotFound)
	wantKind(t, db.CloseAllowance(ctx, corp.NewID[corp.AllowanceID](), &corp.Call{}), corp.KindNotFound)
	balanced(t, env, ws)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if err := db.CloseAllowance(ctx, g.AllowanceID, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	ok(t, db.ReturnAllowance(ctx, g.AllowanceID, 1))
	balanced(t, env, ws)
	if b := must(db.Budgets(ctx, task.ID))(t)[1]; b.Granted != 0 {
		t.Errorf("%+v", b)
	}
}

// After a crash with no journal the whole of what a server held counts as spent,
// as far as a run could have spent it, and is written down as estimated calls.
func TestWhatADeadServerDidNotAccountForCountsAsSpent(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx, server := t.Context(), corp.NewID[corp.ServerID]()
	limitWorkspace(t, db, 1000)
	limited, open := env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Nanodollars(300))}), env.Submit(t, ws, corp.TaskSpec{})
	must(db.GrantAllowance(ctx, server, limited.ID, 100, 100))(t) // 100 of both
	must(db.GrantAllowance(ctx, server, open.ID, 40, 40))(t)      // 140 of the workspace's
	second, first := env.Running(t, ws, open.RunID), env.Running(t, ws, limited.RunID)
	held := must(db.OpenAllowances(ctx, server))(t)
	workspaces := held[1].ID
	if refs := must(env.DB.System("test").OpenAllowances(ctx, server))(t); len(refs) != 2 || refs[0].AllowanceID != held[0].ID || refs[1].AllowanceID != workspaces {
		t.Errorf("%+v, want the task's before the workspace's", refs)
	}
	estimate := corp.Call{}
	ok(t, db.CloseAllowance(ctx, workspaces, &estimate)) // closes the task's first
	ok(t, db.CloseAllowance(ctx, workspaces, &corp.Call{}))
	ok(t, db.CloseAllowance(ctx, held[0].ID, &corp.Call{}))
	balanced(t, env, ws)
	if estimate.Cost != 140 {
		t.Errorf("%s were estimated, want all that was held", estimate.Cost)
	}
	for run, want := range map[corp.RunID]corp.Nanodollars{first.RunID: 100, second.RunID: 40} {
		list := must(db.Calls(ctx, postgres.CallFilter{Run: run}, corp.Page{}))(t)
		if len(list.Items) != 1 || list.Items[0].Cost != want || !list.Items[0].Estimated || list.Items[0].Outcome != corp.CallUnsettled {
			t.Errorf("%+v", list.Items)
		}
	}
	if left := must(db.OpenAllowances(ctx, server))(t); len(left) != 0 {
		t.Errorf("%+v", left)
	}
}

// A call is paid from the task's and from the workspace's budget, so that a
// server that held little of the one cannot have spent much of the other.
func TestAnEstimateIsNoMoreThanWasHeldOfEveryLimit(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx, server := t.Context(), corp.NewID[corp.ServerID]()
	limitWorkspace(t, db, 150)
	limited, open := env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Nanodollars(300))}), env.Submit(t, ws, corp.TaskSpec{})
	env.Running(t, ws, limited.RunID)
	must(db.GrantAllowance(ctx, server, limited.ID, 100, 100))(t)
	held := must(db.OpenAllowances(ctx, server))(t)
	ok(t, db.ReturnAllowance(ctx, held[1].ID, 60))
	must(db.GrantAllowance(ctx, corp.NewID[corp.ServerID](), open.ID, 110, 110))(t)
	estimate := corp.Call{}
	ok(t, db.CloseAllowance(ctx, held[0].ID, &estimate))
	balanced(t, env, ws)
	if estimate.Cost != 40 {
		t.Errorf("%s were estimated, want the 40 that were held of the workspace's", estimate.Cost)
	}
}

func TestWhatNoRunCouldHaveSpentIsGivenBack(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx, server := t.Context(), corp.NewID[corp.ServerID]()
	limitWorkspace(t, db, 1000)
	never, idle := env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Nanodollars(300))}), env.Submit(t, ws, corp.TaskSpec{})
	must(db.GrantAllowance(ctx, server, never.ID, 100, 100))(t)
	must(db.GrantAllowance(ctx, server, idle.ID, 100, 100))(t)
	for _, a := range must(db.OpenAllowances(ctx, server))(t) {
		call := corp.Call{}
		ok(t, db.CloseAllowance(ctx, a.ID, &call))
		if call.Cost != 0 {
			t.Errorf("%s by a run that never began", call.Cost)
		}
	}
	balanced(t, env, ws)
	for _, b := range must(db.Budgets(ctx, never.ID))(t) {
		if b.Spent != 0 || b.Granted != 0 {
			t.Errorf("%+v", b)
		}
	}
}

func TestACallThatAJournalNamesIsWrittenAsItIs(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx, server := t.Context(), corp.NewID[corp.ServerID]()
	task := env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Nanodollars(300))})
	lease := env.Running(t, ws, task.RunID)
	g := must(db.GrantAllowance(ctx, server, task.ID, 100, 100))(t)[0]
	call := aCall(task, lease.Epoch, 0)
	call.Outcome = ""
	ok(t, db.CloseAllowance(ctx, g.AllowanceID, &call))
	balanced(t, env, ws)
	list := must(db.Calls(ctx, postgres.CallFilter{}, corp.Page{}))(t)
	if call.Cost != 100 || len(list.Items) != 1 || list.Items[0].ID != call.ID || list.Items[0].ModelAsked != "m" {
		t.Errorf("%+v %+v", call, list.Items)
	}
}
