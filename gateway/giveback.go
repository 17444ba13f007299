package gateway

import (
	"context"
	"time"

	"github.com/genericcorp/corp"
)

// giveBack returns what is free in an account to its budget and says whether
// anything was. The caller is inside the workspace's door. What is given back is
// taken out of memory first: if the answer is lost, it counts as given.
func (p *purse) giveBack(ctx context.Context, ws corp.WorkspaceID, a *account) bool {
	p.mu.Lock()
	allowance, amount := a.allowance, max(a.free, 0)
	closing := a.idle()
	a.free -= amount
	a.shed = false
	lost := allowance.IsZero() && a.doubt
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTime)
	defer cancel()
	if lost {
		p.adopt(ctx, ws, a)
	}
	if allowance.IsZero() || (amount == 0 && !closing) {
		return false
	}
	var err error
	if closing { // nothing is open on it, so all that is not in the ledger goes back
		err = p.db.In(ws).CloseAllowance(ctx, allowance, nil)
	} else {
		err = p.db.In(ws).ReturnAllowance(ctx, allowance, amount)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		a.doubt = true
	} else if closing {
		a.allowance, a.free, a.doubt = corp.AllowanceID{}, 0, false
	}
	return err == nil
}

// idle says that no call is paid from the account and all that were are in the
// database. The purse is locked.
func (a *account) idle() bool { return a.reserved == 0 && a.pending == 0 }

// adopt finds the allowance of a grant whose answer was lost, so that the next
// sweep can close it.
func (p *purse) adopt(ctx context.Context, ws corp.WorkspaceID, a *account) {
	open, err := p.db.In(ws).OpenAllowances(ctx, p.server)
	if err != nil {
		return // the doubt stays, and so does the next sweep's attempt
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a.doubt = false
	for _, o := range open {
		if o.BudgetID == a.budget && a.allowance.IsZero() {
			a.allowance, a.doubt = o.ID, true
		}
	}
}

// sweep gives back what nobody has used for a while and forgets tasks that are
// through.
func (p *purse) sweep(ctx context.Context) {
	for _, j := range p.due() {
		if err := j.space.enter(ctx); err != nil {
			return
		}
		p.giveBack(ctx, j.space.id, j.account)
		j.space.exit()
	}
}

type idle struct {
	space   *space
	account *account
}

func (p *purse) due() (found []idle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	old := func(a *account) bool { return a.shed || now.Sub(a.used) > p.times.Idle }
	want := func(a *account) bool {
		held := !a.allowance.IsZero()
		return (a.free > 0 && held || (held || a.doubt) && a.idle()) && old(a) // one that is used up is closed, too
	}
	for id, t := range p.tasks {
		a := t.account
		if want(a) {
			found = append(found, idle{t.space, a})
		}
		if t.users == 0 && a.idle() && a.allowance.IsZero() && !a.doubt && t.checked.age() > p.times.Idle {
			delete(p.tasks, id)
		}
	}
	for _, s := range p.spaces {
		if want(s.account) {
			found = append(found, idle{s, s.account})
		}
	}
	return found
}

// check drops what this server believes to hold of allowances that are closed:
// after a long silence (a suspended process or machine, a lost database) another
// server may have taken this one for dead and settled its allowances. It says
// that this server lives before it looks, so that nobody does so right after.
func (p *purse) check(ctx context.Context, s *space) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.exit()
	if err := p.db.System("gateway").TouchServer(ctx, p.server); err != nil && corp.KindOf(err) != corp.KindNotFound {
		return err
	}
	open, err := p.db.In(s.id).OpenAllowances(ctx, p.server)
	if err != nil {
		return err
	}
	still := map[corp.AllowanceID]bool{}
	for _, a := range open {
		still[a.ID] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.heard = present()
	drop := func(a *account) {
		if !a.allowance.IsZero() && !still[a.allowance] {
			a.allowance, a.free = corp.AllowanceID{}, 0
		}
	}
	drop(s.account)
	for _, t := range p.tasks {
		if t.space == s {
			drop(t.account)
		}
	}
	return nil
}
