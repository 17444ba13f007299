package runner

import (
	"context"
	"log/slog"
	"time"

	"github.com/genericcorp/corp"
)

// beat renews the leases, all in one request, and does what the server says
// about each. After a failure it tries again sooner, because every lease dies
// by itself when none succeeds.
func (r *Runner) beat(ctx, taking context.Context) {
	timer := time.NewTimer(r.agreed().heartbeat)
	defer timer.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		every := r.agreed().heartbeat
		switch err := r.beatOnce(ctx, taking.Err() != nil); {
		case err == nil && failing:
			failing = false
			r.Logger.InfoContext(ctx, "heartbeats are heard again")
		case err != nil && ctx.Err() == nil:
			if !failing {
				r.Logger.WarnContext(ctx, "a heartbeat was not heard", slog.Any("error", err))
			}
			failing = true
			if corp.KindOf(err) == corp.KindNotFound { // a restarted server knows no runner
				if err := r.registerOnce(ctx); err != nil {
					r.Logger.WarnContext(ctx, "the runner could not register again", slog.Any("error", err))
				}
			}
			every = max(every/5, time.Millisecond)
		}
		timer.Reset(every)
	}
}

func (r *Runner) beatOnce(ctx context.Context, draining bool) error {
	ctx, cancel := context.WithTimeout(ctx, r.agreed().life/2) // a slow server is given time, and asked twice in a lease's life
	defer cancel()
	runs := map[corp.RunID]*run{}
	beat := corp.Beat{Draining: draining, Free: r.free(), Leases: []corp.Lease{}}
	for _, run := range r.inHand() {
		if run.acknowledged() {
			runs[run.offer.RunID] = run
			beat.Leases = append(beat.Leases, run.offer.Lease)
		}
	}
	asked := time.Now() // the server counts from when it hears it, which is later
	answer, err := r.Client.Beat(ctx, r.agreed().RunnerID, beat)
	if err != nil {
		return err
	}
	for _, v := range answer.Verdicts {
		if run := runs[v.RunID]; run != nil {
			run.hear(v, asked)
		}
	}
	if answer.Drain {
		r.leave()
	}
	return nil
}
