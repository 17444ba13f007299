package dispatch_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// A batch is cancelled whose head the leader knows. It must not lease each of its
// runs in vain before somebody's turn comes.
func TestACancelledBatchHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	slow := times()
	slow.Sweep = time.Second
	w.d, _ = w.dispatcher(t, slow)
	waitFor(t, "the lead", w.d.Leading)
	w.listening(t)
	ws := w.Workspace(t)
	r := poolRunner()
	first := submit(t, w.DB, ws, corp.TaskSpec{Priority: 9})
	if got := w.poll(t, w.d, r, 1, 1, long); len(got) != 1 || got[0].TaskID != first.ID {
		t.Fatal("the workspace is not known")
	}
	cancelled := batchOf(t, w.DB, ws, 600, func(int) corp.TaskSpec { return corp.TaskSpec{Priority: 5} })
	kept := map[corp.TaskID]bool{}
	for _, id := range batchOf(t, w.DB, ws, 700, func(int) corp.TaskSpec { return corp.TaskSpec{} }) {
		kept[id] = true
	}
	waitFor(t, "the batch in the memory", func() bool {
		why, err := w.d.Wait(t.Context(), ws, cancelled[0])
		return err == nil && why.State == corp.TaskQueued
	})
	task, err := w.DB.In(ws).Task(t.Context(), cancelled[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.DB.In(ws).CancelBatch(t.Context(), corp.ActorSystem, *task.BatchID); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for seq := int64(2); ; seq++ {
		got := w.poll(t, w.d, r, seq, 1, time.Second)
		if len(got) == 1 {
			if !kept[got[0].TaskID] {
				t.Errorf("%v was offered", got[0].TaskID)
			}
			return
		}
		if time.Since(begun) > 20*time.Second { // one by one they take ten minutes
			t.Fatal("the cancelled runs hold up the others")
		}
	}
}

// The same, when nobody told the leader, and it finds out claim by claim.
func TestWhatIsLeasedInVainHoldsUpNobodyForLong(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	ws, other := w.Workspace(t), w.Workspace(t)
	batchOf(t, w.DB, ws, 30, func(int) corp.TaskSpec { return corp.TaskSpec{Priority: 5} })
	slow := times()
	slow.Sweep = time.Hour
	w.d, _ = w.dispatcher(t, slow)
	waitFor(t, "the lead", w.d.Leading)
	waitFor(t, "the queue", w.d.Knows)
	w.Exec(t, `UPDATE runs SET state = 'cancelled'`)
	want := submit(t, w.DB, other, corp.TaskSpec{})
	w.d.Queued(queuedNow(t, w, other, want))
	if got := w.poll(t, w.d, poolRunner(), 1, 1, long); len(got) != 1 || got[0].RunID != want.RunID {
		t.Errorf("offered %v", ids(got))
	}
}

func queuedNow(t *testing.T, w *world, ws corp.WorkspaceID, task corp.Task) postgres.QueuedRun {
	t.Helper()
	found, err := w.DB.System("test").RunsNow(t.Context(), []postgres.RunRef{{Workspace: ws, RunID: task.RunID}})
	if err != nil || found[0].Queued == nil {
		t.Fatal(found, err)
	}
	return *found[0].Queued
}

// A run whose credential cannot be opened is ended. When that fails it is still
// leased, and takes up its slot.
func TestARunThatCouldNotBeRefusedKeepsItsSlot(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	ws, one := w.Workspace(t), 1
	if _, err := w.DB.In(ws).UpdateWorkspace(t.Context(), corp.ActorSystem, corp.WorkspaceUpdate{Concurrency: &one}); err != nil {
		t.Fatal(err)
	}
	plain, err := json.Marshal(corp.GitCredential{Username: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	id := corp.NewID[corp.RepositoryID]()
	if _, err := w.DB.In(ws).CreateRepository(t.Context(), corp.ActorSystem, id, corp.RepositorySpec{Name: "r", URL: source}, w.ring.Seal(plain, "another place")); err != nil {
		t.Fatal(err)
	}
	over := w.over(t)
	w.Exec(t, `
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the disk is full'; END $$`)
	w.Exec(t, `CREATE TRIGGER refuse BEFORE UPDATE ON runs FOR EACH ROW WHEN (NEW.state = 'failed') EXECUTE FUNCTION refuse()`)
	submit(t, w.DB, ws, corp.TaskSpec{RepositoryID: &id, Priority: 9})
	submit(t, w.DB, ws, corp.TaskSpec{})
	w.d, _ = w.dispatcher(t, times())
	waitFor(t, "the lead", w.d.Leading)
	r := poolRunner()
	for seq := int64(1); seq <= 4; seq++ {
		w.poll(t, w.d, r, seq, 1, 300*time.Millisecond)
	}
	if found := over(); len(found) > 0 {
		t.Errorf("over the limit: %v", found)
	}
}
