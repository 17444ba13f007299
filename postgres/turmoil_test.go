package postgres_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// turmoil is a workspace in which everything happens at once: submissions alone and
// in batches, with random dependencies and parents, claims, ends of every kind,
// cancels of tasks and batches, retries and redrives.
type turmoil struct {
	t      *testing.T
	env    *pgtest.Env
	ws     corp.WorkspaceID
	db     postgres.WorkspaceDB
	server corp.ServerID
	term   int64

	asked, accepted atomic.Int64 // tasks

	mu      sync.Mutex
	tasks   []corp.TaskID
	batches []corp.BatchID
}

// Invariants 1 and 16: at every commit every task is in exactly one place, its
// runs agree with it, and nobody waits for nothing; no run is queued before what
// its task follows has ended; in the end everything can be brought to its end.
func TestEverythingAtOnceLosesNothingAndStartsNothingTooEarly(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	f := &turmoil{t: t, env: env, ws: env.Workspace(t)}
	f.db = env.DB.In(f.ws)
	f.server, f.term = leader(t, env)
	const workers, steps = 6, 60
	burning, stop := context.WithCancel(t.Context())
	samples := 0
	var watch, all sync.WaitGroup
	watch.Go(func() {
		for ; burning.Err() == nil; samples++ {
			f.sample()
		}
	})
	for i := range workers {
		random := rand.New(rand.NewPCG(uint64(i), 16))
		all.Go(func() {
			for range steps {
				f.step(random)
			}
		})
	}
	all.Wait()
	stop()
	watch.Wait()
	f.sample()
	f.drain()
	if open := pgtest.Value[int](t, env, `SELECT count(*) FROM tasks WHERE workspace_id = $1 AND state IN ('queued', 'running', 'blocked')`, f.ws); open != 0 {
		t.Errorf("%d tasks cannot be brought to their end", open)
	}
	// A task that is tried again while others are just being unblocked by its first end does not call them back.
	never(t, env, "a run was queued before a task that its task follows had ended", `
		SELECT count(*) FROM events e JOIN task_dependencies d ON d.task_id = e.task_id
		WHERE e.workspace_id = $1 AND e.kind = 'run.queued' AND NOT EXISTS (
			SELECT FROM events p WHERE p.workspace_id = $1 AND p.task_id = d.depends_on AND p.seq < e.seq
				AND p.kind IN ('task.succeeded', 'task.failed', 'task.dead', 'task.cancelled'))`, f.ws)
	sound(t, env, f.ws)
	t.Logf("%d tasks, %d events, %d samples", f.accepted.Load(), gapless(t, f.db), samples)
}

// sample looks from outside, at whatever is committed at the moment.
func (f *turmoil) sample() {
	low := f.accepted.Load()
	n := pgtest.Value[int64](f.t, f.env, `SELECT count(*) FROM tasks WHERE workspace_id = $1 AND state IN ('queued', 'running', 'blocked', 'succeeded', 'failed', 'cancelled', 'dead')`, f.ws)
	if high := f.asked.Load(); n < low || n > high {
		f.t.Errorf("%d tasks are there, between %d and %d were accepted", n, low, high)
	}
	sound(f.t, f.env, f.ws)
}

func (f *turmoil) step(random *rand.Rand) {
	switch random.IntN(10) {
	case 0, 1:
		spec := f.spec(random)
		f.asked.Add(1)
		task, _, err := f.db.SubmitTask(f.t.Context(), actor, spec, postgres.Idempotency{})
		if f.fine(err) {
			f.keep([]corp.TaskID{task.ID}, corp.BatchID{})
		}
	case 2:
		f.submitBatch(random)
	case 3:
		_, err := f.db.CancelTask(f.t.Context(), actor, f.pick(random))
		f.fine(err)
	case 4:
		if batch, there := f.pickBatch(random); there {
			_, err := f.db.CancelBatch(f.t.Context(), actor, batch)
			f.fine(err)
		}
	case 5:
		_, err := f.db.RetryTask(f.t.Context(), actor, f.pick(random))
		f.fine(err)
	case 6:
		_, err := f.db.RedriveTasks(f.t.Context(), actor, postgres.RedriveFilter{State: []corp.TaskState{corp.TaskDead, corp.TaskFailed}[random.IntN(2)], Limit: 3})
		f.fine(err)
	default:
		f.work(random, 8)
	}
}

// fine lets pass what the state of things may refuse.
func (f *turmoil) fine(err error) bool {
	if kind := corp.KindOf(err); err != nil && kind != corp.KindConflict && kind != corp.KindNotFound && kind != corp.KindLeaseLost {
		f.t.Error(err)
	}
	return err == nil
}

func (f *turmoil) spec(random *rand.Rand) corp.TaskSpec {
	spec := corp.TaskSpec{Prompt: "p", RepositoryURL: someURL, MaxAttempts: 1}
	seen := map[corp.TaskID]bool{}
	for range random.IntN(3) {
		if id := f.pick(random); !id.IsZero() && !seen[id] {
			seen[id] = true
			spec.After = append(spec.After, corp.Dependency{TaskID: id, OnFailure: []string{"", corp.OnFailureContinue}[random.IntN(2)]})
		}
	}
	if id := f.pick(random); random.IntN(3) == 0 && !id.IsZero() {
		spec.ParentID = &id
	}
	return spec
}

func (f *turmoil) submitBatch(random *rand.Rand) {
	tasks := make([]corp.BatchTask, 1+random.IntN(12))
	for i := range tasks {
		tasks[i] = part(string(rune('a' + i)))
		tasks[i].MaxAttempts = 1
		for j := range i {
			if random.IntN(3) == 0 {
				tasks[i].After = append(tasks[i].After, corp.Dependency{Ref: tasks[j].Ref, OnFailure: []string{"", corp.OnFailureContinue}[random.IntN(2)]})
			}
		}
	}
	f.asked.Add(int64(len(tasks)))
	batch, _, err := f.db.SubmitBatch(f.t.Context(), actor, corp.BatchSpec{Tasks: tasks}, postgres.Idempotency{})
	if !f.fine(err) {
		return
	}
	var ids []corp.TaskID
	for _, item := range batch.Tasks {
		ids = append(ids, item.TaskID)
	}
	f.keep(ids, batch.ID)
}

// work claims some runs and ends them in all the ways there are.
func (f *turmoil) work(random *rand.Rand, most int) int {
	ctx, system := f.t.Context(), f.env.DB.System("test")
	queued, err := system.QueueOf(ctx, []corp.WorkspaceID{f.ws})
	f.fine(err)
	random.Shuffle(len(queued), func(i, j int) { queued[i], queued[j] = queued[j], queued[i] })
	epochs := map[corp.RunID]int64{}
	var claims []postgres.Claim
	for _, q := range queued[:min(most, len(queued))] {
		claims = append(claims, claimOf(q))
		epochs[q.RunID] = q.Epoch + 1
	}
	claimed, err := system.ClaimRuns(ctx, f.server, f.term, claims)
	f.fine(err)
	for _, run := range claimed {
		if random.IntN(8) == 0 {
			f.fine(f.db.ReleaseRun(ctx, run, epochs[run], "draining"))
			continue
		}
		f.fine(f.db.AckRun(ctx, run, epochs[run]))
		outcome := []corp.Outcome{succeeded, succeeded, failed(corp.ReasonCheckFailed), failed(corp.ReasonAgentFailed), {State: corp.RunCancelled, Reason: corp.ReasonCancelled}}[random.IntN(5)]
		_, err := f.db.FinishRun(ctx, run, epochs[run], outcome)
		f.fine(err)
	}
	return len(claimed)
}

// drain carries out whatever is left.
func (f *turmoil) drain() {
	random := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		if f.work(random, 50) == 0 {
			return
		}
	}
	f.t.Error("the queue does not get empty")
}

func (f *turmoil) keep(tasks []corp.TaskID, batch corp.BatchID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tasks = append(f.tasks, tasks...)
	if !batch.IsZero() {
		f.batches = append(f.batches, batch)
	}
	f.accepted.Add(int64(len(tasks)))
}

func (f *turmoil) pick(random *rand.Rand) corp.TaskID {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.tasks) == 0 {
		return corp.TaskID{}
	}
	recent := f.tasks[max(0, len(f.tasks)-40):]
	return recent[random.IntN(len(recent))]
}

func (f *turmoil) pickBatch(random *rand.Rand) (corp.BatchID, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.batches) == 0 {
		return corp.BatchID{}, false
	}
	return f.batches[random.IntN(len(f.batches))], true
}
