package postgres_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func steps(from, to int) (list []corp.Step) {
	for i := from; i < to; i++ {
		list = append(list, corp.Step{Key: fmt.Sprintf("%05d", i), Output: json.RawMessage(fmt.Sprintf(`{"n": %d}`, i))})
	}
	return list
}

// journal reads what a run goes on with, a page at a time.
func journal(t *testing.T, db postgres.WorkspaceDB, lease pgtest.Lease, page int64) corp.Journal {
	t.Helper()
	var whole corp.Journal
	for after := ""; ; {
		got := must(db.Steps(t.Context(), lease.RunID, lease.Epoch, after, page))(t)
		whole.Number, whole.Steps = got.Number, append(whole.Steps, got.Steps...)
		if !got.More {
			return whole
		}
		after = got.Steps[len(got.Steps)-1].Key
	}
}

// Invariant 17: each key is committed once, whoever writes it again and how.
func TestTheFirstWriterOfAStepWins(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	if got := journal(t, db, lease, 1<<20); got.Number != 1 || len(got.Steps) != 0 {
		t.Errorf("an empty journal is %+v", got)
	}
	var race sync.WaitGroup
	for i := range 8 {
		race.Go(func() {
			ok(t, db.SaveSteps(ctx, lease.RunID, lease.Epoch, 1, []corp.Step{{Key: "00000", Output: json.RawMessage(fmt.Sprint(i))}}))
		})
	}
	race.Wait()
	first := journal(t, db, lease, 1<<20).Steps[0]
	ok(t, db.SaveSteps(ctx, lease.RunID, lease.Epoch, 1, steps(0, 7)))
	ok(t, db.SaveSteps(ctx, lease.RunID, lease.Epoch, 1, steps(3, 9)))
	want := append([]corp.Step{first}, steps(1, 9)...)
	for _, page := range []int64{0, 1, 20, 1 << 20} {
		if diff := cmp.Diff(want, journal(t, db, lease, page).Steps); diff != "" {
			t.Errorf("pages of %d bytes: %s", page, diff)
		}
	}
}

func TestKeysAreOrderedByTheirBytes(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	want := []string{"00001", "00001.001", "00001.010", "00002", "a", "b.z", "ba"}
	for _, i := range []int{4, 2, 6, 0, 3, 1, 5} {
		ok(t, db.SaveSteps(t.Context(), lease.RunID, lease.Epoch, 1, []corp.Step{{Key: want[i], Output: json.RawMessage(`"\u0000\ud800"`)}}))
	}
	var got []string
	for _, s := range journal(t, db, lease, 30).Steps {
		got = append(got, s.Key)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What the attempt before ended with decides whether the next goes on from its
// steps.
func TestTheNextAttemptGoesOnUnlessItWouldOnlyRepeatTheEnd(t *testing.T) {
	t.Parallel()
	for reason, goesOn := range map[corp.Reason]bool{
		corp.ReasonProviderDown: true, corp.ReasonAgentFailed: true, corp.ReasonDelivery: true, corp.ReasonTimeout: true, corp.ReasonBudget: true,
		corp.ReasonCheckFailed: false, corp.ReasonNoChange: false, corp.ReasonStepLimit: false, corp.ReasonRefused: false, corp.ReasonProviderRejected: false,
	} {
		env, ws, db := door(t)
		ctx := t.Context()
		task := env.Submit(t, ws, corp.TaskSpec{MaxAttempts: 5, Retry: &corp.RetryPolicy{BaseMS: 1, CapMS: 1}})
		lease := env.Running(t, ws, task.RunID)
		ok(t, db.SaveSteps(ctx, lease.RunID, lease.Epoch, 1, steps(0, 2)))
		lease = again(t, env, ws, db, lease, reason)
		got := journal(t, db, lease, 1<<20)
		if goesOn && (got.Number != 1 || len(got.Steps) != 2) || !goesOn && (got.Number != 2 || len(got.Steps) != 0) {
			t.Errorf("after %s: %+v", reason, got)
		}
		if goesOn {
			continue
		}
		ok(t, db.SaveSteps(ctx, lease.RunID, lease.Epoch, 2, steps(5, 6)))
		if got := journal(t, db, lease, 1<<20); got.Number != 2 || len(got.Steps) != 1 {
			t.Errorf("the journal that was begun after %s is %+v", reason, got)
		}
	}
}

// again ends a run and begins the next attempt, asking for one if need be.
func again(t *testing.T, env *pgtest.Env, ws corp.WorkspaceID, db postgres.WorkspaceDB, lease pgtest.Lease, reason corp.Reason) pgtest.Lease {
	t.Helper()
	run := must(db.FinishRun(t.Context(), lease.RunID, lease.Epoch, failed(reason)))(t)
	task := must(db.Task(t.Context(), run.TaskID))(t)
	if task.State.Final() {
		task = must(db.RetryTask(t.Context(), actor, task.ID))(t)
	}
	env.Exec(t, `UPDATE runs SET not_before = NULL WHERE id = $1`, task.RunID)
	return env.Running(t, ws, task.RunID)
}

func TestAnAgentThatDiesAtTheSamePlaceAgainStartsAnew(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{MaxAttempts: 9}).RunID)
	ok(t, db.SaveSteps(ctx, lease.RunID, lease.Epoch, 1, steps(0, 2)))
	lease = again(t, env, ws, db, lease, corp.ReasonAgentFailed)
	ok(t, db.SaveSteps(ctx, lease.RunID, lease.Epoch, 1, steps(2, 3))) // it came further
	lease = again(t, env, ws, db, lease, corp.ReasonAgentFailed)
	if got := journal(t, db, lease, 1<<20); got.Number != 1 || len(got.Steps) != 3 {
		t.Errorf("after progress: %+v", got)
	}
	lease = again(t, env, ws, db, lease, corp.ReasonAgentFailed) // it did not
	if got := journal(t, db, lease, 1<<20); got.Number != 2 || len(got.Steps) != 0 {
		t.Errorf("after the same end again: %+v", got)
	}
}

func TestARunThatWasGivenBackGoesOnWithItsOwnSteps(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	task := env.Submit(t, ws, corp.TaskSpec{})
	old := env.Running(t, ws, task.RunID)
	ok(t, db.SaveSteps(ctx, old.RunID, old.Epoch, 1, steps(0, 3)))
	ok(t, db.ReleaseRun(ctx, old.RunID, old.Epoch, ""))
	wantKind(t, db.SaveSteps(ctx, old.RunID, old.Epoch, 1, steps(3, 4)), corp.KindLeaseLost)
	lease := env.Running(t, ws, task.RunID)
	if got := journal(t, db, lease, 1<<20); got.Number != 1 || len(got.Steps) != 3 {
		t.Errorf("%+v", got)
	}
	wantKind(t, db.SaveSteps(ctx, old.RunID, old.Epoch, 1, steps(3, 4)), corp.KindLeaseLost)
	_, err := db.Steps(ctx, old.RunID, old.Epoch, "", 1)
	wantKind(t, err, corp.KindLeaseLost)
	_, err = db.Steps(ctx, corp.NewID[corp.RunID](), 1, "", 1)
	wantKind(t, err, corp.KindNotFound)
}

func TestAJournalIsBoundedAndHasNoHoleInItsNumbers(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	save := func(journal int, list ...corp.Step) error {
		return db.SaveSteps(ctx, lease.RunID, lease.Epoch, journal, list)
	}
	wantKind(t, save(2, steps(0, 1)...), corp.KindConflict)
	ok(t, save(1, steps(0, 1)...))
	ok(t, save(2, steps(0, 1)...))
	wantKind(t, save(1, steps(1, 2)...), corp.KindConflict)
	wantKind(t, save(4, steps(0, 1)...), corp.KindConflict)
	for name, s := range map[string]corp.Step{
		"too large": {Key: "1", Output: json.RawMessage(`"` + strings.Repeat("x", corp.MaxStep) + `"`)},
		"no JSON":   {Key: "1", Output: json.RawMessage(`{`)},
		"no output": {Key: "1"},
		"no key":    {Output: json.RawMessage(`{}`)},
		"long key":  {Key: strings.Repeat("1", 41), Output: json.RawMessage(`{}`)},
	} {
		if err := save(2, s); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok(t, save(2, corp.Step{Key: "utf", Output: json.RawMessage("\"\xff\"")}))
	env.Exec(t, `UPDATE steps SET bytes = $1 WHERE workspace_id = $2 AND journal = 2 AND key = 'utf'`, corp.MaxJournalBytes-20, ws)
	ok(t, save(2, steps(1, 2)...))
	err := save(2, steps(2, 4)...)
	wantKind(t, err, corp.KindLimit)
}
