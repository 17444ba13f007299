package dispatch_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// over makes the database itself record every moment at which more is leased than
// may be.
func (w *world) over(t *testing.T) func() []string {
	t.Helper()
	w.Exec(t, `CREATE TABLE over (what text)`)
	w.Exec(t, `GRANT ALL ON over TO PUBLIC`)
	w.Exec(t, `
		CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			INSERT INTO over
			SELECT 'workspace ' || n FROM (SELECT count(*) AS n, w.concurrency AS c FROM runs r JOIN workspaces w USING (workspace_id)
				WHERE r.state IN ('leased', 'running', 'waiting') GROUP BY w.workspace_id) x WHERE c > 0 AND n > c
			UNION ALL
			SELECT 'agent ' || n FROM (SELECT count(*) AS n, a.concurrency AS c FROM runs r JOIN agents a ON a.workspace_id = r.workspace_id AND a.id = r.agent_id
				WHERE r.state IN ('leased', 'running', 'waiting') GROUP BY a.workspace_id, a.id) x WHERE c > 0 AND n > c
			UNION ALL
			SELECT 'repository ' || n FROM (SELECT count(*) AS n, a.concurrency AS c FROM runs r JOIN repositories a ON a.workspace_id = r.workspace_id AND a.id = r.repository_id
				WHERE r.state IN ('leased', 'running', 'waiting') GROUP BY a.workspace_id, a.id) x WHERE c > 0 AND n > c;
			RETURN NULL;
		END $$`)
	w.Exec(t, `ALTER FUNCTION watch() OWNER TO CURRENT_USER`)
	w.Exec(t, `CREATE TRIGGER watch AFTER UPDATE ON runs FOR EACH STATEMENT EXECUTE FUNCTION watch()`)
	return func() []string {
		return pgtest.Value[[]string](t, w.Env, `SELECT coalesce(array_agg(what), '{}') FROM over`)
	}
}

// Two servers take the lead from each other and lose their connections in the
// middle of claims; all three limits hold at every moment, every slot is used
// again, and every task is carried out once.
func TestLimitsHoldWhileServersTakeTheLeadFromEachOther(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	ws := w.Workspace(t)
	over := w.over(t)
	db := w.DB.In(ws)
	three, ctx := 3, t.Context()
	if _, err := db.UpdateWorkspace(ctx, corp.ActorSystem, corp.WorkspaceUpdate{Concurrency: &three}); err != nil {
		t.Fatal(err)
	}
	agent, err := db.CreateAgent(ctx, corp.ActorSystem, corp.AgentSpec{Name: "narrow", Model: pgtest.Model})
	if err != nil {
		t.Fatal(err)
	}
	repository, err := db.CreateRepository(ctx, corp.ActorSystem, corp.NewID[corp.RepositoryID](), corp.RepositorySpec{Name: "one", URL: source}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.LimitAgent(ctx, corp.ActorSystem, agent.ID, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := db.LimitRepository(ctx, corp.ActorSystem, repository.ID, 2); err != nil {
		t.Fatal(err)
	}
	const tasks = 60
	for i := range tasks {
		switch i % 3 {
		case 0:
			submit(t, w.DB, ws, corp.TaskSpec{Agent: "narrow"})
		case 1:
			submit(t, w.DB, ws, corp.TaskSpec{RepositoryID: &repository.ID})
		default:
			submit(t, w.DB, ws, corp.TaskSpec{})
		}
	}
	short := times()
	short.LeaderTTL, short.Ack = time.Second, time.Second
	one, _ := w.dispatcher(t, short)
	two, _ := w.dispatcher(t, short)
	ctx, enough := context.WithTimeout(t.Context(), 5*long)
	defer enough()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() { w.carryOut(ctx, ws, []*dispatch.Dispatcher{one, two}, i) })
	}
	all.Go(func() { w.disturb(ctx, t) })
	all.Go(func() { // the memory is compared with the rows all the time, while claims go on
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			for _, d := range []*dispatch.Dispatcher{one, two} {
				d.Wake(postgres.Notice{Kind: postgres.NoticeLimits, Workspace: ws})
			}
		}
	})
	for n := int64(0); n < tasks && ctx.Err() == nil; {
		n = pgtest.Value[int64](t, w.Env, `SELECT count(*) FROM tasks WHERE state = 'succeeded'`)
		w.reclaim(ctx, ws)
	}
	enough()
	all.Wait()
	if n := pgtest.Value[int64](t, w.Env, `SELECT count(*) FROM tasks WHERE state = 'succeeded'`); n != tasks {
		t.Errorf("%d of %d tasks succeeded", n, tasks)
	}
	if n := pgtest.Value[int64](t, w.Env, `SELECT count(*) FROM runs`); n != tasks {
		t.Errorf("%d runs for %d tasks", n, tasks)
	}
	if found := over(); len(found) > 0 {
		t.Errorf("over the limit: %v", found)
	}
}

// carryOut is a runner that asks whoever leads, and ends what it gets.
func (w *world) carryOut(ctx context.Context, ws corp.WorkspaceID, servers []*dispatch.Dispatcher, i int) {
	r := poolRunner()
	for seq := int64(1); ctx.Err() == nil; seq++ {
		answer, err := servers[(i+int(seq))%len(servers)].Poll(ctx, r, corp.Poll{Seq: seq, Free: 2, WaitMS: 200})
		if err != nil {
			continue
		}
		for _, o := range answer.Offers {
			db := w.DB.In(ws)
			if db.AckRun(ctx, o.RunID, o.Epoch) == nil {
				for ctx.Err() == nil {
					_, err := db.FinishRun(ctx, o.RunID, o.Epoch, corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted})
					if corp.KindOf(err) != corp.KindUnavailable && corp.KindOf(err) != corp.KindInternal {
						break
					}
				}
			}
		}
	}
}

// reclaim does what reconcile does with offers that nobody took up, and with runs
// whose acknowledgement was lost.
func (w *world) reclaim(ctx context.Context, ws corp.WorkspaceID) {
	refs, err := w.DB.System("test").ExpiredOffers(ctx)
	if err != nil {
		return
	}
	for _, ref := range refs {
		_ = w.DB.In(ws).RequeueRun(ctx, ref.RunID, ref.Epoch)
	}
	for _, r := range abandoned(ctx, w) {
		_ = w.DB.In(ws).ReleaseRun(ctx, r.RunID, r.Epoch, "its acknowledgement was lost")
	}
}

// abandoned returns runs that were acknowledged long ago: these runners end
// theirs at once, so nobody has them.
func abandoned(ctx context.Context, w *world) (lost []postgres.LeasedRun) {
	leased, err := w.DB.System("test").Leased(ctx)
	if err != nil {
		return nil
	}
	for _, l := range leased {
		if l.AgeMS > 5_000 {
			lost = append(lost, l)
		}
	}
	return lost
}

// disturb cuts connections and takes the lead away, now and then, and never twice
// without a task's being carried out in between: a machine may be slow.
func (w *world) disturb(ctx context.Context, t *testing.T) {
	t.Helper()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	last := int64(-1)
	for i := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		done := pgtest.Value[int64](t, w.Env, `SELECT count(*) FROM tasks WHERE state = 'succeeded'`)
		if done == last {
			continue
		}
		i, last = i+1, done
		if i%2 == 1 {
			w.KillConnections(t)
		} else {
			w.Exec(t, `UPDATE leaders SET expires_at = clock_timestamp(), term = term + 1, holder = $1`, corp.NewID[corp.ServerID]())
		}
	}
}
