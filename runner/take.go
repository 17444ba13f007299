package runner

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/genericcorp/corp"
)

// takeRuns asks for work whenever there is a free slot, until taking ends. The
// error is one that no waiting mends. The runs that it begins belong to life.
func (r *Runner) takeRuns(taking, life context.Context) error {
	var pause pause
	failing := false
	for seq := int64(1); r.waitForSlot(taking); {
		poll := corp.Poll{Seq: seq, Free: r.free(), WaitMS: r.agreed().PollWaitMS}
		answer, err := r.Client.Poll(taking, r.agreed().RunnerID, poll)
		switch {
		case taking.Err() != nil:
			r.returnUnseen(life, seq, answer)
		case err == nil:
			if failing {
				r.Logger.InfoContext(life, "the server answers again")
			}
			failing = false
			pause.reset()
			seq++
			for _, offer := range answer.Offers {
				r.begin(life, offer)
			}
		default: // the same Seq again: what was leased to a lost answer comes again
			if err := r.reconnect(taking, err, failing); err != nil {
				return err
			}
			failing = true
			pause.wait(taking)
		}
		if answer.Drain {
			r.Logger.InfoContext(life, "the server asks the runner to leave")
			r.leave()
		}
	}
	return nil
}

// reconnect decides what a failed poll means. A server that does not know the
// runner (its database was restored, or is another one) is told again.
func (r *Runner) reconnect(ctx context.Context, err error, again bool) error {
	switch {
	case passing(err):
		if !again {
			r.Logger.WarnContext(ctx, "the server does not answer; trying again until it does", slog.Any("error", err))
		}
		return nil
	case corp.KindOf(err) == corp.KindNotFound:
		r.Logger.InfoContext(ctx, "the server does not know this runner; registering again", slog.Any("error", err))
		return r.register(ctx)
	default:
		return fmt.Errorf("ask for work: %w", err)
	}
}

// waitForSlot waits until a run could begin, and says whether it should.
func (r *Runner) waitForSlot(taking context.Context) bool {
	for taking.Err() == nil {
		if r.free() > 0 {
			return true
		}
		select {
		case <-r.freed:
		case <-taking.Done():
		}
	}
	return false
}

func (r *Runner) free() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.Slots-len(r.runs), 0)
}

// begin takes an offer up. The same run under an older lease is not ours any
// more: it goes first, because both would use the same folder.
func (r *Runner) begin(ctx context.Context, offer corp.Offer) {
	r.mu.Lock()
	old := r.runs[offer.RunID]
	if old != nil && old.offer.Epoch >= offer.Epoch {
		r.mu.Unlock()
		return
	}
	fresh := newRun(ctx, r, offer, old)
	r.runs[offer.RunID] = fresh
	r.mu.Unlock()
	if old != nil {
		old.lose("a newer lease")
	}
	go fresh.live() //nolint:contextcheck // a lease has contexts of its own, made from this one
}

// ended gives the run's slot back.
func (r *Runner) ended(done *run) {
	r.mu.Lock()
	if r.runs[done.offer.RunID] == done {
		delete(r.runs, done.offer.RunID)
	}
	r.mu.Unlock()
	signal(r.freed)
}

// returnUnseen gives back what was leased to a poll that the runner broke off:
// the same Seq, with no free slot, asks for exactly that.
func (r *Runner) returnUnseen(ctx context.Context, seq int64, answer corp.PollAnswer) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if answer.Offers == nil {
		var err error
		if answer, err = r.Client.Poll(ctx, r.agreed().RunnerID, corp.Poll{Seq: seq}); err != nil {
			return // then nobody acknowledges them, which returns them too
		}
	}
	for _, offer := range answer.Offers {
		if err := r.Client.Release(ctx, offer.Lease, "Its runner was about to leave."); err != nil {
			r.Logger.WarnContext(ctx, "an offer could not be given back", slog.String("run_id", offer.RunID.String()), slog.Any("error", err))
		}
	}
}
