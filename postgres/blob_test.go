package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func TestFilesExpireWhenTheTaskThatNeedsThemEndedLongAgo(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	db, system, ctx := env.DB.In(ws), env.DB.System("test"), t.Context()
	names := map[corp.BlobID]string{}
	file := func(name, kind string) corp.BlobID {
		blob := must(db.CreateBlob(ctx, actor, corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: kind}))(t)
		names[blob.ID] = name
		return blob.ID
	}
	// with returns a task that has an uploaded source, a result and a patch.
	with := func(name string, cancel bool) corp.Task {
		source, result, patch := file(name+" source", corp.BlobSource), file(name+" result", corp.BlobResult), file(name+" patch", corp.BlobPatch)
		task := env.Submit(t, ws, corp.TaskSpec{SourceID: &source, BaseCommit: "0123456789012345678901234567890123456789"})
		if cancel {
			must(db.CancelTask(ctx, actor, task.ID))(t)
		}
		env.Exec(t, `UPDATE runs SET result_id = $2, patch_id = $3 WHERE id = $1`, task.RunID, result, patch)
		return task
	}
	open, ended, recent := with("open", false), with("ended", true), with("recent", true)
	file("stray", corp.BlobSource)
	env.Exec(t, `UPDATE tasks SET finished_at = now() - interval '91 days' WHERE id = $1`, ended.ID)
	env.Exec(t, `UPDATE blobs SET created_at = now() - interval '92 days'`)
	fresh := file("fresh", corp.BlobSource)

	if n := must(system.ExpireBlobs(ctx, keep90, 3))(t) + must(system.ExpireBlobs(ctx, keep90, 3))(t); n != 4 {
		t.Errorf("%d files expired", n)
	}
	due := must(system.ExpiredBlobs(ctx, 100))(t)
	var gone []string
	for _, b := range due {
		gone = append(gone, names[b.ID])
	}
	slices.Sort(gone)
	if want := []string{"ended patch", "ended result", "ended source", "stray"}; !slices.Equal(gone, want) {
		t.Errorf("%q expired, want %q", gone, want)
	}
	_, err := db.Blob(ctx, *ended.SourceID)
	wantCode(t, err, "file_gone")
	must(db.Blob(ctx, *open.SourceID))(t)
	must(db.Blob(ctx, fresh))(t)
	_, err = db.RetryTask(ctx, actor, ended.ID)
	wantCode(t, err, "file_gone")
	env.Exec(t, `UPDATE tasks SET state = 'dead', reason = 'attempts' WHERE id = $1`, ended.ID)
	if done := must(db.RedriveTasks(ctx, actor, postgres.RedriveFilter{State: corp.TaskDead, Limit: 10}))(t); done.Redriven != 0 || done.More {
		t.Errorf("a task without its source was redriven: %+v", done)
	}
	must(db.RetryTask(ctx, actor, recent.ID))(t)
	_, _, err = db.SubmitTask(ctx, actor, corp.TaskSpec{Prompt: "p", SourceID: ended.SourceID, BaseCommit: ended.BaseCommit}, postgres.Idempotency{})
	wantKind(t, err, corp.KindNotFound)

	ok(t, system.BlobsRemoved(ctx, due[:3]))
	ok(t, system.BlobsRemoved(ctx, append(due[:3:3], postgres.BlobRef{Workspace: ws, ID: fresh}))) // again, and one that is not expired
	if left := must(system.ExpiredBlobs(ctx, 100))(t); len(left) != 1 || left[0] != due[3] {
		t.Errorf("%v are left, want %v", left, due[3])
	}
	must(db.Blob(ctx, fresh))(t)
	if n := must(system.ExpireBlobs(ctx, time.Hour, 100))(t); n != 0 {
		t.Errorf("%d more expired within the hour that they are kept", n)
	}
}
