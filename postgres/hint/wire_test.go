package hint

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/genericcorp/corp"
)

func TestNoticesSurviveTheWireInPiecesThatTheDatabaseTakes(t *testing.T) {
	t.Parallel()
	said := []Notice{{Kind: Resync}}
	for i := range 1000 {
		ws := corp.NewID[corp.WorkspaceID]()
		said = append(said,
			Notice{Kind: Event, Workspace: ws, Seq: int64(i)}, Notice{Kind: Limits, Workspace: ws},
			Notice{Kind: Access, Workspace: ws}, Notice{Kind: Access, User: corp.NewID[corp.UserID]()},
			Notice{Kind: Queue, Workspace: ws}, Notice{Kind: Queue, Workspace: ws, Run: corp.NewID[corp.RunID]()})
	}
	var got []Notice
	for _, payload := range writeNotices("me", said) {
		if len(payload) > 7999 {
			t.Errorf("a payload of %d bytes", len(payload))
		}
		origin, some := readNotices(payload)
		if origin != "me" {
			t.Errorf("from %q", origin)
		}
		got = append(got, some...)
	}
	if diff := cmp.Diff(said, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func FuzzNoticesFromTheWire(f *testing.F) {
	f.Add("me q0190a000-0000-7000-8000-000000000000:0190a000-0000-7000-8000-000000000001 r e")
	f.Fuzz(func(t *testing.T, payload string) {
		_, said := readNotices(payload)
		for _, n := range said {
			if n.Kind == "" || n.Workspace.IsZero() != (n.Kind == Resync) || n.Queued != nil || n.Ended {
				t.Errorf("%q became %+v", payload, n)
			}
		}
	})
}
