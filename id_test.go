package corp

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/quick"
	"time"
)

func TestIDsSurviveTextAndDatabase(t *testing.T) {
	t.Parallel()
	round := func(raw [16]byte) bool {
		id := TaskID(raw)
		back, err := ParseID[TaskID](id.String())
		if id.IsZero() {
			return err != nil
		}
		var scanned TaskID
		v, verr := id.Value()
		return err == nil && back == id && verr == nil && scanned.Scan(v) == nil && scanned == id
	}
	if err := quick.Check(round, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}

func TestIDsSortByTimeAndCarryIt(t *testing.T) {
	t.Parallel()
	var ids []string
	for i := range 200 {
		at := time.UnixMilli(int64(i) * 77_777_777)
		id := NewIDAt[RunID](at)
		if !id.Time().Equal(at) {
			t.Fatalf("id carries %v, made at %v", id.Time(), at)
		}
		ids = append(ids, id.String())
	}
	if !slices.IsSorted(ids) {
		t.Error("an id made later sorts earlier")
	}
}

func TestForeignAndHostileIDsAreRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		NewID[RunID]().String(), "task_", "task_" + strings.Repeat("z", 26), "task_" + strings.Repeat("0", 27),
		"task_" + strings.Repeat("i", 26), "task_" + strings.Repeat("A", 26), "task_" + strings.Repeat("0", 26), "'; drop table tasks", "task_\x00",
	} {
		var id TaskID
		if err := id.UnmarshalText([]byte(s)); KindOf(err) != KindInvalid {
			t.Errorf("%q: got %v, want an invalid error", s, err)
		}
	}
}

func TestZeroIDIsNullAndLeftOutOfJSON(t *testing.T) {
	t.Parallel()
	v, err := RunID{}.Value()
	if v != nil || err != nil {
		t.Errorf("zero id is %v, %v in the database, want NULL", v, err)
	}
	b, err := json.Marshal(Event{Seq: 1, TaskID: NewID[TaskID]()})
	if err != nil || strings.Contains(string(b), "run_id") || !strings.Contains(string(b), `"task_id":"task_`) {
		t.Errorf("event is %s, %v", b, err)
	}
}
