package postgres_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/timetable"
)

// nightly is a spec that is fine as it is.
func nightly(name string) corp.ScheduleSpec {
	return corp.ScheduleSpec{
		Name: name, Cron: "30 2 * * *", TimeZone: "Europe/Berlin", Missed: corp.MissedSkip,
		Task: corp.TaskSpec{Prompt: "Update the dependencies.", RepositoryURL: "https://git.example.com/w.git", Check: "make", Labels: []string{"a"}, Budget: new(corp.Dollar), DeadlineSeconds: 3600},
	}
}

// comesNext is what a timetable says about now, for a database that may be a
// moment before or after it.
func comesNext(t *testing.T, s corp.Schedule) bool {
	t.Helper()
	if s.NextAt == nil {
		return false
	}
	table := must(timetable.Parse(s.Cron, s.TimeZone))(t)
	first, _ := table.Next(time.Now().Add(-time.Minute))
	last, _ := table.Next(time.Now().Add(time.Minute))
	itself, _ := table.Next(s.NextAt.Add(-time.Nanosecond))
	return !s.NextAt.Before(first) && !s.NextAt.After(last) && s.NextAt.Equal(itself)
}

func TestAScheduleIsKeptAsItWasAskedForAndComesAtItsTime(t *testing.T) {
	t.Parallel()
	_, _, db := door(t)
	ctx := t.Context()
	made := must(db.CreateSchedule(ctx, actor, nightly("nightly")))(t)
	if diff := cmp.Diff(nightly("nightly"), made.ScheduleSpec); diff != "" {
		t.Error(diff)
	}
	if !comesNext(t, made) || made.LastAt != nil || made.LastTaskID != nil || made.LastError != "" || made.CreatedBy != actor {
		t.Errorf("%+v", made)
	}
	for _, name := range []string{"nightly", made.ID.String()} {
		if diff := cmp.Diff(made, must(db.Schedule(ctx, name))(t)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	plain := nightly("plain")
	plain.TimeZone, plain.Missed = "", ""
	second := must(db.CreateSchedule(ctx, actor, plain))(t)
	if second.TimeZone != "UTC" || second.Missed != corp.MissedRunOnce {
		t.Errorf("%+v", second)
	}
	first := must(db.Schedules(ctx, corp.Page{Limit: 1}))(t)
	rest := must(db.Schedules(ctx, corp.Page{Limit: 1, Cursor: first.NextCursor}))(t)
	if first.Items[0].ID != second.ID || rest.Items[0].ID != made.ID || rest.NextCursor != "" {
		t.Errorf("%+v %+v", first, rest)
	}
	if kinds := eventKinds(t, db); !slices.Equal(kinds[len(kinds)-2:], []string{"schedule.created", "schedule.created"}) {
		t.Error(kinds)
	}
}

func TestAScheduleWhoseTaskCouldNotBeSubmittedIsRefusedWithItsFieldAndLeavesNothing(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	foreignWS := env.Workspace(t)
	foreign := must(env.DB.In(foreignWS).CreateRepository(t.Context(), actor, corp.NewID[corp.RepositoryID](), corp.RepositorySpec{Name: "r", URL: "git://x"}, nil))(t)
	theirs := env.Submit(t, foreignWS, corp.TaskSpec{})
	good := must(db.CreateSchedule(t.Context(), actor, nightly("good")))(t)
	events := must(db.LastEvent(t.Context()))(t)
	for name, c := range map[string]struct {
		edit  func(*corp.ScheduleSpec)
		kind  corp.Kind
		field string
	}{
		"a bad expression":         {func(s *corp.ScheduleSpec) { s.Cron = "30 25 * * *" }, corp.KindInvalid, "cron"},
		"a day that no month has":  {func(s *corp.ScheduleSpec) { s.Cron = "0 0 30 2 *" }, corp.KindInvalid, "cron"},
		"a bad time zone":          {func(s *corp.ScheduleSpec) { s.TimeZone = "Mars/Olympus" }, corp.KindInvalid, "time_zone"},
		"a bad policy":             {func(s *corp.ScheduleSpec) { s.Missed = "run_all" }, corp.KindInvalid, "missed"},
		"no prompt":                {func(s *corp.ScheduleSpec) { s.Task.Prompt = "" }, corp.KindInvalid, "task.prompt"},
		"no source":                {func(s *corp.ScheduleSpec) { s.Task.RepositoryURL = "" }, corp.KindInvalid, "task.repository_id"},
		"an agent that is missing": {func(s *corp.ScheduleSpec) { s.Task.Agent = "nobody" }, corp.KindNotFound, "task.agent"},
		"a foreign repository": {
			func(s *corp.ScheduleSpec) { s.Task.RepositoryURL, s.Task.RepositoryID = "", &foreign.ID },
			corp.KindNotFound, "task.repository_id",
		},
		"a missing file": {func(s *corp.ScheduleSpec) {
			s.Task.RepositoryURL, s.Task.SourceID, s.Task.BaseCommit = "", new(corp.NewID[corp.BlobID]()), strings.Repeat("a", 40)
		}, corp.KindNotFound, "task.source_id"},
		"a foreign parent":          {func(s *corp.ScheduleSpec) { s.Task.ParentID = &theirs.ID }, corp.KindNotFound, "task.parent_id"},
		"a foreign task to follow":  {func(s *corp.ScheduleSpec) { s.Task.After = []corp.Dependency{{TaskID: theirs.ID}} }, corp.KindNotFound, "task.after[0].task_id"},
		"a moment to start":         {func(s *corp.ScheduleSpec) { s.Task.NotBefore = new(time.Now().Add(time.Hour)) }, corp.KindInvalid, "task.not_before"},
		"a moment as deadline":      {func(s *corp.ScheduleSpec) { s.Task.DeadlineAt = new(time.Now().Add(time.Hour)) }, corp.KindInvalid, "task.deadline_at"},
		"a deadline before a start": {func(s *corp.ScheduleSpec) { s.Task.DelaySeconds = 3600 }, corp.KindInvalid, "task.deadline_seconds"},
		"a bad retry policy":        {func(s *corp.ScheduleSpec) { s.Task.Retry = &corp.RetryPolicy{BaseMS: 5000, CapMS: 1000} }, corp.KindInvalid, "task.retry.cap_ms"},
		"a text with zeros":         {func(s *corp.ScheduleSpec) { s.Task.Prompt = "a\x00b" }, corp.KindInvalid, ""},
		"a name that is taken":      {func(s *corp.ScheduleSpec) { s.Name = "good" }, corp.KindConflict, ""},
	} {
		spec := nightly("bad")
		c.edit(&spec)
		_, err := db.CreateSchedule(t.Context(), actor, spec)
		e, _ := errors.AsType[*corp.Error](err)
		if corp.KindOf(err) != c.kind || e == nil || e.Field != c.field || e.Hint == "" {
			t.Errorf("%s: %#v", name, err)
		}
		if spec.Name == "good" {
			continue
		}
		u := corp.ScheduleUpdate{Cron: &spec.Cron, TimeZone: &spec.TimeZone, Missed: &spec.Missed, Task: &spec.Task}
		_, err = db.UpdateSchedule(t.Context(), actor, good.ID, u)
		if e, _ := errors.AsType[*corp.Error](err); corp.KindOf(err) != c.kind || e == nil || e.Field != c.field {
			t.Errorf("%s in an update: %#v", name, err)
		}
	}
	if diff := cmp.Diff(good, must(db.Schedule(t.Context(), "good"))(t)); diff != "" {
		t.Error(diff)
	}
	for _, table := range []string{"tasks", "runs", "task_dependencies"} {
		if n := pgtest.Value[int](t, env, `SELECT count(*)::int FROM `+table+` WHERE workspace_id = $1`, ws); n != 0 {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
	if now := must(db.LastEvent(t.Context()))(t); now != events {
		t.Errorf("%d events are left", now-events)
	}
}

func TestASchedulesSourceIsKeptForAsLongAsItMaySubmit(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	db, system, ctx := env.DB.In(env.Workspace(t)), env.DB.System("test"), t.Context()
	source := must(db.CreateBlob(ctx, actor, corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: corp.BlobSource}))(t).ID
	spec := nightly("a")
	spec.Paused = true
	spec.Task.RepositoryURL, spec.Task.SourceID, spec.Task.BaseCommit = "", &source, strings.Repeat("a", 40)
	s := must(db.CreateSchedule(ctx, actor, spec))(t)
	env.Exec(t, `UPDATE blobs SET created_at = now() - interval '1 year'`)
	expire := func() int { return must(system.ExpireBlobs(ctx, 24*time.Hour, 10))(t) }
	if n := expire(); n != 0 {
		t.Fatal("the source of a schedule expired")
	}
	other := nightly("").Task
	must(db.UpdateSchedule(ctx, actor, s.ID, corp.ScheduleUpdate{Task: &other}))(t)
	must(db.UpdateSchedule(ctx, actor, s.ID, corp.ScheduleUpdate{Task: &spec.Task}))(t)
	if n := expire(); n != 0 {
		t.Fatal("the source of a changed schedule expired")
	}
	must(db.ArchiveSchedule(ctx, actor, s.ID))(t)
	if n := expire(); n != 1 {
		t.Errorf("%d files expired with their schedule", n)
	}
}

func TestAScheduleIsPausedResumedChangedAndArchived(t *testing.T) {
	t.Parallel()
	_, _, db := door(t)
	ctx := t.Context()
	spec := nightly("a")
	spec.Paused = true
	made := must(db.CreateSchedule(ctx, actor, spec))(t)
	if made.NextAt != nil || !made.Paused {
		t.Errorf("a schedule that begins paused comes at %v", made.NextAt)
	}
	update := func(u corp.ScheduleUpdate) corp.Schedule {
		t.Helper()
		return must(db.UpdateSchedule(ctx, actor, made.ID, u))(t)
	}
	if s := update(corp.ScheduleUpdate{Cron: new("0 5 * * *")}); s.NextAt != nil || s.Cron != "0 5 * * *" {
		t.Errorf("a change woke it: %+v", s)
	}
	resumed := update(corp.ScheduleUpdate{Paused: new(false)})
	if !comesNext(t, resumed) || resumed.Paused {
		t.Errorf("resumed, it comes at %v", resumed.NextAt)
	}
	renamed := update(corp.ScheduleUpdate{Name: new("b"), Missed: new(corp.MissedRunOnce), Task: &corp.TaskSpec{Prompt: "x", RepositoryURL: "git://x"}})
	if !renamed.NextAt.Equal(*resumed.NextAt) || renamed.Name != "b" || renamed.Task.Prompt != "x" || renamed.Task.Check != "" {
		t.Errorf("%+v", renamed)
	}
	if s := update(corp.ScheduleUpdate{Cron: new("15 7 * * *"), TimeZone: new("Asia/Kathmandu")}); !comesNext(t, s) {
		t.Errorf("%+v", s)
	}
	if s := update(corp.ScheduleUpdate{Paused: new(true)}); s.NextAt != nil {
		t.Errorf("paused, it comes at %v", s.NextAt)
	}
	update(corp.ScheduleUpdate{Paused: new(false)})
	for range 2 {
		if s := must(db.ArchiveSchedule(ctx, actor, made.ID))(t); s.ArchivedAt == nil || s.NextAt != nil {
			t.Errorf("%+v", s)
		}
	}
	_, err := db.UpdateSchedule(ctx, actor, made.ID, corp.ScheduleUpdate{Paused: new(false)})
	wantKind(t, err, corp.KindNotFound)
	_, _, err = db.TriggerSchedule(ctx, actor, made.ID, postgres.Idempotency{})
	wantKind(t, err, corp.KindConflict)
	_, err = db.Schedule(ctx, "b")
	wantKind(t, err, corp.KindNotFound)
	if s := must(db.Schedule(ctx, made.ID.String()))(t); s.ArchivedAt == nil {
		t.Error("it is gone")
	}
	again := must(db.CreateSchedule(ctx, actor, nightly("b")))(t)
	if list := must(db.Schedules(ctx, corp.Page{}))(t); len(list.Items) != 1 || list.Items[0].ID != again.ID {
		t.Errorf("%+v", list)
	}
	kinds := map[string]int{}
	for _, k := range eventKinds(t, db) {
		kinds[k]++
	}
	if kinds["schedule.created"] != 2 || kinds["schedule.updated"] != 6 || kinds["schedule.archived"] != 1 {
		t.Error(kinds)
	}
}
