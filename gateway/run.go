package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/genericcorp/corp/gateway/pricebook"
)

// Run writes settled calls to the database and gives back what is not used. When
// ctx ends it lets no call begin, lets those under way end within Times.Shutdown,
// writes everything down and gives all allowances back. Recover comes before it.
func (g *Gateway) Run(ctx context.Context) error {
	if g.journal.Load() == nil {
		return errors.New("the gateway was not recovered before it ran")
	}
	// The loops outlive ctx: calls that end while the gateway stops are still recorded.
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { g.ledger.run(loops) })
	wg.Go(func() { g.look(loops) })
	<-ctx.Done()
	g.stopCalls()
	stop()
	wg.Wait()
	return g.close(context.WithoutCancel(ctx))
}

// stopCalls waits for the calls under way, and ends them when their time is up.
func (g *Gateway) stopCalls() {
	g.mu.Lock()
	g.stopping = true
	if g.open == 0 {
		g.closeIdle()
	}
	g.mu.Unlock()
	timer := time.NewTimer(g.Times.Shutdown)
	defer timer.Stop()
	select {
	case <-g.idle:
	case <-timer.C:
		g.endCalls()
		<-g.idle
	}
}

// closing is the least time for the last writes: however short the calls' time
// was, the database is given its own.
const closing = 10 * time.Second

// close writes down what is left. What the database does not take now stays in
// the journal for the next start.
func (g *Gateway) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(g.Times.Shutdown, closing))
	defer cancel()
	err := g.ledger.drain(ctx)
	if err != nil {
		err = fmt.Errorf("calls are left in the journal for the next start: %w", err)
	} else {
		err = g.giveAllBack(ctx)
	}
	// What could not be given back is settled exactly by whoever finds the journal.
	return errors.Join(err, g.journal.Load().close(err != nil), g.lock.close())
}

// giveAllBack closes every allowance of this server. All calls have ended and are
// in the database, so what is not accounted for was not spent.
func (g *Gateway) giveAllBack(ctx context.Context) error {
	open, err := g.DB.System("gateway stop").OpenAllowances(ctx, g.Server)
	if err != nil {
		return fmt.Errorf("find this server's allowances: %w", err)
	}
	for _, a := range open {
		if err := g.DB.In(a.Workspace).CloseAllowance(ctx, a.AllowanceID, nil); err != nil {
			return fmt.Errorf("give an allowance back: %w", err)
		}
	}
	return nil
}

// look gives back idle allowances and reads the prices again, now and then.
func (g *Gateway) look(ctx context.Context) {
	sweep, prices := time.NewTicker(g.Times.Sweep), time.NewTicker(g.Times.Prices)
	defer sweep.Stop()
	defer prices.Stop()
	for {
		select {
		case <-sweep.C:
			g.purse.sweep(ctx)
		case <-g.wakeSweep:
			g.purse.sweep(ctx)
		case <-prices.C:
			if err := g.readPrices(ctx); err != nil && ctx.Err() == nil {
				g.Logger.WarnContext(ctx, "prices not read", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// rereading is when the price book was last read for the sake of a model without a price.
type rereading struct {
	mu sync.Mutex
	at time.Time
}

// rereadEvery is how often the price book is read for that reason, at most.
const rereadEvery = time.Second

// readPricesAgain reads the price book because it lacks a model: the operator may
// have added its price a moment ago. Who asks meanwhile waits for the same answer.
func (g *Gateway) readPricesAgain(ctx context.Context) {
	g.again.mu.Lock()
	defer g.again.mu.Unlock()
	if time.Since(g.again.at) < rereadEvery {
		return
	}
	asking, cancel := context.WithTimeout(ctx, databaseTime)
	defer cancel()
	if err := g.readPrices(asking); err != nil && ctx.Err() == nil {
		g.Logger.WarnContext(ctx, "prices not read", "error", err)
	}
	if ctx.Err() == nil { // else nobody knows what the next one would learn
		g.again.at = time.Now()
	}
}

func (g *Gateway) readPrices(ctx context.Context) error {
	rows, err := g.DB.System("gateway prices").Prices(ctx)
	if err != nil {
		return fmt.Errorf("read the prices: %w", err)
	}
	g.book.Store(pricebook.New(rows))
	return nil
}
