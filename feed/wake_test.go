package feed

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func woken(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Attack case 37. Control: its own workspace's readers are woken.
func TestAnEventWakesItsOwnWorkspaceOnlyAndOnce(t *testing.T) {
	t.Parallel()
	h := New(nil, quiet())
	mine, theirs := corp.NewID[corp.WorkspaceID](), corp.NewID[corp.WorkspaceID]()
	a, cancelA := h.Subscribe(mine)
	b, cancelB := h.Subscribe(mine)
	other, cancelOther := h.Subscribe(theirs)
	defer cancelOther()
	defer cancelB()
	for seq := range int64(100) {
		h.notice(postgres.Notice{Kind: "event", Workspace: mine, Seq: seq})
	}
	for name, c := range map[string]<-chan struct{}{"a": a, "b": b} {
		if !woken(c) || woken(c) {
			t.Errorf("%s: a hundred events must be exactly one wake-up", name)
		}
	}
	if woken(other) {
		t.Error("another workspace was woken")
	}
	cancelA()
	cancelA()
	h.notice(postgres.Notice{Kind: "event", Workspace: mine})
	if woken(a) || !woken(b) {
		t.Error("after its cancel a must sleep and b must not")
	}
}

func TestAResyncWakesEverybodyAndTheQueue(t *testing.T) {
	t.Parallel()
	h := New(nil, quiet())
	var queued atomic.Int64
	h.OnQueue(func(postgres.Notice) { queued.Add(1) })
	a, cancelA := h.Subscribe(corp.NewID[corp.WorkspaceID]())
	defer cancelA()
	b, cancelB := h.Subscribe(corp.NewID[corp.WorkspaceID]())
	defer cancelB()
	h.notice(postgres.Notice{Kind: "resync"})
	if !woken(a) || !woken(b) || queued.Load() != 1 {
		t.Error("a resync must wake everybody")
	}
	h.notice(postgres.Notice{Kind: "queue", Workspace: corp.NewID[corp.WorkspaceID]()})
	if woken(a) || queued.Load() != 2 {
		t.Error("queued work must wake the queue and no reader")
	}
	h.notice(postgres.Notice{Kind: "of the future"})
}

func TestTheSlowPollWakesWhoeverNoNotificationReached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := New(nil, quiet())
		c, cancel := h.Subscribe(corp.NewID[corp.WorkspaceID]())
		defer cancel()
		go h.pollSlowly(t.Context())
		<-c // the clock of the bubble runs on by itself
		<-c
	})
}

func TestNobodyIsLeftBehindAfterManyComeAndGo(t *testing.T) {
	t.Parallel()
	h := New(nil, quiet())
	workspaces := []corp.WorkspaceID{corp.NewID[corp.WorkspaceID](), corp.NewID[corp.WorkspaceID](), corp.NewID[corp.WorkspaceID]()}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			ws := workspaces[i%len(workspaces)]
			for range 50 {
				c, cancel := h.Subscribe(ws)
				h.notice(postgres.Notice{Kind: "event", Workspace: ws})
				<-c
				h.wakeAll()
				cancel()
			}
		})
	}
	wg.Wait()
	if len(h.readers) != 0 {
		t.Errorf("%d workspaces still have readers", len(h.readers))
	}
}
