package gateway

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func testPurse(t *testing.T, idle time.Duration) (*purse, *pgtest.Env, corp.WorkspaceID) {
	t.Helper()
	env := pgtest.New(t)
	times := DefaultTimes()
	times.Idle, times.Budget, times.Wait = idle, 0, time.Second
	return newPurse(env.DB, corp.NewID[corp.ServerID](), times), env, env.Workspace(t)
}

func opened(t *testing.T, p *purse, env *pgtest.Env, ws corp.WorkspaceID, budget corp.Nanodollars) *taskMoney {
	t.Helper()
	money, err := p.open(t.Context(), ws, env.Submit(t, ws, corp.TaskSpec{Budget: &budget}).ID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.leave(money) })
	return money
}

// dollarCall is a call that costs a dollar at most: a thousand tokens of answer.
func dollarCall() need {
	return need{quote: pricebook.Quote{Price: corp.Price{Output: 1_000_000_000}}, want: 1000, least: 1000}
}

func granted(t *testing.T, env *pgtest.Env, money *taskMoney) corp.Nanodollars {
	t.Helper()
	list, err := env.DB.In(money.space.id).Budgets(t.Context(), money.id)
	if err != nil {
		t.Fatal(err)
	}
	return list[0].Granted + list[1].Granted
}

func TestGrantWhoseAnswerWasLostComesBack(t *testing.T) {
	t.Parallel()
	p, env, ws := testPurse(t, 0)
	money := opened(t, p, env, ws, 10*corp.Dollar)
	if _, err := env.DB.In(ws).GrantAllowance(t.Context(), p.server, money.id, corp.Dollar, corp.Dollar); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	money.account.doubt = true // what ask notes when the connection breaks
	p.mu.Unlock()
	pgtest.Eventually(t, time.Minute, "it is found and closed", func(ctx context.Context) bool {
		p.sweep(ctx)
		return granted(t, env, money) == 0
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if money.account.doubt || !money.account.allowance.IsZero() {
		t.Errorf("%+v", money.account)
	}
}

func TestClosedAllowanceIsNotSpentFromAfterASilence(t *testing.T) {
	t.Parallel()
	p, env, ws := testPurse(t, time.Hour)
	p.times.Silence = 0 // every look counts as the first after a long silence
	money := opened(t, p, env, ws, 10*corp.Dollar)
	r, _, err := p.reserve(t.Context(), money, dollarCall())
	if err != nil {
		t.Fatal(err)
	}
	// Another server took this one for dead while it was suspended.
	if err := env.DB.In(ws).CloseAllowance(t.Context(), r.parts[0].charge.AllowanceID, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.refresh(t.Context(), money); err != nil {
		t.Fatal(err)
	}
	p.settle(r, 0)
	p.mu.Lock()
	free := money.account.free
	p.mu.Unlock()
	if free != 0 {
		t.Errorf("%v of a closed allowance count as free", free)
	}
	again, _, err := p.reserve(t.Context(), money, dollarCall())
	if err != nil || again.parts[0].charge.AllowanceID == r.parts[0].charge.AllowanceID {
		t.Errorf("%+v, %v", again, err)
	}
	if got := granted(t, env, money); got < corp.Dollar {
		t.Errorf("only %v is granted for what is reserved", got)
	}
}

func TestCallThatCostsMoreThanItsBoundIsPaidByTheNext(t *testing.T) {
	t.Parallel()
	p, env, ws := testPurse(t, time.Hour)
	money := opened(t, p, env, ws, corp.Dollar+corp.Dollar/2)
	r, _, err := p.reserve(t.Context(), money, dollarCall())
	if err != nil {
		t.Fatal(err)
	}
	p.settle(r, corp.Dollar+corp.Dollar/4) // a vendor that breaks its own rules
	n := dollarCall()
	n.want, n.least = 500, 500
	if again, _, err := p.reserve(t.Context(), money, n); corp.KindOf(err) != corp.KindLimit {
		t.Errorf("%+v, %v: only a quarter is left", again, err)
	}
}

// What a call used up to the last nanodollar, or more, is let go like the rest:
// neither the allowance nor the memory of its task stays for ever.
func TestAllowanceThatIsUsedUpIsClosedAndItsTaskForgotten(t *testing.T) {
	t.Parallel()
	for _, cost := range []corp.Nanodollars{corp.Dollar, corp.Dollar + 1} {
		p, env, ws := testPurse(t, 0)
		budget := corp.Dollar
		task := env.Submit(t, ws, corp.TaskSpec{Budget: &budget})
		money, err := p.open(t.Context(), ws, task.ID)
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := p.reserve(t.Context(), money, dollarCall())
		if err != nil {
			t.Fatal(err)
		}
		p.settle(r, cost)
		p.recorded(r)
		p.leave(money)
		pgtest.Eventually(t, time.Minute, "the task is forgotten", func(ctx context.Context) bool {
			p.sweep(ctx)
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.tasks) == 0
		})
		if open, err := env.DB.In(ws).OpenAllowances(t.Context(), p.server); err != nil || len(open) != 0 {
			t.Errorf("%+v, %v", open, err)
		}
	}
}

// A machine that sleeps stops the clock that durations are measured by, but not
// the time of day.
func TestSleepOfTheMachineCountsAsASilence(t *testing.T) {
	t.Parallel()
	p, env, ws := testPurse(t, time.Hour)
	money := opened(t, p, env, ws, 10*corp.Dollar)
	system := env.DB.System("test")
	if err := system.RegisterServer(t.Context(), corp.Server{ID: p.server, Address: "x"}); err != nil {
		t.Fatal(err)
	}
	r, _, err := p.reserve(t.Context(), money, dollarCall())
	if err != nil {
		t.Fatal(err)
	}
	p.release(r)
	env.Exec(t, `UPDATE servers SET seen_at = clock_timestamp() - interval '1 hour' WHERE id = $1`, p.server)
	if err := env.DB.In(ws).CloseAllowance(t.Context(), r.parts[0].charge.AllowanceID, nil); err != nil {
		t.Fatal(err)
	}
	p.times.Budget = DefaultTimes().Budget
	p.mu.Lock()
	money.checked.wall = money.checked.wall.Add(-time.Hour)
	money.space.heard.wall = money.space.heard.wall.Add(-time.Hour)
	p.mu.Unlock()
	if err := p.refresh(t.Context(), money); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	free := money.account.free
	p.mu.Unlock()
	if free != 0 {
		t.Errorf("%v of a closed allowance count as free", free)
	}
	if _, _, err := p.reserve(t.Context(), money, dollarCall()); err != nil {
		t.Fatal(err)
	}
	dead, err := system.DeadServers(t.Context(), time.Minute)
	if err != nil || slices.Contains(dead, p.server) {
		t.Errorf("what it holds now may be taken from it at once: %v, %v", dead, err)
	}
}
