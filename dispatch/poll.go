package dispatch

import (
	"context"
	"fmt"
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
