package postgres_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
)

func entries(from, to int64) (list []corp.Entry) {
	for i := from; i < to; i++ {
		list = append(list, corp.Entry{Index: i, At: time.Unix(1_790_000_000+i, 0).UTC(), Kind: corp.EntryMessage, Text: fmt.Sprint("entry ", i)})
	}
	return list
}

func TestATranscriptIsWrittenOnceWhateverIsRepeated(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	add := func(from, to, want int64) {
		t.Helper()
		if next := must(db.AppendEntries(ctx, lease.RunID, lease.Epoch, entries(from, to)))(t); next != want {
			t.Errorf("%d to %d: next is %d, want %d", from, to, next, want)
		}
	}
	add(0, 5, 5)
	add(0, 5, 5)
	add(3, 8, 8)
	add(0, 2, 8)
	add(0, 0, 8)
	changed := entries(2, 3)
	changed[0].Text = "history is rewritten"
	must(db.AppendEntries(ctx, lease.RunID, lease.Epoch, changed))(t)
	if next, err := db.AppendEntries(ctx, lease.RunID, lease.Epoch, entries(9, 10)); corp.KindOf(err) != corp.KindConflict || next != 8 {
		t.Errorf("a gap: %d, %v", next, err)
	}
	if _, err := db.AppendEntries(ctx, lease.RunID, lease.Epoch, []corp.Entry{{Index: 1 << 62}}); corp.KindOf(err) != corp.KindConflict {
		t.Errorf("a huge gap: %v", err)
	}
	if _, err := db.AppendEntries(ctx, lease.RunID, lease.Epoch, []corp.Entry{{Index: -1}}); corp.KindOf(err) != corp.KindInvalid {
		t.Errorf("a negative index: %v", err)
	}
	want := entries(0, 8)
	for i := range want {
		want[i].RunID, want[i].Epoch = lease.RunID, lease.Epoch
	}
	if diff := cmp.Diff(want, must(db.Entries(ctx, lease.RunID, -1, 100))(t)); diff != "" {
		t.Error(diff)
	}
	if got := must(db.Entries(ctx, lease.RunID, 5, 1))(t); len(got) != 1 || got[0].Index != 6 {
		t.Errorf("%+v", got)
	}
	if got := must(db.Entries(ctx, lease.RunID, 7, 10))(t); got == nil || len(got) != 0 {
		t.Errorf("%+v", got)
	}
	_, err := db.Entries(ctx, corp.NewID[corp.RunID](), -1, 10)
	wantKind(t, err, corp.KindNotFound)
	_, err = db.NextEntry(ctx, corp.NewID[corp.RunID]())
	wantKind(t, err, corp.KindNotFound)
	_, err = db.AppendEntries(ctx, corp.NewID[corp.RunID](), 1, entries(0, 1))
	wantKind(t, err, corp.KindNotFound)
}

func TestATranscriptGoesOnUnderTheNextEpoch(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	first := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	must(db.AppendEntries(ctx, first.RunID, first.Epoch, entries(0, 3)))(t)
	ok(t, db.ReleaseRun(ctx, first.RunID, first.Epoch, ""))
	second := env.Running(t, ws, first.RunID)
	next := must(db.NextEntry(ctx, first.RunID))(t)
	must(db.AppendEntries(ctx, first.RunID, second.Epoch, entries(next, next+2)))(t)
	var epochs []int64
	for _, e := range must(db.Entries(ctx, first.RunID, -1, 100))(t) {
		epochs = append(epochs, e.Epoch)
	}
	if !slices.Equal(epochs, []int64{1, 1, 1, 2, 2}) {
		t.Error(epochs)
	}
}

func TestWhatAnAgentPrintsIsStoredWhateverItIs(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	raw := json.RawMessage(`{"b": 1, "a":  "\u0000", "a": 1e400, "n": 12345678901234567890}`)
	list := entries(0, 4)
	list[0].Text = "zero \x00 and \xff"
	list[1].Text = strings.Repeat("ä", corp.MaxEntryText)
	list[2].Data = raw
	list[3].Data = json.RawMessage("{\"x\": \"\xff\"}")
	must(db.AppendEntries(ctx, lease.RunID, lease.Epoch, list))(t)
	got := must(db.Entries(ctx, lease.RunID, -1, 10))(t)
	if got[0].Text != "zero  and \uFFFD" {
		t.Errorf("%q", got[0].Text)
	}
	if n := len(got[1].Text); n > corp.MaxEntryText || n < corp.MaxEntryText-2 || !utf8.ValidString(got[1].Text) {
		t.Errorf("%d bytes", n)
	}
	if string(got[2].Data) != string(raw) {
		t.Errorf("%s", got[2].Data)
	}
	if !utf8.Valid(got[3].Data) || !json.Valid(got[3].Data) {
		t.Errorf("%q", got[3].Data)
	}
	_, err := db.AppendEntries(ctx, lease.RunID, lease.Epoch, []corp.Entry{{Index: 4, Data: json.RawMessage(`{"x":`)}})
	wantKind(t, err, corp.KindInvalid)
}

// An old epoch's batch and the next epoch's claim at the same moment: whoever is
// first, the next runner counts on from what is there.
func TestNoEntryOfAnOldEpochSlipsInBehindTheNext(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	for range 20 {
		old := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
		var both sync.WaitGroup
		var begun int64
		both.Go(func() {
			if _, err := db.AppendEntries(ctx, old.RunID, old.Epoch, entries(0, 2)); err != nil && corp.KindOf(err) != corp.KindLeaseLost {
				t.Error(err)
			}
		})
		both.Go(func() {
			ok(t, db.ReleaseRun(ctx, old.RunID, old.Epoch, ""))
			begun = must(db.NextEntry(ctx, old.RunID))(t)
		})
		both.Wait()
		if now := must(db.NextEntry(ctx, old.RunID))(t); now != begun {
			t.Fatalf("the next runner began at %d, and now it is %d", begun, now)
		}
	}
}
