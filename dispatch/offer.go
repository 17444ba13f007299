package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// offers turns leased runs into what a runner needs to carry them out, all in one
// round trip. One that cannot be read is left out: it returns to the queue when
// nobody acknowledges it. So is one asked for again after it went back.
func (s *seat) offers(ctx context.Context, grants []grant) []corp.Offer {
	offers := make([]corp.Offer, 0, len(grants))
	if len(grants) == 0 {
		return offers
	}
	refs := make([]postgres.RunRef, len(grants))
	for i, g := range grants {
		refs[i] = postgres.RunRef{Workspace: g.workspace, RunID: g.run, Epoch: g.epoch}
	}
	found, err := s.db.System("dispatch").Offers(ctx, refs)
	if err != nil {
		s.logger.ErrorContext(ctx, "leased runs could not be offered", slog.Int("runs", len(grants)), slog.Any("error", err))
		return offers
	}
	for _, g := range grants {
		offer, ok := found[g.run]
		if !ok {
			continue
		}
		offer.Secret, offer.RunKey = g.secret, g.runKey
		if offer.Credential != nil {
			credential, err := s.open(g, offer)
			if err != nil {
				s.logger.ErrorContext(ctx, "a leased run could not be offered",
					slog.String("workspace_id", g.workspace.String()), slog.String("run_id", g.run.String()), slog.Any("error", s.refuse(ctx, g, err)))
				continue
			}
			offer.Offer.Credential = credential
		}
		offers = append(offers, offer.Offer)
	}
	return offers
}

func (s *seat) open(g grant, offer postgres.Offered) (*corp.GitCredential, error) {
	if offer.Spec.RepositoryID == nil {
		return nil, fmt.Errorf("open credential: the task names no repository")
	}
	plain, err := s.ring.Open(offer.Credential, g.workspace.String(), "repository", offer.Spec.RepositoryID.String())
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
	if err != nil {
		return fmt.Errorf("%w; and the run could not be ended: %w", cause, err)
	}
	s.Finished(g.workspace, g.run)
	return cause
}
