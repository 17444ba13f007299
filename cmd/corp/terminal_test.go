package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/cmd/corp/terminal"
)

// hostile is text that an agent, a repository or a server may send: it sets the
// terminal's title, clears the screen, and turns round what follows.
const hostile = "a\x1b]0;owned\x07\x1b[2J\u009b2J\u202eb\x7f"

func assertHarmless(t *testing.T, where, shown string) {
	t.Helper()
	if strings.ContainsAny(shown, "\x1b\x07\x7f\u009b\u202e") {
		t.Errorf("%s reaches the terminal as %q", where, shown)
	}
	if !strings.Contains(shown, "a") || !strings.Contains(shown, "b") {
		t.Errorf("%s lost its text: %q", where, shown)
	}
}

// Attack cases 55 and 62. Control: the letters that are meant to be seen are shown.
func TestNothingThatOthersWroteDrivesTheTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	data, err := json.Marshal(map[string]string{"runner_name": hostile, "detail": hostile, "reason": hostile})
	if err != nil {
		t.Fatal(err)
	}
	tr := &terminal.Transcript{W: &out}
	tr.Add(client.Update{Event: &corp.Event{Kind: "run.failed", Data: data}})
	assertHarmless(t, "an event", out.String())

	for _, kind := range []corp.EntryKind{corp.EntryMessage, corp.EntryThought, corp.EntryAction, corp.EntryNote, corp.EntryDiff, "unknown"} {
		out.Reset()
		tr.Add(client.Update{Entry: &corp.Entry{Kind: kind, Text: hostile}})
		tr.Flush()
		assertHarmless(t, string(kind), out.String())
	}

	for _, err := range []error{errors.New(hostile), &corp.Error{Message: hostile, Hint: hostile, Field: hostile, Err: errors.New(hostile)}} {
		out.Reset()
		report(&out, err)
		assertHarmless(t, "an error", out.String())
	}

	out.Reset()
	row(&out, hostile)
	assertHarmless(t, "a table", out.String())
}

// Attack case 55. Control: into a pipe the patch is exact.
func TestAPatchIsCleanedForATerminalAndExactForAPipe(t *testing.T) {
	t.Parallel()
	patch := "+" + strings.Repeat("x", 100_000) + hostile + "\r\n-\told\n"
	for _, shown := range []bool{true, false} {
		var out bytes.Buffer
		o := &options{env: &environment{Out: &out, Terminal: shown}}
		if err := o.showPatch(strings.NewReader(patch)); err != nil {
			t.Fatal(err)
		}
		if shown {
			assertHarmless(t, "a patch", out.String())
			if !strings.HasSuffix(out.String(), " \n-\told\n") {
				t.Errorf("lines or tabs are lost: %q", out.String()[100_000:])
			}
		} else if out.String() != patch {
			t.Error("a patch for git was changed")
		}
	}
}
