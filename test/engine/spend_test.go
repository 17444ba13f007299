//go:build engine

package engine

import (
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Invariant 13: sixty-four callers at two gateways never spend more than there
// is, at no moment, not even when a server is killed among them.
func TestNoQuotaIsPassedByManyCallersAtTwoGateways(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w := s.tenant("unlimited")
	v := newVendor(t, talker)
	w.with(v)
	const limit = corp.Nanodollars(1_500_000_000)
	r := hold(t, 13, "64 callers at 2 gateways, one killed: money <= limit at every sample", "spent + granted <= limit; vendor <= ledger")
	persist(w, func(c *client.Client) (corp.Workspace, error) {
		return c.UpdateWorkspace(t.Context(), corp.WorkspaceUpdate{Budget: new(limit)})
	})
	d := newDiary()
	s.crew("holder", s.poolKey, 16, d)
	ids := w.submitMany(16, work("ms=600000"))
	s.awaitRunning(ids...)
	s.revive()
	stop := s.watchMoney(r)
	var calling sync.WaitGroup
	var answered atomic.Int64
	for i := range 64 {
		key := d.await(t, ids[i%16], "acked").Offer.RunKey
		calling.Go(func() {
			for range 200 {
				status := s.callModel(s.servers[i%2], key)
				switch status {
				case http.StatusOK:
					if answered.Add(1) == 40 {
						s.servers[1].signal(syscall.SIGKILL)
					}
				case http.StatusPaymentRequired, http.StatusForbidden, http.StatusUnauthorized:
					return
				}
			}
		})
	}
	calling.Wait()
	s.cancelRunning(w, ids)
	until(t, patience, "the calls to be settled", func() bool { return s.purse(w).Calls >= len(v.Books().Calls) })
	window(t, time.Second)
	stop()
	purse, billed := s.purse(w), v.billed(t)
	r.must(purse.Spent <= int64(limit) && int64(billed) <= purse.Spent, "limit %d, ledger %d, vendor %d", limit, purse.Spent, billed)
	r.must(purse.Spent == purse.Ledger, "the budget says %d, the calls add up to %d", purse.Spent, purse.Ledger)
	r.saw("ledger %v, vendor %v of %v", corp.Nanodollars(purse.Spent), billed, limit)
	if int64(billed) < int64(limit)/4 {
		t.Errorf("only %v of %v was spent", billed, limit)
	}
}
