package dispatch

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/scheduler"
)

// pick is a run chosen for a poll and not yet leased.
type pick struct {
	ask   *ask
	item  scheduler.Item
	grant grant
	claim postgres.Claim
}

// serve leases what fits to the polls that wait, a batch at a time.
func (s *seat) serve(ctx context.Context) {
	for len(s.doubtful) == 0 {
		picks := s.choose()
		if len(picks) == 0 || !s.claim(ctx, picks) {
			return
		}
	}
}

// choose goes round the polls and gives each one run in turn, so that two idle
// runners share what there is.
func (s *seat) choose() []pick {
	var picks []pick
	now := time.Now()
	hungry := slices.Clone(s.polls)
	for len(hungry) > 0 && len(picks) < batch {
		still := hungry[:0]
		for _, a := range hungry {
			if len(picks) == batch || a.ctx.Err() != nil || a.free <= 0 {
				continue
			}
			it, ok := s.queue.Pick(scheduler.Runner{Workspace: a.runner.Workspace, Labels: a.runner.Labels, Runtimes: a.runner.Runtimes}, now)
			if !ok {
				continue
			}
			s.started(it, now)
			picks = append(picks, s.lease(a, it))
			if a.free--; a.free > 0 {
				still = append(still, a)
			}
		}
		hungry = still
	}
	return picks
}

// lease makes the secrets of one lease. They are new with each epoch.
func (s *seat) lease(a *ask, it scheduler.Item) pick {
	g := grant{
		workspace: it.Workspace, run: it.Run, epoch: it.Epoch + 1,
		secret: corp.NewSecret(corp.KeyPrefixLease), runKey: corp.NewSecret(corp.KeyPrefixRun),
	}
	return pick{ask: a, item: it, grant: g, claim: postgres.Claim{
		Workspace: it.Workspace, RunID: it.Run, Epoch: g.epoch, RunnerID: a.runner.ID, RunnerName: a.runner.Name,
		LeaseHash: s.ring.Hash(g.secret), RunKeyHash: s.ring.Hash(g.runKey), AckWithin: s.times.Ack, TTL: s.times.TTL,
	}}
}

// claim leases the picks in one statement that the term fences, and answers
// their polls. It says whether there is a point in going on at once.
func (s *seat) claim(ctx context.Context, picks []pick) bool {
	claims := make([]postgres.Claim, len(picks))
	for i, p := range picks {
		claims[i] = p.claim
	}
	claimed, err := s.db.System("dispatch").ClaimRuns(ctx, s.server, s.term.Load(), claims)
	if err != nil {
		s.inDoubt(ctx, picks, err)
		return false
	}
	done := make(map[corp.RunID]bool, len(claimed))
	for _, run := range claimed {
		done[run] = true
	}
	for _, p := range picks {
		if done[p.grant.run] {
			p.ask.grants = append(p.ask.grants, p.grant)
			s.observe(p)
			continue
		}
		p.ask.free++
		s.inVain(p.item) // cancelled, or not due by the database's clock
	}
	s.reply()
	if len(claimed) == 0 {
		s.vain = true
		signal(s.doubt)
	}
	return len(claimed) > 0
}

// inDoubt gives up a claim whose end is not known: it may have been committed, or
// still be. Until a new term begins, which waits for it, the slots count as taken
// and nothing more is claimed; then the rows tell.
func (s *seat) inDoubt(ctx context.Context, picks []pick, err error) {
	for _, p := range picks {
		p.ask.free++
		s.doubtful[p.item.Workspace] = struct{}{}
	}
	s.unfenced = true
	s.unsure.Store(true)
	signal(s.doubt)
	if ctx.Err() == nil {
		s.logger.ErrorContext(ctx, "runs could not be leased", slog.Int("runs", len(picks)), slog.Any("error", err))
	}
}

// reply answers the polls that have something to take home.
func (s *seat) reply() {
	s.polls = slices.DeleteFunc(s.polls, func(a *ask) bool {
		if len(a.grants) == 0 {
			return false
		}
		s.answers[a.runner.ID] = answer{a.seq, a.grants, time.Now()}
		a.answer(a.grants)
		return true
	})
}
