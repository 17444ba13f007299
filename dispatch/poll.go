package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/genericcorp/corp"
)

// ask is one poll. The owner of the memory answers it exactly once.
type ask struct {
	ctx    context.Context //nolint:containedctx // the poll's own: the owner gives no run to one that has gone
	runner Runner
	seq    int64
	free   int
	grants []grant
	reply  chan []grant // holds one
}

func (a *ask) answer(grants []grant) {
	select {
	case a.reply <- grants:
	default:
	}
}

func (s *seat) poll(ctx context.Context, runner Runner, p corp.Poll) (corp.PollAnswer, error) {
	a := &ask{ctx: ctx, runner: runner, seq: p.Seq, free: p.Free, reply: make(chan []grant, 1)}
	select {
	case s.asks <- a:
	case <-s.done:
		return corp.PollAnswer{}, notLeading()
	case <-ctx.Done():
		return corp.PollAnswer{}, gone(ctx)
	}
	grants, err := s.await(ctx, a, min(time.Duration(p.WaitMS)*time.Millisecond, s.times.PollWait))
	if err != nil {
		return corp.PollAnswer{}, err
	}
	return corp.PollAnswer{Offers: s.offers(ctx, grants)}, nil
}

// await waits for the answer, and takes the poll back when its time is over. A
// run that is leased at that very moment is still in the answer.
func (s *seat) await(ctx context.Context, a *ask, wait time.Duration) ([]grant, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case grants := <-a.reply:
		return grants, nil
	case <-timer.C:
	case <-ctx.Done():
	case <-s.done:
	}
	select {
	case s.leaves <- a:
	case <-s.done:
	}
	select {
	case grants := <-a.reply:
		if ctx.Err() != nil {
			return nil, gone(ctx) // the same Seq asks for them again
		}
		return grants, nil
	case <-s.done:
		select {
		case grants := <-a.reply: // leased in the last moment of the term, and valid
			return grants, nil
		default:
			return nil, notLeading()
		}
	}
}

func gone(ctx context.Context) error { return fmt.Errorf("poll: %w", context.Cause(ctx)) }

// arrive puts a poll in line. A runner has one poll at a time: a newer one ends
// the older.
func (s *seat) arrive(a *ask) {
	last, known := s.answers[a.runner.ID]
	if known && a.seq == last.seq {
		a.answer(last.grants)
		return
	}
	if known && a.seq < last.seq {
		a.answer(nil)
		return
	}
	if i := slices.IndexFunc(s.polls, func(p *ask) bool { return p.runner.ID == a.runner.ID }); i >= 0 {
		if a.seq < s.polls[i].seq {
			a.answer(nil)
			return
		}
		s.polls[i].answer(nil)
		s.polls = slices.Delete(s.polls, i, i+1)
	}
	s.polls = append(s.polls, a)
}

func (s *seat) leave(a *ask) {
	s.polls = slices.DeleteFunc(s.polls, func(p *ask) bool { return p == a })
	a.answer(nil)
}

// offers turns leased runs into what a runner needs to carry them out. One that
// cannot be read is left out: it returns to the queue when nobody acknowledges
// it.
func (s *seat) offers(ctx context.Context, grants []grant) []corp.Offer {
	offers := make([]corp.Offer, 0, len(grants))
	for _, g := range grants {
		offer, err := s.offer(ctx, g)
		switch {
		case err == nil:
			offers = append(offers, offer)
		case corp.KindOf(err) == corp.KindLeaseLost: // asked for again after it went back to the queue
		default:
			s.logger.ErrorContext(ctx, "a leased run could not be offered",
				slog.String("workspace_id", g.workspace.String()), slog.String("run_id", g.run.String()), slog.Any("error", err))
		}
	}
	return offers
}

func (s *seat) offer(ctx context.Context, g grant) (corp.Offer, error) {
	offer, sealed, err := s.db.In(g.workspace).OfferFor(ctx, g.run, g.epoch)
	if err != nil {
		return corp.Offer{}, err
	}
	offer.Lease = corp.Lease{RunID: g.run, Epoch: g.epoch, Secret: g.secret}
	offer.RunKey = g.runKey
	if sealed == nil {
		return offer, nil
	}
	credential, err := s.open(g, offer, sealed)
	if err != nil {
		return corp.Offer{}, s.refuse(ctx, g, err)
	}
	offer.Credential = credential
	return offer, nil
}

func (s *seat) open(g grant, offer corp.Offer, sealed []byte) (*corp.GitCredential, error) {
	if offer.Spec.RepositoryID == nil {
		return nil, fmt.Errorf("open credential: the task names no repository")
	}
	plain, err := s.ring.Open(sealed, g.workspace.String(), "repository", offer.Spec.RepositoryID.String())
	if err != nil {
		return nil, fmt.Errorf("open credential: %w", err)
	}
	credential := new(corp.GitCredential)
	if err := json.Unmarshal(plain, credential); err != nil {
		return nil, fmt.Errorf("read credential: %w", err)
	}
	return credential, nil
}

// refuse ends a run whose credential nobody can read: offered again and again it
// would never say why it does not start.
func (s *seat) refuse(ctx context.Context, g grant, cause error) error {
	_, err := s.db.In(g.workspace).FinishRun(ctx, g.run, g.epoch, corp.Outcome{
		State: corp.RunFailed, Reason: corp.ReasonRepository,
		Detail: "The repository's stored credential cannot be opened with this server's secret. Remove the repository and add it again.",
	})
	s.finished(g.run)
	if err != nil {
		return fmt.Errorf("%w; and the run could not be ended: %w", cause, err)
	}
	return cause
}
