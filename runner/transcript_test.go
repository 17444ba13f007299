package runner_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

func TestPiecesOfOneTextBecomeFewEntriesAndNoneIsMissingOrMoved(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.start(d.settings())
	_, run := d.final(d.submit("stream\nwrite new.txt x"))
	entries, _ := d.transcript(run.ID)
	var text strings.Builder
	messages := 0
	for _, e := range entries {
		if e.Kind == corp.EntryMessage {
			messages++
			text.WriteString(e.Text)
			if e.Data != nil {
				t.Errorf("a plain text is kept twice: %s", e.Data)
			}
		}
	}
	var want strings.Builder
	for i := range 300 {
		fmt.Fprintf(&want, "piece%d ", i)
	}
	if text.String() != want.String() {
		t.Errorf("the pieces make %q", text.String())
	}
	if messages > 60 {
		t.Errorf("300 pieces became %d entries", messages)
	}
}

func TestWhateverAnAgentSaysIsKeptWithinBoundsAndTheRunGoesOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.start(d.settings())
	after, run := d.final(d.submit("hostile\nchatter\nchatter\nsay still here\nwrite new.txt x"))
	if after.State != corp.TaskSucceeded {
		t.Fatalf("the task is %s: %s", after.State, after.Detail)
	}
	entries, text := d.transcript(run.ID)
	if !strings.Contains(text, "nul \uFFFD and") || !strings.Contains(text, "still here") {
		t.Errorf("the transcript is %.300q", text)
	}
	for _, e := range entries {
		if len(e.Text) > corp.MaxEntryText || len(e.Data) > 200<<10 || bytes.ContainsRune(e.Data, 0) {
			t.Errorf("entry %d has %d bytes of text and %d of data", e.Index, len(e.Text), len(e.Data))
		}
		if e.Kind == corp.EntryRaw && len(e.Data) == 0 {
			t.Errorf("entry %d of a kind that nobody knows has lost its JSON", e.Index)
		}
	}
}
