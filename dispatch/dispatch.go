// Package dispatch is the leader: it keeps the scheduler's memory in step with
// the database, leases runs to the runners that ask for work, and answers their
// long polls.
//
// One server leads at a time. What it may do is fenced by the leader's term in
// the database, so a leader that was paused and comes back leases nothing. The
// database is the truth; the memory is rebuilt from it at every takeover.
//
// It decides neither the order (package scheduler) nor what becomes of a run
// (package postgres), and it repairs nothing by the clock (package reconcile).
package dispatch

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/seal"
)

// Times are the durations of the runner protocol and of leadership. All are
// configurable so that tests need not wait.
type Times struct {
	PollWait  time.Duration // longest wait of one poll
	Ack       time.Duration // an offer not acknowledged within this returns to the queue
	Heartbeat time.Duration // between two beats of a runner
	TTL       time.Duration // of a lease, from the last good beat
	Margin    time.Duration // the runner stops itself at TTL - Margin, the server reclaims at TTL + Margin
	LeaderTTL time.Duration // of leadership, from the last renewal
	Sweep     time.Duration // between two looks at what was queued lately while a runner waits for work
	StopGrace time.Duration // what an agent is given to end itself when it is told to stop
}

// DefaultTimes returns the times of a production server.
func DefaultTimes() Times {
	return Times{
		PollWait:  30 * time.Second,
		Ack:       10 * time.Second,
		Heartbeat: 10 * time.Second,
		TTL:       30 * time.Second,
		Margin:    5 * time.Second,
		LeaderTTL: 5 * time.Second,
		Sweep:     time.Second,
		StopGrace: 10 * time.Second,
	}
}

// Runner is who polls: what registration wrote down about it.
type Runner struct {
	ID        corp.RunnerID
	Workspace corp.WorkspaceID // zero for a pool runner, which serves every workspace
	Name      string
	Labels    []string
	Runtimes  []string
}

// Dispatcher leases runs while it leads. Its methods may be called from any goroutine.
type Dispatcher struct {
	db      *postgres.DB
	ring    *seal.Ring
	server  corp.ServerID
	address string // where other servers pass polls on to while this one leads
	times   Times
	logger  *slog.Logger
	meters  meters

	seat    atomic.Pointer[seat]     // nil while another server leads
	answers map[corp.RunnerID]answer // of the terms so far; whoever leads owns it
}

// New makes a dispatcher that leads nothing until Run is called.
func New(db *postgres.DB, ring *seal.Ring, server corp.ServerID, address string, times Times, logger *slog.Logger) *Dispatcher {
	return &Dispatcher{db: db, ring: ring, server: server, address: address, times: times, logger: logger, meters: newMeters(), answers: map[corp.RunnerID]answer{}}
}

// Leading says whether this server leads now, as far as it knows.
func (d *Dispatcher) Leading() bool { return d.seat.Load() != nil }

// Wake tells the leader what changed. It never blocks; on a server that does not
// lead it does nothing.
func (d *Dispatcher) Wake(n postgres.Notice) {
	if s := d.seat.Load(); s != nil {
		s.hear(n)
	}
}

// Queued is Wake for runs that were queued and of which all is known: they are
// offered without being read.
func (d *Dispatcher) Queued(runs ...postgres.QueuedRun) {
	for i := range runs {
		d.Wake(postgres.Notice{Kind: postgres.NoticeQueue, Workspace: runs[i].Workspace, Run: runs[i].RunID, Queued: &runs[i]})
	}
}

// Finished is Wake for a run that has ended.
func (d *Dispatcher) Finished(ws corp.WorkspaceID, run corp.RunID) {
	d.Wake(postgres.Notice{Kind: postgres.NoticeQueue, Workspace: ws, Run: run, Ended: true})
}

// Run takes the lead when it is free, leads as long as it can, and starts over,
// until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error { return d.campaign(ctx) }

// Poll waits for work for a runner, at most the shorter of p.WaitMS and
// Times.PollWait. No offers is an answer. The same p.Seq gets the same answer
// again. It returns an unavailable error while another server leads: the
// caller passes the poll on to the leader.
func (d *Dispatcher) Poll(ctx context.Context, runner Runner, p corp.Poll) (corp.PollAnswer, error) {
	s := d.seat.Load()
	if s == nil {
		return corp.PollAnswer{}, notLeading()
	}
	return s.poll(ctx, runner, p)
}

func notLeading() *corp.Error {
	return &corp.Error{Kind: corp.KindUnavailable, Code: "not_leading", Message: "This server does not hand out work at the moment.", Hint: "Ask again: the leader will answer."}
}
