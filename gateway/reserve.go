package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/postgres"
)

// need is what a call asks of the purse.
type need struct {
	quote pricebook.Quote
	input int64 // tokens that the prompt has at most
	want  int64 // tokens of answer that it asks for
	least int64 // tokens of answer below which it is not worth sending
}

func (n need) full() corp.Nanodollars  { return n.quote.Bound(n.input, n.want) }
func (n need) floor() corp.Nanodollars { return n.quote.Bound(n.input, n.least) }

// reserve sets aside the bound of a call in every budget with a limit, and
// returns how many tokens of answer that pays for: what is wanted, or fewer when
// the budgets hold less, but never under need.least. When not even that fits but
// calls under way may leave enough, it waits, at most Times.Wait. It returns a
// limit error when there is no hope. A task without limits reserves nothing.
func (p *purse) reserve(ctx context.Context, t *taskMoney, n need) (*reservation, int64, error) {
	deadline := time.Now().Add(p.times.Wait)
	for {
		if r, output := p.tryReserve(t, n, n.full()); r != nil {
			return r, output, nil
		}
		woken := p.watch(t)
		err := p.grant(ctx, t, n)
		if err != nil && corp.KindOf(err) != corp.KindLimit {
			return nil, 0, err
		}
		if r, output := p.tryReserve(t, n, n.floor()); r != nil {
			return r, output, nil
		}
		if err == nil {
			continue // somebody was faster with what had been granted
		}
		hopeless, look := p.hopeless(ctx, t, n.floor())
		if look != nil {
			return nil, 0, look
		}
		if hopeless || !p.pause(ctx, woken, deadline) {
			if gone := ctx.Err(); gone != nil { // who left while waiting has not reached a limit
				return nil, 0, gone
			}
			return nil, 0, err
		}
	}
}

// tryReserve takes as much as the call wants, or at least so much, from what is there.
func (p *purse) tryReserve(t *taskMoney, n need, least corp.Nanodollars) (*reservation, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	accounts := t.accounts()
	if len(accounts) == 0 {
		return &reservation{amount: n.full()}, n.want
	}
	left := room(accounts)
	if full := n.full(); left >= full {
		return take(accounts, full), n.want
	}
	if left < least {
		return nil, 0
	}
	output := max(min(n.quote.AffordableOutput(left, n.input), n.want), n.least)
	amount := n.quote.Bound(n.input, output)
	if amount > left {
		return nil, 0
	}
	return take(accounts, amount), output
}

// watched is a pair of channels, one for each account of a task.
type watched [2]<-chan struct{}

// watch returns what closes when something may have become free.
func (p *purse) watch(t *taskMoney) watched {
	p.mu.Lock()
	defer p.mu.Unlock()
	return watched{t.account.changed, t.space.account.changed}
}

// pause waits until something may have become free, here or on another server,
// and says whether there is still time.
func (p *purse) pause(ctx context.Context, w watched, deadline time.Time) bool {
	left := time.Until(deadline)
	if left <= 0 {
		return false
	}
	timer := time.NewTimer(min(left, p.times.Retry))
	defer timer.Stop()
	select {
	case <-w[0]:
	case <-w[1]:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// hopeless says whether what is already spent leaves too little even if every
// call under way costs nothing.
func (p *purse) hopeless(ctx context.Context, t *taskMoney, least corp.Nanodollars) (bool, error) {
	budgets, err := p.limits(ctx, t)
	if err != nil {
		return false, err
	}
	for _, b := range budgets {
		if b.Limit != nil && *b.Limit-b.Spent < least {
			return true, nil
		}
	}
	return false, nil
}

// grant asks the database for more, for the call and a few like it. If that is
// refused although this server holds parts that are free, it gives those back
// and asks once more for no more than the call needs: what is short in one
// budget may lie idle in the other.
func (p *purse) grant(ctx context.Context, t *taskMoney, n need) error {
	if err := t.space.enter(ctx); err != nil {
		return err
	}
	defer t.space.exit()
	p.mu.Lock()
	least, most, enough := t.shortfall(n)
	p.mu.Unlock()
	if enough {
		return nil
	}
	err := p.ask(ctx, t, least, most)
	if corp.KindOf(err) != corp.KindLimit {
		return err
	}
	returned := false
	for _, a := range []*account{t.account, t.space.account} {
		returned = p.giveBack(ctx, t.space.id, a) || returned
	}
	if !returned {
		return err
	}
	return p.ask(ctx, t, n.floor(), n.full())
}

// shortfall returns the least and the most to ask for. The purse is locked.
func (t *taskMoney) shortfall(n need) (least, most corp.Nanodollars, enough bool) {
	accounts := t.accounts()
	if len(accounts) == 0 {
		return 0, 0, true
	}
	left := room(accounts)
	full, floor := n.full(), n.floor()
	if left >= full {
		return 0, 0, true
	}
	least, most = max(floor-left, 1), full-left
	part := accounts[0].limit
	for _, a := range accounts {
		part = min(part, a.limit)
	}
	most = max(most, min(full*chunkCalls, part/chunkParts))
	return least, max(least, most), false
}

// ask takes a grant. The caller is inside the workspace's door.
func (p *purse) ask(ctx context.Context, t *taskMoney, least, most corp.Nanodollars) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTime) // a client that leaves must not leave doubt
	defer cancel()
	grants, err := p.db.In(t.space.id).GrantAllowance(ctx, p.server, t.id, least, most)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if corp.KindOf(err) != corp.KindLimit { // it may have happened all the same
			t.account.doubt, t.space.account.doubt = true, true
		}
		return fmt.Errorf("take an allowance: %w", err)
	}
	limited := map[*account]bool{}
	for _, g := range grants {
		a := t.account
		if g.TaskID.IsZero() {
			a = t.space.account
		}
		limited[a] = true
		a.add(g)
	}
	for _, a := range []*account{t.account, t.space.account} {
		a.limited = limited[a]
		a.wake()
	}
	return nil
}

// add books a grant. A new allowance where an old one was open means that the
// old one was closed behind this server's back: what was left of it is gone.
func (a *account) add(g postgres.Grant) {
	if a.allowance != g.AllowanceID {
		a.free = 0
	}
	a.budget, a.allowance, a.limit = g.BudgetID, g.AllowanceID, g.Limit
	a.free += g.Added
	a.used = time.Now()
}

// enter waits to be the only one who moves the workspace's money between the
// database and this server.
func (s *space) enter(ctx context.Context) error {
	select {
	case <-s.door:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *space) exit() { s.door <- struct{}{} }
