package corp_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

func follower(ref string, after ...string) corp.BatchTask {
	t := corp.BatchTask{Ref: ref}
	for _, on := range after {
		t.After = append(t.After, corp.Dependency{Ref: on})
	}
	return t
}

func TestABatchIsOrderedSoThatNobodyComesBeforeWhomItFollows(t *testing.T) {
	t.Parallel()
	const n = corp.MaxBatch
	tasks := make([]corp.BatchTask, n) // a chain, written down backwards
	for i := range tasks {
		tasks[i] = follower(fmt.Sprint(i))
		if i < n-1 {
			tasks[i].After = []corp.Dependency{{Ref: fmt.Sprint(i + 1)}}
		}
	}
	order, err := corp.BatchSpec{Tasks: tasks}.Order()
	if err != nil || len(order) != n || !slices.IsSortedFunc(order, func(a, b int) int { return b - a }) {
		t.Error(len(order), err)
	}
	diamond := corp.BatchSpec{Tasks: []corp.BatchTask{follower("d", "b", "c"), follower("b", "a"), follower("c", "a"), follower("a"), {}}}
	if order, err = diamond.Order(); err != nil || slices.Index(order, 3) > slices.Index(order, 1) || slices.Index(order, 0) < slices.Index(order, 2) || len(order) != 5 {
		t.Error(order, err)
	}
}

func TestACircleIsNamedAndSoAreOtherMistakes(t *testing.T) {
	t.Parallel()
	id := corp.NewID[corp.TaskID]()
	long := make([]corp.BatchTask, 100)
	for i := range long {
		long[i] = follower(fmt.Sprint(i), fmt.Sprint((i+1)%100))
	}
	on := func(after ...corp.Dependency) []corp.BatchTask {
		return []corp.BatchTask{{Ref: "a", TaskSpec: corp.TaskSpec{After: after}}, {Ref: "b"}}
	}
	for name, c := range map[string]struct {
		tasks       []corp.BatchTask
		field, says string
	}{
		"two":             {[]corp.BatchTask{follower("x", "y"), follower("y", "x")}, "tasks[0].after", "x → y → x."},
		"a tail to it":    {[]corp.BatchTask{follower("tail", "x"), follower("free"), follower("x", "free", "y"), follower("y", "x")}, "tasks[2].after", "x → y → x."},
		"a long one":      {long, "tasks[0].after", "9 → … (90 more) → 0."},
		"itself":          {[]corp.BatchTask{follower("x", "x")}, "tasks[0].after[0].ref", "itself"},
		"one ref twice":   {[]corp.BatchTask{follower("x"), follower("x")}, "tasks[1].ref", "tasks[0]"},
		"nobody's ref":    {[]corp.BatchTask{follower("x", "z")}, "tasks[0].after[0].ref", `"z"`},
		"named twice":     {on(corp.Dependency{Ref: "b"}, corp.Dependency{Ref: "b", OnFailure: "continue"}), "tasks[0].after[1]", "twice"},
		"an id twice":     {on(corp.Dependency{TaskID: id}, corp.Dependency{TaskID: id}), "tasks[0].after[1]", "twice"},
		"both":            {on(corp.Dependency{TaskID: id, Ref: "b"}), "tasks[0].after[0].task_id", "exactly one"},
		"neither":         {on(corp.Dependency{}), "tasks[0].after[0].task_id", "exactly one"},
		"no such policy":  {on(corp.Dependency{Ref: "b", OnFailure: "ignore"}), "tasks[0].after[0].on_failure", `"ignore"`},
		"more than a few": {on(make([]corp.Dependency, corp.MaxAfter+1)...), "tasks[0].after", "more than 100"},
	} {
		_, err := corp.BatchSpec{Tasks: c.tasks}.Order()
		wrong, is := errors.AsType[*corp.Error](err)
		if !is || wrong.Kind != corp.KindInvalid || wrong.Field != c.field || !strings.Contains(wrong.Message, c.says) || wrong.Hint == "" {
			t.Errorf("%s: %+v", name, err)
		}
	}
	if err := corp.CheckAfter("", []corp.Dependency{{Ref: "b"}}, false); corp.KindOf(err) != corp.KindInvalid {
		t.Errorf("a ref without a batch: %v", err)
	}
	wide := make([]corp.BatchTask, 1100)
	for i := range wide {
		wide[i] = follower(fmt.Sprint(i))
		for j := max(0, i-100); j < i; j++ {
			wide[i].After = append(wide[i].After, corp.Dependency{Ref: fmt.Sprint(j)})
		}
	}
	if _, err := (corp.BatchSpec{Tasks: wide}).Order(); corp.KindOf(err) != corp.KindInvalid {
		t.Errorf("more than %d links: %v", corp.MaxLinks, err)
	}
}
