package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

const (
	stepVersion = 1            // of what a step holds
	methodStep  = "_corp/step" // a request of the agent's: keep this step
	maxResults  = 1000         // results of one answer that have a key
	maxUnsent   = 64           // steps; more make the turn wait
)

// capabilities tells a client that this agent hands out steps, if it is given a
// journal.
var capabilities = json.RawMessage(`{"corp":{"steps":1}}`)

// handover is the journal that a client gives with a new session: what an
// earlier attempt at the same task has left.
type handover struct {
	Number      int         `json:"number"`
	Fingerprint string      `json:"fingerprint"` // of all that the work depends on
	Steps       []corp.Step `json:"steps"`
}

// savedStep is the output of one step. The first of a journal says what it is
// of; each other one of a conversation's own steps holds an answer of the model
// or a shortening; the results of an answer's calls stand beneath it.
type savedStep struct {
	Version     int          `json:"version,omitempty"`
	Fingerprint string       `json:"fingerprint,omitempty"`
	Answer      *savedAnswer `json:"answer,omitempty"`
	Shortening  *shortening  `json:"shortening,omitempty"`
	Result      *savedResult `json:"result,omitempty"`
}

// savedAnswer is an answer as it came. The input of a call that is no JSON
// stands in Broken, by its block.
type savedAnswer struct {
	Blocks     []block        `json:"blocks"`
	Broken     map[int]string `json:"broken,omitempty"`
	StopReason string         `json:"stop_reason"`
	Usage      corp.Usage     `json:"usage"`
}

type savedResult struct {
	Use     string `json:"use"` // the id of the call
	Text    string `json:"text"`
	Failed  bool   `json:"failed,omitempty"`
	Changed bool   `json:"changed,omitempty"`
	Digest  string `json:"digest,omitempty"` // of the file that it wrote
}

// journal is the steps of a conversation: those that were handed over and are
// replayed, and those that are made and sent. A nil one has none and keeps none.
// It ends at the first step that cannot be kept, because a journal has no holes.
type journal struct {
	number      int
	fingerprint string
	left        []corp.Step // by an earlier attempt
	saved       map[string]savedStep
	at          int // the last step of the conversation that was replayed or made
	send        func(ctx context.Context, number int, s corp.Step) error
	logger      *slog.Logger

	queue  chan unsent
	sender sync.WaitGroup
	ended  atomic.Bool
}

// unsent is a step, or somebody who waits for all before it.
type unsent struct {
	step corp.Step
	done chan struct{}
}

// newJournal reads a new session's _meta. It returns nil when there is no
// journal in it.
func newJournal(meta json.RawMessage, send func(context.Context, int, corp.Step) error, logger *slog.Logger) (*journal, error) {
	var m struct {
		Corp struct {
			Journal *handover `json:"journal"`
		} `json:"corp"`
	}
	if len(meta) > 0 {
		if err := json.Unmarshal(meta, &m); err != nil {
			return nil, acp.Refuse(acp.CodeInvalidParams, "_meta cannot be read: %v.", err)
		}
	}
	h := m.Corp.Journal
	if h == nil {
		return nil, nil
	}
	return &journal{number: h.Number, fingerprint: h.Fingerprint, left: h.Steps, send: send, logger: logger}, nil
}

func stepKey(n int) string { return fmt.Sprintf("%05d", n) }

func resultKey(n, call int) string { return fmt.Sprintf("%05d.%03d", n, call) }

// open begins the replay, and the sending. It returns why the steps that were
// left are not used, if they are not; then the next journal is begun.
func (j *journal) open(ctx context.Context) (unfit error) {
	if j == nil {
		return nil
	}
	if len(j.left) > 0 {
		if unfit = j.read(); unfit != nil {
			j.saved, j.number = nil, j.number+1
		}
		j.left = nil
	}
	j.queue = make(chan unsent, maxUnsent)
	j.sender.Go(func() { j.sendAll(ctx) })
	if len(j.saved) == 0 {
		j.keep(ctx, stepKey(0), savedStep{Version: stepVersion, Fingerprint: j.fingerprint})
	}
	return unfit
}

// close waits until what was made is kept, or cannot be.
func (j *journal) close() {
	if j != nil {
		close(j.queue)
		j.sender.Wait()
	}
}

var keyForm = regexp.MustCompile(`\A[0-9]{5}(\.[0-9]{3})?\z`)

// read takes in what was left, and checks all of it before any of it is used.
func (j *journal) read() error {
	j.saved = make(map[string]savedStep, len(j.left))
	own := 0
	for _, s := range j.left {
		var step savedStep
		if err := json.Unmarshal(s.Output, &step); err != nil || !keyForm.MatchString(s.Key) {
			return fmt.Errorf("step %.40q cannot be read", s.Key)
		}
		if len(s.Key) == len(stepKey(0)) {
			own++
		}
		j.saved[s.Key] = step
	}
	switch first := j.saved[stepKey(0)]; {
	case first.Version != stepVersion:
		return fmt.Errorf("they are of version %d", first.Version)
	case first.Fingerprint != j.fingerprint:
		return fmt.Errorf("the task, its agent or its base is not the same any more")
	}
	for n := 1; n < own; n++ {
		s := j.saved[stepKey(n)]
		if (s.Answer == nil) == (s.Shortening == nil) {
			return fmt.Errorf("step %d is missing", n)
		}
		if s.Answer != nil {
			s.Answer.mend()
		}
	}
	return nil
}

// mend puts back the inputs that are no JSON.
func (a *savedAnswer) mend() {
	for i, text := range a.Broken {
		if i >= 0 && i < len(a.Blocks) {
			a.Blocks[i].Input = json.RawMessage(text)
		}
	}
}

func (a savedAnswer) answer() answer {
	return answer{Blocks: a.Blocks, StopReason: a.StopReason, Usage: a.Usage}
}

func saveAnswer(a answer) *savedAnswer {
	s := &savedAnswer{Blocks: append([]block{}, a.Blocks...), StopReason: a.StopReason, Usage: a.Usage}
	for i, b := range s.Blocks {
		if len(b.Input) > 0 && !json.Valid(b.Input) {
			if s.Broken == nil {
				s.Broken = map[int]string{}
			}
			s.Broken[i], s.Blocks[i].Input = string(b.Input), nil
		}
	}
	return s
}

// more says whether there is another step to replay.
func (j *journal) more() bool {
	if j == nil {
		return false
	}
	_, ok := j.saved[stepKey(j.at+1)]
	return ok
}

// next returns the next step of the conversation that was saved.
func (j *journal) next() (savedStep, bool) {
	if !j.more() {
		return savedStep{}, false
	}
	j.at++
	return j.saved[stepKey(j.at)], true
}

// result returns what a call of the last answer came to, if that was saved.
func (j *journal) result(call int, use string) (savedResult, bool) {
	if j == nil {
		return savedResult{}, false
	}
	s, ok := j.saved[resultKey(j.at, call)]
	if !ok || s.Result == nil || s.Result.Use != use {
		return savedResult{}, false
	}
	return *s.Result, true
}

// counts says how many answers and results were replayed.
func (j *journal) counts() (answers, results int) {
	if j == nil {
		return 0, 0
	}
	for _, s := range j.saved {
		switch {
		case s.Answer != nil:
			answers++
		case s.Result != nil:
			results++
		}
	}
	return answers, results
}

// made keeps the next step of the conversation.
func (j *journal) made(ctx context.Context, s savedStep) {
	if j == nil {
		return
	}
	j.at++
	j.keep(ctx, stepKey(j.at), s)
}

// came keeps what a call of the last answer came to.
func (j *journal) came(ctx context.Context, call int, use string, r result) {
	if j == nil || call >= maxResults {
		return
	}
	j.keep(ctx, resultKey(j.at, call), savedStep{Result: &savedResult{Use: use, Text: r.text, Failed: r.failed, Changed: r.changed, Digest: r.digest}})
}

func (j *journal) keep(ctx context.Context, key string, s savedStep) {
	output, err := json.Marshal(s)
	if err == nil && len(output) > corp.MaxStep {
		err = fmt.Errorf("it has %d bytes", len(output))
	}
	if err != nil {
		j.end(key, err)
		return
	}
	select {
	case j.queue <- unsent{step: corp.Step{Key: key, Output: output}}:
	case <-ctx.Done():
	}
}

// settle waits until all that was made is kept, or cannot be: the next thing
// that is paid for comes after.
func (j *journal) settle(ctx context.Context) {
	if j == nil {
		return
	}
	done := make(chan struct{})
	select {
	case j.queue <- unsent{done: done}:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// sendAll sends one step after the other, so that none is kept before the one
// that it rests on.
func (j *journal) sendAll(ctx context.Context) {
	for u := range j.queue {
		if u.done != nil {
			close(u.done)
			continue
		}
		if j.ended.Load() {
			continue
		}
		if err := j.send(ctx, j.number, u.step); err != nil {
			j.end(u.step.Key, err)
		}
	}
}

// end is not the run's: it only cannot be gone on from what follows.
func (j *journal) end(key string, why error) {
	if !j.ended.Swap(true) {
		j.logger.Warn("steps are not kept any more", "key", key, "error", why)
	}
}
