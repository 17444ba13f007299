package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// campaign takes the lead whenever it is free, until ctx ends.
func (d *Dispatcher) campaign(ctx context.Context) error {
	pause := time.NewTicker(max(d.times.LeaderTTL/10, time.Millisecond))
	defer pause.Stop()
	for {
		term, ok, err := d.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			d.logger.WarnContext(ctx, "the lead could not be asked for", slog.Any("error", err))
		case ok:
			d.lead(ctx, term)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

// ask asks for the lead. It gives up a connection on which nothing is heard: what
// became of its other end may be known only long after, and nobody would lead.
func (d *Dispatcher) ask(ctx context.Context) (term int64, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*d.times.LeaderTTL)
	defer cancel()
	return d.db.System("dispatch").TakeLeadership(ctx, d.server, d.address, d.times.LeaderTTL)
}

// lead serves one term: until it is lost, or ctx ends and it is given back.
func (d *Dispatcher) lead(parent context.Context, term int64) {
	ctx, lose := context.WithCancel(parent)
	defer lose()
	s := newSeat(d, term)
	if err := d.takeOver(ctx, term); err != nil {
		d.logger.ErrorContext(ctx, "the lead could not be taken over", slog.Int64("term", term), slog.Any("error", err))
		d.resign(parent, term)
		return
	}
	d.logger.InfoContext(ctx, "leading", slog.Int64("term", term))
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		defer lose()
		s.keep(ctx)
	}()
	d.seat.Store(s)
	s.loop(ctx)
	d.seat.Store(nil)
	close(s.done)
	<-kept
	d.resign(parent, s.term.Load())
	d.logger.InfoContext(parent, "not leading any more", slog.Int64("term", s.term.Load()))
}

// takeOver gives every live lease one more TTL: the runners' beats may have gone
// unheard while nobody led.
func (d *Dispatcher) takeOver(ctx context.Context, term int64) error {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	if _, err := d.db.System("dispatch").ExtendLeases(ctx, term, d.times.TTL); err != nil {
		return fmt.Errorf("extend leases: %w", err)
	}
	return nil
}

// resign gives the term back at once instead of letting it run out. It changes
// nothing when the term is somebody else's already.
func (d *Dispatcher) resign(ctx context.Context, term int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := d.db.System("dispatch").Resign(ctx, d.server, term); err != nil {
		d.logger.WarnContext(ctx, "the lead could not be given back", slog.Int64("term", term), slog.Any("error", err))
	}
}

// keep renews the term until it is lost: because the database says so, or
// because it could not be reached for as long as a term lasts.
func (s *seat) keep(ctx context.Context) {
	tick := time.NewTicker(max(s.times.LeaderTTL/3, time.Millisecond))
	defer tick.Stop()
	for good := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.doubt:
		}
		asked := time.Now() // the term counts from before the question
		ok, err := s.renew(ctx)
		switch {
		case err == nil && !ok:
			return
		case err == nil:
			good = asked
		case ctx.Err() == nil:
			s.logger.WarnContext(ctx, "the term could not be renewed", slog.Int64("term", s.term.Load()), slog.Any("error", err))
		}
		if time.Since(good) >= s.times.LeaderTTL {
			return
		}
	}
}

// renew prolongs the term or, after a claim whose end is not known, begins the
// next one: that waits for the claim. It says whether nobody else has led
// meanwhile.
func (s *seat) renew(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.times.LeaderTTL/2)
	defer cancel()
	system, term := s.db.System("dispatch"), s.term.Load()
	if !s.unsure.Load() {
		return system.RenewLeadership(ctx, s.server, term, s.times.LeaderTTL)
	}
	next, ok, err := system.TakeLeadership(ctx, s.server, s.address, s.times.LeaderTTL)
	if err != nil || !ok {
		return false, err
	}
	s.term.Store(next)
	s.unsure.Store(false)
	signal(s.fence)
	return next == term+1, nil
}
