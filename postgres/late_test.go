package postgres_test

import (
	"sync"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// A server that is taken for dead is settled by estimate. When its journal tells
// what it really spent, nothing of that is counted a second time.
func TestWhatAnEstimateHasCountedIsNotCountedAgain(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx, server := t.Context(), corp.NewID[corp.ServerID]()
	limitWorkspace(t, db, 1000)
	limited, open := env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Nanodollars(300))}), env.Submit(t, ws, corp.TaskSpec{})
	env.Running(t, ws, open.RunID)
	env.Running(t, ws, limited.RunID)
	charges := map[corp.TaskID][]postgres.Charge{}
	for _, task := range []corp.Task{limited, open} {
		for _, g := range must(db.GrantAllowance(ctx, server, task.ID, 100, 100))(t) {
			charges[task.ID] = append(charges[task.ID], postgres.Charge{AllowanceID: g.AllowanceID, BudgetID: g.BudgetID})
		}
	}
	told := postgres.CallRecord{Call: aCall(limited, 1, 10), Charges: charges[limited.ID]}
	ok(t, db.RecordCalls(ctx, []postgres.CallRecord{told}))
	late := []postgres.CallRecord{
		told, // a batch whose answer was lost
		{Call: aCall(limited, 1, 60), Charges: charges[limited.ID]},
		{Call: aCall(open, 1, 25), Charges: charges[open.ID]},
		{Call: aCall(open, 1, 145), Charges: charges[open.ID]}, // all in all 40 more than was held: a vendor that billed past its bound
	}
	held := must(env.DB.System("test").OpenAllowances(ctx, server))(t)
	for _, a := range held {
		ok(t, db.CloseAllowance(ctx, a.AllowanceID, &corp.Call{}))
	}
	if spent := must(db.Workspace(ctx))(t).Spent; spent != 200 {
		t.Fatalf("%s were spent by estimate, want all 200 that were held", spent)
	}
	for range 2 {
		ok(t, db.RecordCalls(ctx, late))
	}
	balanced(t, env, ws)
	if spent := must(db.Workspace(ctx))(t).Spent; spent != 240 {
		t.Errorf("%s are spent, want the estimate of 200 and the 40 that it did not contain", spent)
	}
	for _, c := range must(db.Calls(ctx, postgres.CallFilter{Task: limited.ID}, corp.Page{}))(t).Items {
		if c.ID == late[1].ID && (c.Cost >= 60 || !c.Estimated || c.Detail == "" || c.Usage != late[1].Usage) {
			t.Errorf("the late call is %+v", c)
		}
	}
}

// Whichever comes first, and however they interleave: a journal that is being
// recovered and a server that settles by estimate count every nanodollar once.
func TestRecoveryAndEstimateAtTheSameTimeCountOnce(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	limitWorkspace(t, db, 100_000)
	task := env.Submit(t, ws, corp.TaskSpec{Budget: new(corp.Nanodollars(100_000))})
	env.Running(t, ws, task.RunID)
	const held, each, calls = 100, 5, 12
	for round := range 12 {
		before := must(db.Workspace(ctx))(t).Spent
		server := corp.NewID[corp.ServerID]()
		var charges []postgres.Charge
		for _, g := range must(db.GrantAllowance(ctx, server, task.ID, held, held))(t) {
			charges = append(charges, postgres.Charge{AllowanceID: g.AllowanceID, BudgetID: g.BudgetID})
		}
		var all sync.WaitGroup
		begin := make(chan struct{})
		errs := make(chan error, 2*calls)
		for range calls {
			record := []postgres.CallRecord{{Call: aCall(task, 1, each), Charges: charges}}
			all.Go(func() {
				<-begin
				errs <- db.RecordCalls(ctx, record)
			})
		}
		for _, c := range charges {
			all.Go(func() {
				<-begin
				errs <- db.CloseAllowance(ctx, c.AllowanceID, &corp.Call{})
			})
		}
		close(begin)
		all.Wait()
		close(errs)
		for err := range errs {
			ok(t, err)
		}
		balanced(t, env, ws)
		if spent := must(db.Workspace(ctx))(t).Spent - before; spent != held {
			t.Errorf("round %d: %s were counted of %d that were held", round, spent, held)
		}
	}
}

// A runner belongs to the credential that registered it, at every server, and a
// credential that knows its instance does not get it.
func TestARunnerIsOnlyItsOwnKeys(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx, system := t.Context(), env.DB.System("test")
	mine, theirs := corp.Actor("key_one"), corp.Actor("key_two")
	of := must(db.RegisterRunner(ctx, mine, registration("instance-of-"+ws.String())))(t)
	pool := must(system.RegisterPoolRunner(ctx, mine, registration("instance-of-"+ws.String())))(t)
	_, err := db.RegisterRunner(ctx, theirs, registration("instance-of-"+ws.String()))
	wantCode(t, err, "instance_taken")
	_, err = system.RegisterPoolRunner(ctx, theirs, registration("instance-of-"+ws.String()))
	wantCode(t, err, "instance_taken")
	if got := must(db.OwnRunner(ctx, mine, of.ID))(t); got.ID != of.ID || got.Name != of.Name {
		t.Errorf("%+v", got)
	}
	if got := must(system.OwnPoolRunner(ctx, mine, pool.ID))(t); got.ID != pool.ID {
		t.Errorf("%+v", got)
	}
	for _, try := range []struct {
		actor corp.Actor
		id    corp.RunnerID
	}{{theirs, of.ID}, {theirs, pool.ID}, {"", pool.ID}, {mine, corp.NewID[corp.RunnerID]()}} {
		_, err := db.OwnRunner(ctx, try.actor, try.id)
		wantKind(t, err, corp.KindNotFound)
		_, err = system.OwnPoolRunner(ctx, try.actor, try.id)
		wantKind(t, err, corp.KindNotFound)
	}
	_, err = db.OwnRunner(ctx, mine, pool.ID)
	wantKind(t, err, corp.KindNotFound)
	_, err = env.DB.In(env.Workspace(t)).OwnRunner(ctx, mine, of.ID)
	wantKind(t, err, corp.KindNotFound)
}

// The first server decides which secret the installation has; another one is told.
func TestServersAgreeOnOneSecret(t *testing.T) {
	t.Parallel()
	env, _, _ := door(t)
	system := env.DB.System("test")
	one, two := secretHash(), secretHash()
	first := must(system.AgreeOnSecret(t.Context(), one, true))(t)
	again, other := must(system.AgreeOnSecret(t.Context(), one, false))(t), must(system.AgreeOnSecret(t.Context(), two, false))(t)
	if !first || !again || other {
		t.Errorf("first %v, again %v, other %v", first, again, other)
	}
	if !must(system.AgreeOnSecret(t.Context(), two, true))(t) || must(system.AgreeOnSecret(t.Context(), one, false))(t) {
		t.Error("a replaced secret is not the installation's")
	}
}
