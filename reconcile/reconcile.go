// Package reconcile makes state follow the clock: it takes back offers that
// nobody acknowledged, runs whose lease or time ran out, and the money that a
// dead server held; it ends tasks at their deadlines and submits those of
// schedules; it seals the audit logs, removes the people and workspaces whose time
// of grace is over, and keeps the tables in order.
//
// Every server runs it. Each round asks the database what is due by the
// database's own clock and repairs one item per transaction, fenced by the
// item's epoch, so that two servers doing the same do it once. It schedules
// nothing and talks to no runner.
package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/people"
)

// Config says how often, and after how long. Zero durations take the defaults.
type Config struct {
	DB     *postgres.DB
	Server corp.Server // who says that it lives; it has registered
	Logger *slog.Logger

	Sweep  time.Duration // between two looks for offers, leases, overdue runs, deadlines and schedules; 1 s
	TTL    time.Duration // of a lease: after a start the runners get one to make themselves heard; 30 s
	Margin time.Duration // a lease is lost this long after it ran out; 5 s
	Grace  time.Duration // a run is expired this long after its time was used up; 30 s

	Alive time.Duration // between two signs of life of this server; 10 s
	Dead  time.Duration // a server that was silent for this long does not come back for its money; 10 min
	Money time.Duration // between two looks for dead servers; 1 min

	Keeping time.Duration // between two rounds of housekeeping; 1 h
	Keys    time.Duration // how long an idempotency key is remembered; 24 h

	Signer *audit.Signer                // of the audit logs' checkpoints; nil: this server seals nothing
	Seal   time.Duration                // between two rounds of sealing; 5 s
	Anchor func(audit.Checkpoint) error // keeps a checkpoint apart from the database; nil: only the server's log does

	Retention  Retention
	RemoveBlob func(context.Context, corp.WorkspaceID, corp.BlobID) error // that there are no such bytes is no error; nil: none are removed

	People      *people.Store                                 // whose time of grace ends; nil: nobody's does
	Leaving     time.Duration                                 // between two looks for whose is over; 1 min
	RemoveFiles func(context.Context, corp.WorkspaceID) error // all of a workspace; nil: it has none
}

// Retention is how long things are kept that only grow. 0 keeps them for ever.
type Retention struct {
	Entries time.Duration // after the run ended; whole months are dropped
	Events  time.Duration // whole months are dropped
	Calls   time.Duration // whole months are dropped; the sums of runs, tasks and budgets stay
	Blobs   time.Duration // after the task ended
	Audit   time.Duration // events and personal data of the audit log, at least 90 days; whole months are dropped
}

// Months is how many months ahead there is a partition for.
const Months = 3

// Reconciler runs the loops.
type Reconciler struct {
	Config

	// silent is the servers that the last round of CloseAllowances found dead;
	// only that loop touches it.
	silent []corp.ServerID
	// late says that the audit log waits; only SealAudit touches it.
	late bool
}

// New makes a reconciler with the defaults for what c leaves zero.
func New(c Config) *Reconciler {
	for field, value := range map[*time.Duration]time.Duration{
		&c.Sweep: time.Second, &c.TTL: 30 * time.Second, &c.Margin: 5 * time.Second, &c.Grace: 30 * time.Second,
		&c.Alive: 10 * time.Second, &c.Dead: 10 * time.Minute, &c.Money: time.Minute,
		&c.Seal: 5 * time.Second, &c.Leaving: time.Minute, &c.Keeping: time.Hour, &c.Keys: 24 * time.Hour,
	} {
		if *field == 0 {
			*field = value
		}
	}
	return &Reconciler{Config: c}
}

// roundWithin is how long a round may take, unless it comes more rarely.
const roundWithin = time.Minute

// loop is one round and how often it is done.
type loop struct {
	name    string
	after   time.Duration // before the first round
	every   time.Duration
	runOnce func(context.Context) error
}

// Run does all rounds at their times until ctx ends. It returns nil: a round
// that fails is logged and done again.
func (r *Reconciler) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, l := range []loop{
		{"offers", 0, r.Sweep, r.RequeueOffers},
		{"leases", r.TTL, r.Sweep, r.LoseRuns},
		{"overdue", 0, r.Sweep, r.ExpireRuns},
		{"deadlines", 0, r.Sweep, r.MissDeadlines},
		{"schedules", 0, r.Sweep, r.FireSchedules},
		{"audit", 0, r.Seal, r.SealAudit},
		{"server", 0, r.Alive, r.TouchServer},
		{"allowances", r.Money, r.Money, r.CloseAllowances},
		{"partitions", 0, r.Keeping, r.MakePartitions},
		{"retention", 0, r.Keeping, r.DropPartitions},
		{"old files", 0, r.Keeping, r.RemoveBlobs},
		{"idempotency keys", 0, r.Keeping, r.DropKeys},
		{"old servers", 0, r.Keeping, r.DropServers},
		{"people who leave", 0, r.Leaving, r.PurgePeople},
		{"deleted workspaces", 0, r.Leaving, r.PurgeWorkspaces},
		{"old sessions", 0, r.Keeping, r.DropSessions},
	} {
		all.Go(func() { r.repeat(ctx, l) })
	}
	all.Wait()
	return nil
}

// once does one round. One that takes longer than any should is given up: it may
// wait for a connection whose other end has vanished. The next one does the rest.
func (l loop) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(roundWithin, l.every))
	defer cancel()
	return l.runOnce(ctx)
}

// repeat logs a loop's first failure and its recovery, not every round between.
func (r *Reconciler) repeat(ctx context.Context, l loop) {
	timer := time.NewTimer(l.after)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := l.once(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && !failing:
			r.Logger.ErrorContext(ctx, "a round failed and will be repeated", slog.String("loop", l.name), slog.Any("error", err))
		case err == nil && failing:
			r.Logger.InfoContext(ctx, "rounds succeed again", slog.String("loop", l.name))
		}
		failing = err != nil
		timer.Reset(l.every)
	}
}
