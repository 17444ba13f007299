package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

const (
	maxParallel    = 8         // reading tool calls at a time
	maxResultsText = 192 << 10 // bytes of all results of one answer
	minResultText  = 2 << 10   // bytes that each of them gets at least
	maxNudges      = 3         // answers in a row that were cut at the output limit and called nothing
	minAnswer      = 1024      // output tokens below which asking is of no use
)

// turn is one prompt being carried out.
type turn struct {
	cfg     Config
	session *session
	store   sessions
	vendor  *vendor
	tools   []tool
	bench   *workbench
	teller  *teller
	repeats *repeats
	logger  *slog.Logger

	calls int        // of the model, those that were paid for before included
	asked int        // of the model, now
	usage corp.Usage // of those

	journal  *journal
	goesLive sync.Once
	mu       sync.Mutex
	replan   func(context.Context) result // shows the last plan of the replay
	diverged []string                     // what came to something else when it was repeated
}

// run asks the model and carries out what it calls for, until it believes it is
// done (nil), something stops it (*stop) or the context ends. What is in the
// journal is not asked again.
func (t *turn) run(ctx context.Context) error {
	if unfit := t.journal.open(ctx); unfit != nil {
		t.teller.note(ctx, fmt.Sprintf("The saved steps of an earlier attempt are of no use, so the work starts anew: %v.\n", unfit))
	}
	defer t.journal.close()
	nudges := 0
	for t.calls < t.cfg.MaxTurns {
		a, err := t.next(ctx)
		if err != nil {
			return err
		}
		uses, blocks := sift(a)
		if len(uses) == 0 {
			done, err := t.ended(ctx, a, blocks, &nudges)
			t.save()
			if done || err != nil {
				return err
			}
			continue
		}
		nudges = 0
		results, end := t.carryOut(ctx, uses, a.StopReason == stoppedTokens || a.StopReason == stoppedWindow)
		t.session.answered(blocks)
		t.session.say(results...)
		t.save()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if end != nil {
			return end
		}
	}
	return stopped(corp.ReasonStepLimit, "The agent made %d model calls, which is its limit for one task. Raise the limit or give a smaller task.", t.calls)
}

// next returns the model's next answer: one that is saved, or a new one.
func (t *turn) next(ctx context.Context) (answer, error) {
	for {
		s, ok := t.journal.next()
		switch {
		case !ok:
			t.goLive(ctx)
			t.warn()
			return t.ask(ctx)
		case s.Shortening != nil:
			t.calls += s.Shortening.Calls
			if err := t.apply(*s.Shortening); err != nil {
				return answer{}, err
			}
		default:
			a := s.Answer.answer()
			t.calls++
			t.session.Used, t.session.Fresh = int(a.Usage.Total()), 0
			return a, nil
		}
	}
}

// ask makes one model call, with a shorter conversation if it has to.
func (t *turn) ask(ctx context.Context) (answer, error) {
	for tight := 0; ; tight++ {
		if err := t.fit(ctx); err != nil {
			return answer{}, err
		}
		a, err := t.askOnce(ctx)
		s, ok := errors.AsType[*stop](err)
		if !ok || !s.tooLong || tight == maxTight {
			return a, err
		}
		again, shortErr := t.refused(ctx, s)
		if shortErr != nil {
			return answer{}, shortErr
		}
		if !again {
			return answer{}, err
		}
	}
}

func (t *turn) askOnce(ctx context.Context) (answer, error) {
	request := modelRequest{Model: t.cfg.Model, MaxTokens: min(t.cfg.MaxTokens, t.window()-t.estimate()), Stream: true}
	if t.cfg.ThinkingTokens > 0 && t.cfg.ThinkingTokens < request.MaxTokens {
		request.Thinking = &thinkingSpec{Type: "enabled", Budget: t.cfg.ThinkingTokens}
	}
	for _, tool := range t.tools {
		request.Tools = append(request.Tools, tool.spec)
	}
	request.System, request.Messages = withBreakpoints(system(t.cfg, t.session.checkout.dir), t.session.Messages)
	t.journal.settle(ctx)
	t.teller.begin()
	a, err := t.vendor.ask(ctx, request, t.teller.hearing(ctx), func(why string) {
		t.teller.flush(ctx)
		t.teller.note(ctx, "The model is asked again: "+why+"\n")
		t.teller.begin()
	})
	t.teller.flush(ctx)
	if err != nil {
		return answer{}, err
	}
	t.journal.made(ctx, savedStep{Answer: saveAnswer(a)})
	t.spent(a.Usage)
	t.session.Used, t.session.Fresh = int(a.Usage.Total()), 0
	t.teller.used(ctx, t.estimate(), t.window(), a.Usage, t.cfg.Model)
	return a, nil
}

// spent counts a model call.
func (t *turn) spent(u corp.Usage) {
	t.calls++
	t.asked++
	t.usage = t.usage.Add(u)
}

// estimate is about how many tokens the next call's input has: what the vendor
// counted last, and a high guess at what came after; or a guess at all of it,
// when the vendor does not count.
func (t *turn) estimate() int {
	density := max(t.session.Density, defaultDensity)
	if t.session.Used > 0 {
		return t.session.Used + t.session.Fresh*density/1000
	}
	return (t.fixed() + bytesOf(t.session.Messages)) * density / 1000
}

// sift takes the tool calls out of an answer, and leaves out what may not go
// back to the vendor: empty texts, and blocks that this build does not know.
func sift(a answer) (uses, blocks []block) {
	for _, b := range a.Blocks {
		switch b.Type {
		case blockText:
			if b.Text == "" {
				continue
			}
		case blockToolUse:
			if isObject(b.Input) {
				b.Input = oneForm(b.Input)
				uses = append(uses, b)
			} else {
				uses = append(uses, b)
				b.Input = json.RawMessage("{}") // the vendor takes no other; the call itself fails
			}
		case blockThinking, blockRedacted:
		default:
			continue
		}
		blocks = append(blocks, b)
	}
	return uses, blocks
}

// oneForm writes JSON as every encoder here does, so that a call that went through
// a journal is still the same call.
func oneForm(raw json.RawMessage) json.RawMessage {
	again, err := json.Marshal(raw)
	if err != nil {
		return raw
	}
	return again
}

func isObject(raw json.RawMessage) bool {
	var o map[string]json.RawMessage
	return json.Unmarshal(raw, &o) == nil && o != nil
}

// ended says whether an answer without tool calls ends the turn.
func (t *turn) ended(ctx context.Context, a answer, blocks []block, nudges *int) (bool, error) {
	if a.StopReason == stoppedWindow {
		return false, t.overflowed(ctx)
	}
	t.session.answered(blocks)
	switch a.StopReason {
	case stoppedRefusal:
		return true, stopped(corp.ReasonRefused, "The model declined to go on with this task.")
	case stoppedPause:
		return false, nil // the vendor wants to be asked again with what there is
	case stoppedTokens:
		*nudges++
		if *nudges > maxNudges {
			s := stopped(corp.ReasonStepLimit, "The model's answers were cut off at the limit of %d output tokens %d times in a row. Raise the limit of an answer.", t.cfg.MaxTokens, *nudges)
			s.claim = acp.StopMaxTokens
			return true, s
		}
		t.session.say(block{Type: blockText, Text: "Your answer was cut off at the output limit. Go on from there, in smaller pieces."})
		return false, nil
	default:
		return t.stands(), nil
	}
}

func (t *turn) save() {
	if err := t.store.save(t.session); err != nil {
		// The work goes on: only a later resumption would miss this step.
		t.logger.Error("session was not saved", "error", err)
	}
}

// carryOut runs the tool calls of one answer and returns their results in its
// order. Reading calls that follow one another run side by side; a call that may
// change something waits for all before it and holds back all after it, so that
// "edit, then test" means what it says.
func (t *turn) carryOut(ctx context.Context, uses []block, cut bool) ([]block, error) {
	results := make([]result, len(uses))
	var wait sync.WaitGroup
	slots := make(chan struct{}, maxParallel)
	for i, use := range uses {
		// Only the last call can have been cut off; one that reads well was not.
		c := prepareCall(t.bench, t.tools, use, cut && i == len(uses)-1 && !isObject(use.Input))
		c.input = use.Input
		if !c.reads {
			wait.Wait()
			results[i] = t.carryOutOne(ctx, i, use, c)
			continue
		}
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			results[i] = t.carryOutOne(ctx, i, use, c)
		})
	}
	wait.Wait()
	return t.gather(uses, results)
}

func (t *turn) carryOutOne(ctx context.Context, i int, use block, c call) result {
	if ctx.Err() != nil {
		return failure(context.Canceled)
	}
	if saved, ok := t.journal.result(i, use.ID); ok {
		return t.repeat(ctx, c, saved)
	}
	t.goLive(ctx)
	t.teller.started(ctx, use.ID, c)
	r := c.do(ctx)
	// The outcome is told even when the turn was cancelled meanwhile, so that no
	// call stays "in progress" for ever.
	t.teller.finished(context.WithoutCancel(ctx), use.ID, r)
	if r.stop == nil && ctx.Err() == nil { // else it is to be done again
		t.journal.came(ctx, i, use.ID, r)
	}
	return r
}

// gather makes the blocks that answer the calls, within a limit that they share,
// and says whether the turn has to end.
func (t *turn) gather(uses []block, results []result) ([]block, error) {
	var end error
	share := max(minResultText, maxResultsText/len(results))
	blocks := make([]block, 0, len(results))
	for i, r := range results {
		text := r.text
		if len(text) > share {
			text = clip(text, share) + "\n[cut, because you made many calls at once; ask for less]"
		}
		switch n := t.repeats.note(uses[i], r); {
		case n >= repeatsToStop:
			end = stopped(corp.ReasonStepLimit, "The agent made the same call of %s with the same result %d times, so it was stopped. Say more precisely what you want, or try another model.", clip(uses[i].Name, 100), n)
		case n >= repeatsToWarn:
			text += fmt.Sprintf("\n[You made this call with this result %d times. Doing it again will not help: try something else, or end and say what is in the way. After %d times you are stopped.]", n, repeatsToStop)
		}
		if r.stop != nil {
			end = r.stop
		}
		blocks = append(blocks, block{Type: blockToolResult, ToolUseID: uses[i].ID, Content: text, IsError: r.failed})
	}
	return blocks, end
}

// reasonOf says what a turn's error means for the run.
func reasonOf(err error) *stop {
	if s, ok := errors.AsType[*stop](err); ok {
		return s
	}
	return stopped(corp.ReasonInternal, "The agent failed: %v.", err)
}
