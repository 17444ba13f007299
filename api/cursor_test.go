package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
)

func TestACursorSurvivesItsText(t *testing.T) {
	t.Parallel()
	a, b := corp.NewID[corp.RunID](), corp.NewID[corp.RunID]()
	for _, c := range []cursor{
		{event: 0, entries: map[corp.RunID]int64{}},
		{event: 42, entries: map[corp.RunID]int64{a: 17}},
		{event: 1 << 60, entries: map[corp.RunID]int64{a: 0, b: 1 << 40}},
	} {
		got, err := parseCursor(c.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got, cmp.AllowUnexported(cursor{})); diff != "" {
			t.Error(diff)
		}
		if got.String() != c.String() {
			t.Errorf("%s became %s", c, got)
		}
	}
}

// A reader must be able to go on after what its own stream told it.
func TestTheCursorOfTheWidestStreamIsAccepted(t *testing.T) {
	t.Parallel()
	const attempts = 20 // that a task may have
	c := cursor{event: 1 << 40, entries: map[corp.RunID]int64{}}
	for range maxTopics * attempts {
		c.entries[corp.NewID[corp.RunID]()] = 99_999
	}
	if _, err := parseCursor(c.String()); err != nil {
		t.Errorf("%d bytes: %v", len(c.String()), err)
	}
}

func TestWhatIsNoCursorIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"x", "e:", "e:-1", "e:1.5", "e:99999999999999999999", "run_x:1", "task_06f3aaaaaaaaaaaaaaaaaaaaaa:1", ",", "e:1,", "e:1;run", strings.Repeat("e:1,", maxCursor/4) + "e:1", "e:1\n"} {
		if _, err := parseCursor(text); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	if c, err := parseCursor(""); err != nil || c.event != -1 {
		t.Errorf("the empty cursor: %v, %v", c, err)
	}
}

func FuzzACursorIsReadOrRefused(f *testing.F) {
	f.Add("e:42,run_06f3aaaaaaaaaaaaaaaaaaaaaa:17")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCursor(text)
		if err != nil {
			return
		}
		if c.event < 0 {
			c.event = 0
		}
		if again, err := parseCursor(c.String()); err != nil || again.String() != c.String() {
			t.Errorf("%q: %v", text, err)
		}
	})
}
