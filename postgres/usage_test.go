package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

func TestUsageAddsUpHoweverItIsGrouped(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	must(db.CreateAgent(ctx, actor, corp.AgentSpec{Name: "yuki", Model: "a/b"}))(t)
	if total := must(db.Usage(ctx, postgres.UsageFilter{}))(t); len(total) != 1 || total[0] != (corp.UsageTotal{}) {
		t.Errorf("%+v", total)
	}
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
	yesterday := noon.AddDate(0, 0, -1)
	var records []postgres.CallRecord
	var ids []string
	for i, name := range []string{"default", "yuki"} {
		task := env.Submit(t, ws, corp.TaskSpec{Agent: name})
		lease := env.Running(t, ws, task.RunID)
		ids = append(ids, task.ID.String())
		for j, at := range []time.Time{yesterday, noon} {
			call := aCall(task, lease.Epoch, corp.Nanodollars(1+10*i+100*j))
			call.At, call.ModelServed, call.Simulated = at, []string{"", "served"}[j], i == 1
			records = append(records, postgres.CallRecord{Call: call})
		}
		must(db.FinishRun(ctx, task.RunID, lease.Epoch, succeeded))(t)
		env.Exec(t, `UPDATE runs SET started_at = $2::timestamptz, finished_at = $2::timestamptz + interval '90 seconds', waited_ms = 30000 WHERE id = $1`, task.RunID, noon)
	}
	ok(t, db.RecordCalls(ctx, records))
	slices.Sort(ids)
	costs := func(f postgres.UsageFilter) map[string]corp.Nanodollars {
		got := map[string]corp.Nanodollars{}
		for _, total := range must(db.Usage(ctx, f))(t) {
			got[total.Key] = total.Cost
		}
		return got
	}
	day := func(at time.Time) string { return at.Format(time.DateOnly) }
	for by, want := range map[string]map[string]corp.Nanodollars{
		"":      {"": 1 + 11 + 101 + 111},
		"day":   {day(yesterday): 12, day(noon): 212},
		"model": {"anthropic/m": 12, "anthropic/served": 212},
		"agent": {"default": 102, "yuki": 122},
		"task":  {records[0].TaskID.String(): 102, records[2].TaskID.String(): 122},
	} {
		if diff := cmp.Diff(want, costs(postgres.UsageFilter{By: by})); diff != "" {
			t.Errorf("by %q: %s", by, diff)
		}
	}
	if got := costs(postgres.UsageFilter{From: noon}); got[""] != 212 {
		t.Errorf("from noon: %v", got)
	}
	if got := costs(postgres.UsageFilter{To: noon}); got[""] != 12 {
		t.Errorf("before noon: %v", got)
	}
	total := must(db.Usage(ctx, postgres.UsageFilter{}))(t)[0]
	if total.Calls != 4 || total.RunSeconds != 120 || !total.Simulated || total.Usage.Output != 12 {
		t.Errorf("%+v", total)
	}
	if agents := must(db.Usage(ctx, postgres.UsageFilter{By: "agent"}))(t); agents[0].RunSeconds != 60 || agents[0].Simulated {
		t.Errorf("%+v", agents)
	}
	_, err := db.Usage(ctx, postgres.UsageFilter{By: "weather"})
	wantKind(t, err, corp.KindInvalid)
}
