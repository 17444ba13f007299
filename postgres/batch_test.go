package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

const someURL = "https://git.example.com/w.git"

// part is one task of a batch that follows the named ones.
func part(ref string, after ...string) corp.BatchTask {
	t := corp.BatchTask{Ref: ref, TaskSpec: corp.TaskSpec{Prompt: "part " + ref, RepositoryURL: someURL}}
	for _, on := range after {
		t.After = append(t.After, corp.Dependency{Ref: on})
	}
	return t
}

func submitBatch(tb testing.TB, db postgres.WorkspaceDB, tasks ...corp.BatchTask) corp.Batch {
	tb.Helper()
	batch, replayed, err := db.SubmitBatch(tb.Context(), actor, corp.BatchSpec{Tasks: tasks}, postgres.Idempotency{})
	if err != nil || replayed {
		tb.Fatal(replayed, err)
	}
	return batch
}

func TestABatchIsSubmittedInItsOrderWithItsDependencies(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	old := env.Submit(t, ws, corp.TaskSpec{})
	full := corp.TaskSpec{
		Prompt: "all of it", RepositoryURL: someURL, Base: "main", Check: "true", Budget: new(corp.Dollar), TimeoutSeconds: 7, MaxAttempts: 2, Priority: 4,
		Labels: []string{"gpu", `a"b\c`, "{x,y}"}, Retry: &corp.RetryPolicy{BaseMS: 5, CapMS: 6}, ParentID: &old.ID,
		After: []corp.Dependency{{TaskID: old.ID, OnFailure: corp.OnFailureContinue}},
	}
	batch := submitBatch(t, db, part("c", "b"), part("a"), part("b", "a"), corp.BatchTask{TaskSpec: full})
	want := []corp.TaskState{corp.TaskBlocked, corp.TaskQueued, corp.TaskBlocked, corp.TaskBlocked}
	for i, item := range batch.Tasks {
		if item.State != want[i] || i > 0 && item.TaskID.String() <= batch.Tasks[i-1].TaskID.String() {
			t.Errorf("%d: %+v", i, item)
		}
	}
	c := must(db.Task(t.Context(), batch.Tasks[0].TaskID))(t)
	if diff := cmp.Diff([]corp.Dependency{{TaskID: batch.Tasks[2].TaskID, OnFailure: corp.OnFailureCancel}}, c.After); diff != "" {
		t.Error(diff)
	}
	if c.State != corp.TaskBlocked || c.Reason != corp.ReasonDependency || !c.RunID.IsZero() || c.Attempts != 0 || *c.BatchID != batch.ID {
		t.Errorf("%+v", c)
	}
	got := must(db.Task(t.Context(), batch.Tasks[3].TaskID))(t)
	full.Agent = "default"
	if diff := cmp.Diff(full, got.TaskSpec); diff != "" {
		t.Error(diff)
	}
	list := must(db.Tasks(t.Context(), corp.TaskFilter{Batch: batch.ID}, corp.Page{}))(t).Items
	if len(list) != 4 || list[3].ID != batch.Tasks[0].TaskID {
		t.Errorf("%d tasks, the last one %+v", len(list), list[len(list)-1])
	}
	queued := must(env.DB.System("test").QueueOf(t.Context(), []corp.WorkspaceID{ws}))(t)
	if len(queued) != 2 { // the old one and a
		t.Errorf("%+v", queued)
	}
	gapless(t, db)
}

func TestABatchWithOneBadTaskLeavesNothing(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	foreign := env.Submit(t, env.Workspace(t), corp.TaskSpec{})
	const n = 3000
	bad := func(do func(*corp.BatchTask)) []corp.BatchTask {
		tasks := make([]corp.BatchTask, n)
		for i := range tasks {
			tasks[i] = part(fmt.Sprint(i))
		}
		do(&tasks[n/2])
		return tasks
	}
	for name, c := range map[string]struct {
		spoil func(*corp.BatchTask)
		kind  corp.Kind
		field string
	}{
		"no prompt":            {func(t *corp.BatchTask) { t.Prompt = "" }, corp.KindInvalid, "prompt"},
		"zero bytes":           {func(t *corp.BatchTask) { t.Prompt = "a\x00b" }, corp.KindInvalid, ""},
		"no agent":             {func(t *corp.BatchTask) { t.Agent = "nobody" }, corp.KindNotFound, "agent"},
		"a missing repository": {func(t *corp.BatchTask) { t.RepositoryURL, t.RepositoryID = "", new(corp.NewID[corp.RepositoryID]()) }, corp.KindNotFound, "repository_id"},
		"a foreign parent":     {func(t *corp.BatchTask) { t.ParentID = &foreign.ID }, corp.KindNotFound, "parent_id"},
		"a foreign dependency": {func(t *corp.BatchTask) { t.After = []corp.Dependency{{TaskID: foreign.ID}} }, corp.KindNotFound, "after[0].task_id"},
		"a ref twice":          {func(t *corp.BatchTask) { t.Ref = "0" }, corp.KindInvalid, "ref"},
		"no such ref":          {func(t *corp.BatchTask) { t.After = []corp.Dependency{{Ref: "x"}} }, corp.KindInvalid, "after[0].ref"},
		"itself":               {func(t *corp.BatchTask) { t.After = []corp.Dependency{{Ref: fmt.Sprint(n / 2)}} }, corp.KindInvalid, "after[0].ref"},
		"a negative budget":    {func(t *corp.BatchTask) { t.Budget = new(corp.Nanodollars(-1)) }, corp.KindInvalid, "budget_nanodollars"},
	} {
		_, _, err := db.SubmitBatch(t.Context(), actor, corp.BatchSpec{Tasks: bad(c.spoil)}, postgres.Idempotency{Key: name})
		field := ""
		if c.field != "" {
			field = fmt.Sprintf("tasks[%d].%s", n/2, c.field)
		}
		if corp.KindOf(err) != c.kind || fieldOf(err) != field {
			t.Errorf("%s: %v in %q, want %s in %q", name, err, fieldOf(err), c.kind, field)
		}
	}
	if events := must(db.Events(t.Context(), 0, 10))(t); len(events) > 1 { // its agent was made
		t.Errorf("%+v", events)
	}
	for _, table := range []string{"tasks", "runs", "task_dependencies", "idempotency_keys"} {
		if rows := pgtest.Value[int](t, env, `SELECT count(*) FROM `+table+` WHERE workspace_id = $1`, ws); rows != 0 {
			t.Errorf("%d rows in %s", rows, table)
		}
	}
	for _, tasks := range [][]corp.BatchTask{nil, make([]corp.BatchTask, corp.MaxBatch+1)} {
		_, _, err := db.SubmitBatch(t.Context(), actor, corp.BatchSpec{Tasks: tasks}, postgres.Idempotency{})
		wantKind(t, err, corp.KindInvalid)
	}
}

func TestABatchWhoseConnectionIsKilledMidwayLeavesNothingAndMayBeRepeated(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	db := env.DB.In(ws)
	tasks := make([]corp.BatchTask, 3000)
	for i := range tasks {
		tasks[i] = part("")
	}
	idem := postgres.Idempotency{Key: "k", RequestHash: []byte{1}}
	blocker := must(connect(t, env.SuperURL).Begin(t.Context()))(t)
	must(blocker.Exec(t.Context(), `SELECT FROM event_heads WHERE workspace_id = $1 FOR UPDATE`, ws))(t)
	failed := make(chan error)
	go func() {
		_, _, err := db.SubmitBatch(t.Context(), actor, corp.BatchSpec{Tasks: tasks}, idem)
		failed <- err
	}()
	pgtest.Eventually(t, 30*time.Second, "the batch waits with its rows written", func(context.Context) bool {
		return pgtest.Value[int](t, env, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'corp_app' AND wait_event_type = 'Lock'`) == 1
	})
	env.KillConnections(t)
	wantKind(t, <-failed, corp.KindUnavailable)
	ok(t, blocker.Rollback(t.Context()))
	for _, table := range []string{"tasks", "runs", "idempotency_keys"} {
		if rows := pgtest.Value[int](t, env, `SELECT count(*) FROM `+table+` WHERE workspace_id = $1`, ws); rows != 0 {
			t.Errorf("%d rows in %s", rows, table)
		}
	}
	pgtest.Eventually(t, 30*time.Second, "a repetition with the same key", func(ctx context.Context) bool {
		batch, replayed, err := db.SubmitBatch(ctx, actor, corp.BatchSpec{Tasks: tasks}, idem)
		return err == nil && !replayed && len(batch.Tasks) == len(tasks)
	})
	gapless(t, db)
}

func fieldOf(err error) string {
	if e, is := err.(*corp.Error); is { //nolint:errorlint // the doors return it unwrapped
		return e.Field
	}
	return ""
}

func TestEqualBatchesUnderOneKeyAreOneBatchWhoeverElseTriesAtTheSameTime(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	var tasks []corp.BatchTask
	for i := range 50 {
		tasks = append(tasks, part(fmt.Sprint(i)))
	}
	tasks[1].After = []corp.Dependency{{Ref: "49"}}
	idem := postgres.Idempotency{Key: "once", RequestHash: []byte{1}}
	const n = 64
	batches, fresh := make([]corp.Batch, n), make([]bool, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			batch, replayed, err := db.SubmitBatch(t.Context(), actor, corp.BatchSpec{Tasks: tasks}, idem)
			if err != nil {
				t.Error(err)
			}
			batches[i], fresh[i] = batch, !replayed
		})
	}
	all.Wait()
	made := 0
	for i := range n {
		if diff := cmp.Diff(batches[0], batches[i]); diff != "" {
			t.Error(diff)
		}
		if fresh[i] {
			made++
		}
	}
	if rows := pgtest.Value[int](t, env, `SELECT count(*) FROM tasks WHERE workspace_id = $1`, ws); made != 1 || rows != len(tasks) {
		t.Errorf("%d say that they made it, %d tasks are there", made, rows)
	}
	_, _, err := db.SubmitBatch(t.Context(), actor, corp.BatchSpec{Tasks: tasks}, postgres.Idempotency{Key: "once", RequestHash: []byte{2}})
	wantKind(t, err, corp.KindConflict)
	if _, replayed, err := db.SubmitTask(t.Context(), actor, tasks[0].TaskSpec, idem); err != nil || replayed {
		t.Errorf("a single task under the same key: %v %v", replayed, err)
	}
}

func BenchmarkSubmitABatchOf5000(b *testing.B) {
	_, _, db := door(b)
	tasks := make([]corp.BatchTask, corp.MaxBatch)
	for i := range tasks {
		tasks[i] = part(fmt.Sprint(i))
		tasks[i].Prompt = strings.Repeat("x", 500)
		if i > 0 {
			tasks[i].After = []corp.Dependency{{Ref: fmt.Sprint(i / 2)}}
		}
	}
	tasks[1].After = []corp.Dependency{{Ref: "0"}}
	for b.Loop() {
		submitBatch(b, db, tasks...)
	}
	b.ReportMetric(float64(corp.MaxBatch*b.N)/b.Elapsed().Seconds(), "tasks/s")
}
