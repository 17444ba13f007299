package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func TestADeadServerIsOneThatHoldsMoneyAndIsSilent(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	system, ctx := env.DB.System("test"), t.Context()
	alive, silent, idle, unknown := corp.NewID[corp.ServerID](), corp.NewID[corp.ServerID](), corp.NewID[corp.ServerID](), corp.NewID[corp.ServerID]()
	for i, s := range []corp.ServerID{alive, silent, idle} {
		ok(t, system.RegisterServer(ctx, corp.Server{ID: s, Address: fmt.Sprint(i)}))
		ok(t, system.RegisterServer(ctx, corp.Server{ID: s, Address: fmt.Sprint(i)}))
	}
	wantKind(t, system.TouchServer(ctx, unknown), corp.KindNotFound)
	task := env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Dollar)})
	for _, s := range []corp.ServerID{alive, silent, unknown} {
		must(env.DB.In(ws).GrantAllowance(ctx, s, task.ID, 1, 1))(t)
	}
	env.Exec(t, `UPDATE servers SET seen_at = now() - interval '1 hour'`)
	ok(t, system.TouchServer(ctx, alive))
	dead := must(system.DeadServers(ctx, time.Minute))(t)
	slices.SortFunc(dead, func(a, b corp.ServerID) int { return slices.Compare(a[:], b[:]) })
	if want := []corp.ServerID{silent, unknown}; len(dead) != 2 || !slices.Contains(dead, want[0]) || !slices.Contains(dead, want[1]) {
		t.Errorf("%v, want %v", dead, want)
	}
	held := must(system.OpenAllowances(ctx, silent))(t)
	if len(held) != 1 || held[0].Workspace != ws {
		t.Errorf("%+v", held)
	}
	// idle is silent and holds nothing; silent still holds something.
	if n := must(system.DropServers(ctx, time.Minute))(t); n != 1 {
		t.Errorf("%d servers dropped, want the idle one", n)
	}
	wantKind(t, system.TouchServer(ctx, idle), corp.KindNotFound)
	ok(t, system.TouchServer(ctx, silent))
}

func TestPartitionsAreMadeOnceAlsoByMany(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	system := env.DB.System("test")
	from := time.Date(2031, 11, 30, 23, 0, 0, 0, time.UTC)
	var made atomic.Int64
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			n, err := system.EnsurePartitions(t.Context(), from, 2)
			if err != nil {
				t.Error(err)
			}
			made.Add(int64(n))
		})
	}
	all.Wait()
	if made.Load() != 15 { // five tables, November to January
		t.Errorf("%d partitions", made.Load())
	}
	conn := connect(t, env.SuperURL)
	for _, finding := range gateFindings(t, conn, "") {
		t.Error(finding)
	}
}

// A server that nobody makes partitions for makes what it needs by itself.
func TestAMissingPartitionIsMadeOnTheWay(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	task := env.Submit(t, ws, corp.TaskSpec{})
	lease := env.Running(t, ws, task.RunID)
	call := aCall(task, lease.Epoch, 5)
	call.At = time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	ok(t, env.DB.In(ws).RecordCalls(t.Context(), []postgres.CallRecord{{Call: call}}))
	env.Exec(t, `DO $$ DECLARE part text; BEGIN
		FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'events'::regclass LOOP EXECUTE 'DROP TABLE ' || part; END LOOP; END $$`)
	must(env.DB.In(ws).CancelTask(context.Background(), actor, env.Submit(t, ws, corp.TaskSpec{}).ID))(t)
}
