package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// purse holds what this server may spend: parts of budgets that the database has
// granted it, in memory, so that a call costs no row in a budget. A call
// reserves its bound from the task's and the workspace's part at once, or from
// neither; what it did not use comes back when it is settled.
//
// Nothing here is ever more than what the database has written down as granted.
// Where it is not known whether the database did something, the purse believes
// whichever leaves it less.
type purse struct {
	db     *postgres.DB
	server corp.ServerID
	times  Times

	mu     sync.Mutex // over everything below, and never held while waiting
	tasks  map[corp.TaskID]*taskMoney
	spaces map[corp.WorkspaceID]*space
}

// space is the money of one workspace. Whoever asks the database for more, or
// gives some back, holds its door.
type space struct {
	id      corp.WorkspaceID
	door    chan struct{} // holds one value while nobody is inside
	account *account      // of the workspace's own budget
	heard   moment        // when the database last answered about it
}

// taskMoney is the money of one task. It stays while anybody uses it.
type taskMoney struct {
	id      corp.TaskID
	space   *space
	account *account
	users   int
	checked moment // when the limits were last read
	fresh   chan struct{}
}

// account is this server's part of one budget.
type account struct {
	budget    corp.BudgetID
	limited   bool
	limit     corp.Nanodollars
	allowance corp.AllowanceID // zero while nothing is granted
	free      corp.Nanodollars // granted, not reserved, not spent; negative after a call that cost more than its bound
	reserved  corp.Nanodollars
	pending   int // calls that are settled and not yet in the database
	used      time.Time
	shed      bool          // give back what is free, soon
	doubt     bool          // the database may hold more than is accounted for here
	changed   chan struct{} // closed when something may have become free
}

func newPurse(db *postgres.DB, server corp.ServerID, times Times) *purse {
	return &purse{db: db, server: server, times: times, tasks: map[corp.TaskID]*taskMoney{}, spaces: map[corp.WorkspaceID]*space{}}
}

// moment is a point in time by both clocks of this machine: the one that
// durations are measured by stands still while the machine sleeps, and the time
// of day may be set.
type moment struct{ steady, wall time.Time }

func present() moment {
	now := time.Now()
	return moment{now, now.Round(0)} // Round takes the steady clock's reading away
}

// age returns how long ago it was, by the clock that says more.
func (m moment) age() time.Duration {
	now := present()
	return max(now.steady.Sub(m.steady), now.wall.Sub(m.wall).Abs())
}

func newAccount() *account { return &account{changed: make(chan struct{})} }

// open returns the money of a task with limits that are at most Times.Budget
// old. The caller gives it back with leave.
func (p *purse) open(ctx context.Context, ws corp.WorkspaceID, task corp.TaskID) (*taskMoney, error) {
	p.mu.Lock()
	s := p.spaces[ws]
	if s == nil {
		s = &space{id: ws, door: make(chan struct{}, 1), account: newAccount()}
		s.door <- struct{}{}
		s.heard = present()
		p.spaces[ws] = s
	}
	t := p.tasks[task]
	if t == nil {
		t = &taskMoney{id: task, space: s, account: newAccount(), fresh: make(chan struct{}, 1)}
		t.fresh <- struct{}{}
		p.tasks[task] = t
	}
	t.users++
	p.mu.Unlock()
	if err := p.refresh(ctx, t); err != nil {
		p.leave(t)
		return nil, err
	}
	return t, nil
}

func (p *purse) leave(t *taskMoney) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.users--
}

// refresh reads the limits again when they are too old. One caller at a time
// asks; the others take its answer.
func (p *purse) refresh(ctx context.Context, t *taskMoney) error {
	stale := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return t.checked.age() > p.times.Budget
	}
	if !stale() {
		return nil
	}
	select {
	case <-t.fresh:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { t.fresh <- struct{}{} }()
	if !stale() {
		return nil
	}
	if p.silent(t.space) {
		if err := p.check(ctx, t.space); err != nil {
			return err
		}
	}
	_, err := p.limits(ctx, t)
	return err
}

// silent says whether the database has not been heard of for so long that
// another server may have taken this one for dead.
func (p *purse) silent(s *space) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.heard.age() > p.times.Silence
}

// limits reads the budgets of a task and its workspace.
func (p *purse) limits(ctx context.Context, t *taskMoney) ([]corp.Budget, error) {
	asked := present()
	budgets, err := p.db.In(t.space.id).Budgets(ctx, t.id)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range budgets {
		a := t.account
		if b.TaskID.IsZero() {
			a = t.space.account
		}
		lowered := a.limited && (b.Limit == nil || *b.Limit < a.limit)
		a.budget, a.limited, a.limit = b.ID, b.Limit != nil, 0
		if b.Limit != nil {
			a.limit = *b.Limit
		}
		a.shed = a.shed || lowered
	}
	t.checked, t.space.heard = asked, asked
	return budgets, nil
}

// hard says whether any limit applies to the task.
func (p *purse) hard(t *taskMoney) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return t.account.limited || t.space.account.limited
}

// accounts returns those of the task's accounts that have a limit. The purse is locked.
func (t *taskMoney) accounts() []*account {
	all := make([]*account, 0, 2)
	for _, a := range []*account{t.account, t.space.account} {
		if a.limited {
			all = append(all, a)
		}
	}
	return all
}

// room returns what all of the accounts can still take. The purse is locked.
func room(accounts []*account) corp.Nanodollars {
	least := accounts[0].free
	for _, a := range accounts[1:] {
		least = min(least, a.free)
	}
	return least
}

// reservation is money set aside for one call.
type reservation struct {
	amount corp.Nanodollars
	parts  []part
}

type part struct {
	account *account
	charge  postgres.Charge
}

// charges returns the allowances that the call will come out of.
func (r *reservation) charges() []postgres.Charge {
	charges := make([]postgres.Charge, 0, len(r.parts))
	for _, p := range r.parts {
		charges = append(charges, p.charge)
	}
	return charges
}

// take reserves an amount from all accounts. The purse is locked and room holds it.
func take(accounts []*account, amount corp.Nanodollars) *reservation {
	r := &reservation{amount: amount}
	for _, a := range accounts {
		a.free -= amount
		a.reserved += amount
		a.used = time.Now()
		r.parts = append(r.parts, part{a, postgres.Charge{AllowanceID: a.allowance, BudgetID: a.budget}})
	}
	return r
}

// settle ends a reservation: the call cost so much, and the rest is free again.
// Until recorded is called the cost is not yet in the database.
func (p *purse) settle(r *reservation, cost corp.Nanodollars) { p.end(r, cost, 1) }

// release ends the reservation of a call that was never sent.
func (p *purse) release(r *reservation) { p.end(r, 0, 0) }

func (p *purse) end(r *reservation, cost corp.Nanodollars, pending int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, part := range r.parts {
		a := part.account
		a.reserved -= r.amount
		a.pending += pending
		a.used = time.Now()
		if part.charge.AllowanceID == a.allowance { // else that allowance was closed meanwhile
			a.free += r.amount - cost
		}
		a.wake()
	}
}

// recorded notes that the cost of a settled call is in the database.
func (p *purse) recorded(r *reservation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, part := range r.parts {
		part.account.pending--
		part.account.wake()
	}
}

func (a *account) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// forget asks for what a task does not use to be given back at the next sweep.
func (p *purse) forget(task corp.TaskID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tasks[task]; t != nil {
		t.account.shed = true
	}
}
