package postgres_test

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func TestASubmittedTaskWaitsWithItsDefaultsAndItsFirstRun(t *testing.T) {
	t.Parallel()
	_, _, db := door(t)
	ctx := t.Context()
	spec := corp.TaskSpec{Prompt: "Fix it.", RepositoryURL: "https://git.example.com/w.git", Check: "go test ./...", Priority: 3, Labels: []string{"gpu"}, Budget: new(corp.Dollar)}
	task, replayed, err := db.SubmitTask(ctx, actor, spec, postgres.Idempotency{})
	if err != nil || replayed {
		t.Fatal(replayed, err)
	}
	want := spec
	want.Agent, want.TimeoutSeconds, want.MaxAttempts, want.Retry = "default", 300, 3, &corp.RetryPolicy{BaseMS: 2000, CapMS: 300_000}
	if diff := cmp.Diff(want, task.TaskSpec); diff != "" {
		t.Error(diff)
	}
	if task.State != corp.TaskQueued || task.Attempts != 1 || task.CreatedBy != actor || task.AgentVersion != 1 || task.FinishedAt != nil {
		t.Errorf("%+v", task)
	}
	run := must(db.Run(ctx, task.RunID))(t)
	if run.State != corp.RunQueued || run.Attempt != 1 || run.Epoch != 0 || len(run.TraceID) != 32 || run.TaskID != task.ID {
		t.Errorf("%+v", run)
	}
	if diff := cmp.Diff(task, must(db.Task(ctx, task.ID))(t)); diff != "" {
		t.Error(diff)
	}
	if runs := must(db.Runs(ctx, task.ID, corp.Page{}))(t); len(runs.Items) != 1 || runs.Items[0].ID != run.ID {
		t.Errorf("%+v", runs)
	}
}

func TestATaskKeepsTheAgentsVersionItWasSubmittedWith(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	agent := must(db.Agent(t.Context(), "default"))(t)
	task := env.Submit(t, ws, corp.TaskSpec{Agent: agent.ID.String()})
	agent.Instructions = "new"
	must(db.UpdateAgent(t.Context(), actor, agent.ID, agent.AgentSpec))(t)
	if later := env.Submit(t, ws, corp.TaskSpec{}); later.AgentVersion != 2 {
		t.Errorf("a new task has version %d", later.AgentVersion)
	}
	lease := env.Claim(t, ws, task.RunID)
	offer, _, err := db.OfferFor(t.Context(), task.RunID, lease.Epoch)
	if err != nil || offer.Agent.Version != 1 || offer.Agent.Instructions != "" {
		t.Errorf("%+v, %v", offer.Agent, err)
	}
}

func TestSubmittingWhatCannotBeIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	patch := must(db.CreateBlob(t.Context(), actor, corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: corp.BlobPatch}))(t)
	foreignWS := env.Workspace(t)
	foreign := must(env.DB.In(foreignWS).CreateRepository(t.Context(), actor, corp.NewID[corp.RepositoryID](), corp.RepositorySpec{Name: "r", URL: "git://x"}, nil))(t)
	foreignAgent := must(env.DB.In(foreignWS).Agent(t.Context(), "default"))(t)
	url := "https://git.example.com/w.git"
	for name, c := range map[string]struct {
		spec corp.TaskSpec
		kind corp.Kind
	}{
		"no prompt":            {corp.TaskSpec{RepositoryURL: url}, corp.KindInvalid},
		"a huge prompt":        {corp.TaskSpec{RepositoryURL: url, Prompt: strings.Repeat("x", corp.MaxPrompt+1)}, corp.KindInvalid},
		"a prompt with zeros":  {corp.TaskSpec{RepositoryURL: url, Prompt: "a\x00b"}, corp.KindInvalid},
		"a broken prompt":      {corp.TaskSpec{RepositoryURL: url, Prompt: "a\xffb"}, corp.KindInvalid},
		"no source":            {corp.TaskSpec{Prompt: "p"}, corp.KindInvalid},
		"two sources":          {corp.TaskSpec{Prompt: "p", RepositoryURL: url, RepositoryID: &foreign.ID}, corp.KindInvalid},
		"a foreign repository": {corp.TaskSpec{Prompt: "p", RepositoryID: &foreign.ID}, corp.KindNotFound},
		"a patch as source":    {corp.TaskSpec{Prompt: "p", SourceID: &patch.ID, BaseCommit: strings.Repeat("a", 40)}, corp.KindNotFound},
		"a source without":     {corp.TaskSpec{Prompt: "p", SourceID: &patch.ID}, corp.KindInvalid},
		"no such agent":        {corp.TaskSpec{Prompt: "p", RepositoryURL: url, Agent: "nobody"}, corp.KindNotFound},
		"a foreign agent":      {corp.TaskSpec{Prompt: "p", RepositoryURL: url, Agent: foreignAgent.ID.String()}, corp.KindNotFound},
		"a negative budget":    {corp.TaskSpec{Prompt: "p", RepositoryURL: url, Budget: new(corp.Nanodollars(-1))}, corp.KindInvalid},
		"two days":             {corp.TaskSpec{Prompt: "p", RepositoryURL: url, TimeoutSeconds: 172800}, corp.KindInvalid},
		"many attempts":        {corp.TaskSpec{Prompt: "p", RepositoryURL: url, MaxAttempts: 21}, corp.KindInvalid},
	} {
		_, _, err := db.SubmitTask(t.Context(), actor, c.spec, postgres.Idempotency{Key: name})
		if corp.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, table := range []string{"tasks", "runs", "idempotency_keys"} {
		if n := pgtest.Value[int](t, env, `SELECT count(*) FROM `+table+` WHERE workspace_id = $1`, ws); n != 0 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
}

func TestOneIdempotencyKeyMakesOneTaskWhoeverElseTriesAtTheSameTime(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	spec := corp.TaskSpec{Prompt: "p", RepositoryURL: "https://git.example.com/w.git"}
	idem := postgres.Idempotency{Key: "once", RequestHash: []byte{1, 2, 3}}
	const n = 64
	ids, fresh := make([]corp.TaskID, n), make([]bool, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			task, replayed, err := db.SubmitTask(t.Context(), actor, spec, idem)
			if err != nil {
				t.Error(err)
			}
			ids[i], fresh[i] = task.ID, !replayed
		})
	}
	all.Wait()
	made := 0
	for i := range n {
		if ids[i] != ids[0] {
			t.Errorf("task %s beside %s", ids[i], ids[0])
		}
		if fresh[i] {
			made++
		}
	}
	if count := pgtest.Value[int](t, env, `SELECT count(*) FROM tasks WHERE workspace_id = $1`, ws); made != 1 || count != 1 {
		t.Errorf("%d say that they made it, %d are there", made, count)
	}
	_, _, err := db.SubmitTask(t.Context(), actor, spec, postgres.Idempotency{Key: "once", RequestHash: []byte{4}})
	wantKind(t, err, corp.KindConflict)
	other := env.DB.In(env.Workspace(t))
	if task, replayed, err := other.SubmitTask(t.Context(), actor, spec, idem); err != nil || replayed || task.ID == ids[0] {
		t.Errorf("another workspace's key: %v %v", replayed, err)
	}
}

func TestAForgottenIdempotencyKeyMayBeUsedAgain(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	db, spec := env.DB.In(env.Workspace(t)), corp.TaskSpec{Prompt: "p", RepositoryURL: "git://x"}
	first, _, err := db.SubmitTask(t.Context(), actor, spec, postgres.Idempotency{Key: "k"})
	ok(t, err)
	if n := must(env.DB.System("test").DropIdempotencyKeys(t.Context(), time.Hour))(t); n != 0 {
		t.Errorf("%d young keys were dropped", n)
	}
	env.Exec(t, `UPDATE idempotency_keys SET created_at = now() - interval '2 hours'`)
	if n := must(env.DB.System("test").DropIdempotencyKeys(t.Context(), time.Hour))(t); n != 1 {
		t.Errorf("%d keys were dropped", n)
	}
	second, replayed, err := db.SubmitTask(t.Context(), actor, spec, postgres.Idempotency{Key: "k"})
	if err != nil || replayed || second.ID == first.ID {
		t.Errorf("%v %v", replayed, err)
	}
}

func TestCancellingEndsAQueuedTaskAtOnceAndAsksARunningOneToStop(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	queued := env.Submit(t, ws, corp.TaskSpec{})
	got := must(db.CancelTask(ctx, actor, queued.ID))(t)
	if got.State != corp.TaskCancelled || got.Reason != corp.ReasonCancelled || got.FinishedAt == nil || got.CancelAt == nil {
		t.Errorf("%+v", got)
	}
	if run := must(db.Run(ctx, queued.RunID))(t); run.State != corp.RunCancelled {
		t.Errorf("%+v", run)
	}
	if again := must(db.CancelTask(ctx, actor, queued.ID))(t); !cmp.Equal(got, again) {
		t.Error(cmp.Diff(got, again))
	}
	running := env.Submit(t, ws, corp.TaskSpec{})
	lease := env.Running(t, ws, running.RunID)
	if got := must(db.CancelTask(ctx, actor, running.ID))(t); got.State != corp.TaskRunning || got.CancelAt == nil {
		t.Errorf("%+v", got)
	}
	if who := must(env.DB.Auth().Run(ctx, lease.RunKeyHash))(t); who.StopReason != corp.ReasonCancelled {
		t.Errorf("%+v", who)
	}
	run := must(db.FinishRun(ctx, running.RunID, lease.Epoch, corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}))(t)
	if run.State != corp.RunCancelled || run.Reason != corp.ReasonCancelled {
		t.Errorf("%+v", run)
	}
	if got := must(db.Task(ctx, running.ID))(t); got.State != corp.TaskCancelled {
		t.Errorf("%+v", got)
	}
	_, err := db.CancelTask(ctx, actor, corp.NewID[corp.TaskID]())
	wantKind(t, err, corp.KindNotFound)
}

func TestATaskThatEndedBadlyCanBeTriedAgain(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	task := env.Submit(t, ws, corp.TaskSpec{MaxAttempts: 1})
	_, err := db.RetryTask(ctx, actor, task.ID)
	wantKind(t, err, corp.KindConflict)
	must(db.CancelTask(ctx, actor, task.ID))(t)
	again := must(db.RetryTask(ctx, actor, task.ID))(t)
	if again.State != corp.TaskQueued || again.Attempts != 2 || again.RunID == task.RunID || again.CancelAt != nil || again.FinishedAt != nil {
		t.Errorf("%+v", again)
	}
	lease := env.Running(t, ws, again.RunID)
	must(db.FinishRun(ctx, again.RunID, lease.Epoch, corp.Outcome{State: corp.RunFailed, Reason: corp.ReasonAgentFailed, Detail: "it crashed."}))(t)
	dead := must(db.Task(ctx, task.ID))(t)
	if dead.State != corp.TaskDead || dead.Reason != corp.ReasonAttempts || !strings.Contains(dead.Detail, "it crashed.") {
		t.Errorf("%+v", dead)
	}
	third := must(db.RetryTask(ctx, actor, task.ID))(t)
	lease = env.Running(t, ws, third.RunID)
	must(db.FinishRun(ctx, third.RunID, lease.Epoch, corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}))(t)
	_, err = db.RetryTask(ctx, actor, task.ID)
	wantKind(t, err, corp.KindConflict)
	_, err = db.RetryTask(ctx, actor, corp.NewID[corp.TaskID]())
	wantKind(t, err, corp.KindNotFound)
}

func TestTasksAreListedByStateAndAgent(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	other := must(db.CreateAgent(ctx, actor, corp.AgentSpec{Name: "yuki", Model: "a/b"}))(t)
	mine, theirs := env.Submit(t, ws, corp.TaskSpec{Agent: "yuki"}), env.Submit(t, ws, corp.TaskSpec{})
	env.Running(t, ws, mine.RunID)
	list := func(f corp.TaskFilter) (ids []corp.TaskID) {
		for _, task := range must(db.Tasks(ctx, f, corp.Page{}))(t).Items {
			ids = append(ids, task.ID)
		}
		return ids
	}
	for name, c := range map[string]struct {
		filter corp.TaskFilter
		want   []corp.TaskID
	}{
		"all":     {corp.TaskFilter{}, []corp.TaskID{theirs.ID, mine.ID}},
		"running": {corp.TaskFilter{State: corp.TaskRunning}, []corp.TaskID{mine.ID}},
		"agent":   {corp.TaskFilter{Agent: other.ID}, []corp.TaskID{mine.ID}},
		"both":    {corp.TaskFilter{Agent: other.ID, State: corp.TaskQueued}, nil},
		"no such": {corp.TaskFilter{State: "weird"}, nil},
	} {
		if got := list(c.filter); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if runs := must(db.Runs(ctx, corp.TaskID{}, corp.Page{}))(t); len(runs.Items) != 2 {
		t.Errorf("%+v", runs)
	}
}

// What an API answers must have lists where the schema says lists.
func TestEmptyListsAreListsInJSON(t *testing.T) {
	t.Parallel()
	_, _, db := door(t)
	list := must(db.Tasks(t.Context(), corp.TaskFilter{}, corp.Page{}))(t)
	if text := string(must(json.Marshal(list))(t)); text != `{"items":[]}` {
		t.Error(text)
	}
	if events := must(db.Events(t.Context(), 1000, 10))(t); events == nil {
		t.Error("no events are nil")
	}
}
