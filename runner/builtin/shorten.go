package builtin

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
)

const (
	shortenAt       = 75 // percent of the window that the next request would fill
	shortenTo       = 50 // percent of the window that is aimed at
	tailShare       = 25 // percent of the window that the last turns may keep
	maxShortenings  = 30 // of one conversation
	maxTight        = 4  // refusals of one request for its length
	elideOver       = 2 << 10
	elideKeeps      = 256
	leastClip       = 1 << 10
	leastHead       = 10 // percent of the window below which a summary is not worth its price
	defaultDensity  = 1000 / bytesPerToken
	greatestDensity = 1500
)

// shortening says how a conversation was made shorter. It holds all that is
// needed to do it again to the same conversation. What is before From goes: into
// the summary, or, without one, the long results of its tool calls only.
type shortening struct {
	From    int        `json:"from"`              // the first message that stays as it is, an answer
	Summary string     `json:"summary,omitempty"` // of what was before
	Elide   int        `json:"elide,omitempty"`   // bytes of a result before From that is left out
	Clip    int        `json:"clip,omitempty"`    // bytes that each later result keeps; 0 means all
	Window  int        `json:"window,omitempty"`  // tokens that the model turned out to hold
	Density int        `json:"density,omitempty"` // tokens in 1,000 bytes, as far as they were counted
	Calls   int        `json:"calls,omitempty"`   // of the model, for the summary
	Usage   corp.Usage `json:"usage"`             // of them
}

// window is how many tokens the model holds: what was said of it, or less if it
// turned out so.
func (t *turn) window() int {
	if t.session.Window > 0 {
		return min(t.session.Window, t.cfg.ContextWindow)
	}
	return t.cfg.ContextWindow
}

// fit makes room for the next answer.
func (t *turn) fit(ctx context.Context) error {
	if t.estimate() > t.window()*shortenAt/100 {
		if _, err := t.shorten(ctx); err != nil {
			return err
		}
	}
	if t.window()-t.estimate() < minAnswer {
		return windowFull(t.estimate(), t.window())
	}
	return nil
}

// refused shortens a conversation that the vendor called too long. It says
// whether asking again may help.
func (t *turn) refused(ctx context.Context, s *stop) (bool, error) {
	size := t.estimate()
	window := s.window
	if window <= 0 || window >= t.window() {
		window = size * 9 / 10 // the estimate was too low
	}
	t.session.Window = max(window, 1)
	if size <= t.window()*shortenAt/100 {
		return true, nil // a smaller limit of the answer may do
	}
	return t.shorten(ctx)
}

// shorten makes the conversation shorter if it can, cheaply if that is enough.
// It returns a *stop when it may not any more.
func (t *turn) shorten(ctx context.Context) (bool, error) {
	if t.session.Shortened >= maxShortenings {
		return false, stopped(corp.ReasonStepLimit, "The conversation was shortened %d times and is too long again. Give a smaller task, or a model with a larger window.", t.session.Shortened)
	}
	before := t.estimate()
	plan := shortening{From: t.tail(), Elide: elideOver, Window: t.session.Window, Density: t.density()}
	if t.after(plan) > t.window()*shortenTo/100 {
		if err := t.summarise(ctx, &plan); err != nil {
			return false, err
		}
		for plan.Clip = 0; t.after(plan) > t.window()*shortenTo/100; plan.Clip = nextClip(plan.Clip) {
			if plan.Clip == leastClip {
				break
			}
		}
	}
	after := t.after(plan)
	if after > before*9/10 {
		return false, nil
	}
	if err := t.apply(plan); err != nil {
		return false, err
	}
	t.journal.made(ctx, savedStep{Shortening: &plan})
	how := "long results were left out"
	if plan.Summary != "" {
		how = "the model summed it up:\n" + plan.Summary
	}
	t.teller.note(ctx, fmt.Sprintf("The conversation was shortened from about %d to %d tokens; %s\n", before, after, how))
	t.save()
	return true, nil
}

func nextClip(clip int) int {
	if clip == 0 {
		return 32 << 10
	}
	return max(clip/2, leastClip)
}

// apply makes the conversation what a shortening says.
func (t *turn) apply(s shortening) error {
	messages, at, err := shortened(t.session.Messages, t.session.Summary, s)
	if err != nil {
		return err
	}
	t.session.Messages, t.session.Summary = messages, at
	t.session.Shortened++
	t.session.Used, t.session.Fresh = 0, 0
	t.session.Window, t.session.Density = s.Window, s.Density
	return nil
}

// after is about how many tokens the conversation would have.
func (t *turn) after(s shortening) int {
	messages, _, err := shortened(t.session.Messages, t.session.Summary, s)
	if err != nil {
		return t.estimate()
	}
	return (t.fixed() + bytesOf(messages)) * s.Density / 1000
}

// density is how many tokens 1,000 bytes of this conversation have, as the
// vendor counted last, and never less than the guess.
func (t *turn) density() int {
	known := max(t.session.Density, defaultDensity)
	if t.session.Used == 0 {
		return known
	}
	bytes := t.fixed() + bytesOf(t.session.Messages) - t.session.Fresh
	return min(max(known, t.session.Used*1000/max(bytes, 1)), greatestDensity)
}

// tail returns where the last turns begin that stay as they are: at an answer,
// so that no call is parted from its result. It is 1 when all of them fit.
func (t *turn) tail() int {
	room := t.window() * tailShare / 100 * 1000 / t.density()
	from := len(t.session.Messages)
	for i := from - 2; i >= 1; i -= 2 {
		room -= bytesOf(t.session.Messages[i : i+2])
		if room < 0 && from < len(t.session.Messages) {
			break
		}
		from = i
	}
	return max(from, 1)
}

var errNoTail = errors.New("a conversation cannot be shortened there")

// shortened returns the conversation that a shortening leaves, and at which
// block of its first message the summary stands. It changes nothing of the old one.
func shortened(messages []message, summary int, s shortening) ([]message, int, error) {
	if s.From < 1 || s.From > len(messages) || len(messages) == 0 || s.From < len(messages) && messages[s.From].Role != roleAssistant {
		return nil, 0, errNoTail
	}
	first := messages[0]
	kept := append([]message{}, messages[:s.From]...)
	if s.Summary != "" {
		if summary == 0 {
			summary = len(first.Content)
		}
		first.Content = append(append([]block{}, first.Content[:min(summary, len(first.Content))]...), block{Type: blockText, Text: summaryHead + s.Summary + summaryFoot})
		kept = []message{first}
	}
	for i := range kept {
		kept[i] = cutResults(kept[i], s.Elide, elided)
	}
	for _, m := range messages[s.From:] {
		kept = append(kept, cutResults(m, s.Clip, clipped))
	}
	return kept, summary, nil
}

// cutResults cuts the results in a message that are longer than limit; 0 cuts none.
func cutResults(m message, limit int, cut func(text string, limit int) string) message {
	if m.Role != roleUser || limit == 0 {
		return m
	}
	content := append([]block{}, m.Content...)
	for i, b := range content {
		if b.Type == blockToolResult && len(b.Content) > limit {
			content[i].Content = cut(b.Content, limit)
		}
	}
	m.Content = content
	return m
}

func elided(text string, _ int) string {
	return fmt.Sprintf("%s\n[… the rest of this result, of %d bytes, was left out to make room; make the call again if you need it]", headOf(text, elideKeeps), len(text))
}

func clipped(text string, limit int) string {
	const note = 120
	half := max((limit-note)/2, 1)
	return fmt.Sprintf("%s\n[… left out to make room, of %d bytes; ask for less]\n%s", headOf(text, half), len(text), tailOf(text, half))
}

// headOf and tailOf cut at whole characters.
func headOf(text string, n int) string {
	for n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:min(n, len(text))]
}

func tailOf(text string, n int) string {
	at := max(len(text)-n, 0)
	for at < len(text) && !utf8.RuneStart(text[at]) {
		at++
	}
	return text[at:]
}

// bytesOf is the size of what messages say.
func bytesOf(messages []message) (size int) {
	for _, m := range messages {
		for _, b := range m.Content {
			size += len(b.Text) + len(b.Content) + len(b.Input) + len(b.Signature) + len(b.Data) + len(b.Name)
			if b.Thinking != nil {
				size += len(*b.Thinking)
			}
		}
	}
	return size
}

// fixed is the size of what stands before every conversation.
func (t *turn) fixed() int {
	size := len(rules) + len(t.cfg.Instructions)
	for _, tool := range t.tools {
		size += len(tool.spec.Description) + len(tool.spec.InputSchema)
	}
	return size
}

// overflowed is an answer that the window cut off: it is forgotten, and the
// conversation shortened.
func (t *turn) overflowed(ctx context.Context) error {
	if t.journal.more() {
		return nil // the shortening is the next step
	}
	full := windowFull(t.estimate(), t.window())
	again, err := t.refused(ctx, &stop{reason: corp.ReasonStepLimit, claim: acp.StopMaxTokens, window: t.session.Used})
	if err == nil && !again {
		err = full
	}
	return err
}
