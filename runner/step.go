package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

const (
	methodStep = "_corp/step"
	// stepPatience is how long a server that does not take a step is asked again.
	stepPatience = 30 * time.Second
)

// steps passes an agent's steps on to the server, so that a later attempt need
// not pay for them again. What cannot be kept stops no run: the journal ends
// there.
type steps struct {
	run     *run
	journal corp.Journal // what an earlier attempt has left
	usable  bool         // the server said what it is
	base    string       // the commit that the checkout began with
	ended   atomic.Bool
}

// fetchSteps asks for the journal that the run goes on with. A server that does
// not answer is asked again; one that refuses keeps no steps of this run.
func (run *run) fetchSteps(ctx context.Context, base string) *steps {
	s := &steps{run: run, base: base}
	var pause pause
	for since := time.Now(); ; {
		journal, err := run.Client.Steps(ctx, run.offer.Lease)
		switch {
		case err == nil:
			s.journal, s.usable = journal, true
			return s
		case ctx.Err() != nil:
			return s
		case corp.KindOf(err) == corp.KindLeaseLost:
			run.lose("the server has given it to somebody else")
			return s
		case !passing(err) || time.Since(since) > stepPatience || !pause.wait(ctx):
			run.logger.WarnContext(ctx, "saved steps could not be fetched; the run starts anew and keeps none", slog.Any("error", err))
			return s
		}
	}
}

// handover is what the agent is given of the journal with its session; nil when
// it takes none.
func (s *steps) handover(capabilities json.RawMessage) (json.RawMessage, error) {
	var says struct {
		Corp struct {
			Steps int `json:"steps"`
		} `json:"corp"`
	}
	if capabilities != nil {
		_ = json.Unmarshal(capabilities, &says) // an agent that says it in no way we know does not say it
	}
	if !s.usable || says.Corp.Steps < 1 {
		return nil, nil
	}
	list := s.journal.Steps
	if list == nil {
		list = []corp.Step{}
	}
	meta, err := json.Marshal(map[string]any{"corp": map[string]any{"journal": map[string]any{
		"number": s.journal.Number, "fingerprint": s.run.fingerprint(s.base), "steps": list,
	}}})
	if err != nil {
		return nil, fmt.Errorf("hand over saved steps: %w", err)
	}
	return meta, nil
}

// fingerprint tells whether the work of an earlier attempt was the same work: the
// words, the agent and the code that it began with.
func (run *run) fingerprint(base string) string {
	sum := sha256.New()
	for _, part := range []string{run.task(), run.offer.Agent.ID.String(), fmt.Sprint(run.offer.Agent.Version), run.offer.Model.Dialect, base} {
		_, _ = fmt.Fprintf(sum, "%d:%s\n", len(part), part) // a hash takes anything
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// take is the agent's request to keep a step. The answer comes when the server
// has it: what the agent pays for next comes after.
func (s *steps) take(ctx context.Context, params json.RawMessage) acp.Work {
	var p struct {
		Journal int `json:"journal"`
		corp.Step
	}
	err := json.Unmarshal(params, &p)
	return func() (any, error) {
		switch {
		case err != nil:
			return nil, acp.Refuse(acp.CodeInvalidParams, "The step cannot be read: %v.", err)
		case !s.save(ctx, p.Journal, p.Step):
			return nil, acp.Refuse(acp.CodeInternal, "The step is not kept, nor will be those after it.")
		default:
			return struct{}{}, nil
		}
	}
}

func (s *steps) save(ctx context.Context, journal int, step corp.Step) bool {
	var pause pause
	for since := time.Now(); s.usable && !s.ended.Load(); {
		err := s.run.Client.SaveSteps(ctx, corp.StepBatch{Lease: s.run.offer.Lease, Journal: journal, Steps: []corp.Step{step}})
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case corp.KindOf(err) == corp.KindLeaseLost:
			s.run.lose("the server has given it to somebody else")
			return false
		case corp.KindOf(err) == corp.KindLimit && isFull(err) || !passing(err) || time.Since(since) > stepPatience || !pause.wait(ctx):
			if !s.ended.Swap(true) {
				s.run.logger.WarnContext(ctx, "a step could not be saved; a later attempt repeats what follows it", slog.String("key", cut(step.Key, 40)), slog.Any("error", err))
			}
		}
	}
	return false
}

func isFull(err error) bool {
	e, ok := asError(err)
	return ok && e.Code == "journal_full"
}
