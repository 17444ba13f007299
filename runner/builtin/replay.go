package builtin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const maxDivergedShown = 20

// digestOf tells whether a repeated change came to the same file.
func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// repeat stands for a tool call whose result is saved. The conversation goes on
// with what the model saw then. What changes something is done again all the
// same, because this checkout is a fresh one.
func (t *turn) repeat(ctx context.Context, c call, saved savedResult) result {
	r := result{text: saved.Text, failed: saved.Failed, changed: saved.Changed, digest: saved.Digest}
	if c.reads {
		if c.kind == kindThink {
			t.mu.Lock()
			t.replan = c.do
			t.mu.Unlock()
		}
		return r
	}
	again := c.do(ctx)
	if again.stop != nil {
		return again
	}
	if again.failed != saved.Failed || again.digest != saved.Digest {
		t.diverged = append(t.diverged, c.title)
	}
	return r
}

// goLive tells the client, before the first thing that is new, what came before.
func (t *turn) goLive(ctx context.Context) {
	t.goesLive.Do(func() {
		answers, results := t.journal.counts()
		if answers == 0 {
			return
		}
		text := fmt.Sprintf("Continued after %d saved model answers and %d tool results of an earlier attempt, which are not paid for again. Its changes and commands were repeated here.\n", answers, results)
		if len(t.diverged) > 0 {
			text += "Not the same as before: " + t.divergedNames() + ".\n"
		}
		t.teller.replayed(ctx, text, answers, results)
		t.mu.Lock()
		replan := t.replan
		t.mu.Unlock()
		if replan != nil {
			replan(ctx)
		}
	})
}

// warn tells the model what is not as it saw it.
func (t *turn) warn() {
	if len(t.diverged) > 0 {
		t.session.say(block{Type: blockText, Text: "[Your work was moved to a fresh checkout, in which your changes and commands were repeated. These did not come to the same as what you saw: " + t.divergedNames() + ". Look at the files again before you go on, and mend what is not as it should be.]"})
		t.diverged = nil
	}
}

func (t *turn) divergedNames() string {
	names := t.diverged[:min(len(t.diverged), maxDivergedShown)]
	return strings.Join(names, "; ")
}

// stands says whether a last answer is the end. One that was given for another
// checkout than this is not; nor is one that the conversation went on after.
func (t *turn) stands() bool {
	if t.journal.more() {
		t.diverged = append(t.diverged, "an earlier part of the work")
		t.warn()
		return false
	}
	return len(t.diverged) == 0
}
