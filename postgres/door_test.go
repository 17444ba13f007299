package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// everyMethod calls every method of a workspace's door with the ids of one that
// has them all, and says which it called.
func everyMethod(ctx context.Context, db postgres.WorkspaceDB, of victim) map[string]error {
	task, run, epoch := of.task.ID, of.task.RunID, of.lease.Epoch
	page := corp.Page{}
	repository, blob := of.repository, of.blob
	done := map[string]error{}
	note := func(name string, v any, err error) {
		if text, _ := json.Marshal(v); err == nil && strings.Contains(string(text), canary) {
			err = fmt.Errorf("%w: %s", errLeak, text)
		}
		done[name] = err
	}
	call := func(name string, err error) { note(name, nil, err) }
	ws, err := db.Workspace(ctx)
	note("Workspace", ws, err)
	updated, err := db.UpdateWorkspace(ctx, actor, corp.WorkspaceUpdate{})
	note("UpdateWorkspace", updated, err)
	_, held, err := db.Held(ctx)
	note("Held", held, err)
	_, err = db.CreateAPIKey(ctx, actor, corp.APIKey{Name: "n", Role: corp.RoleViewer}, secretHash())
	call("CreateAPIKey", err)
	apiKeys, err := db.APIKeys(ctx, corp.UserID{}, page)
	note("APIKeys", apiKeys, err)
	_, err = db.APIKey(ctx, corp.UserID{}, of.key)
	call("APIKey", err)
	_, err = db.RotateAPIKey(ctx, actor, corp.UserID{}, of.key, time.Hour, nil, "", secretHash())
	call("RotateAPIKey", err)
	_, err = db.RevokeAPIKey(ctx, actor, corp.UserID{}, of.key)
	call("RevokeAPIKey", err)
	call("TouchAPIKeys", db.TouchAPIKeys(ctx, map[corp.APIKeyID]time.Time{of.key: time.Now()}))
	_, err = db.CreateAgent(ctx, actor, corp.AgentSpec{Name: "made", Model: "a/b"})
	call("CreateAgent", err)
	_, err = db.UpdateAgent(ctx, actor, of.task.AgentID, corp.AgentSpec{Name: "x", Model: "a/b"})
	call("UpdateAgent", err)
	_, err = db.LimitAgent(ctx, actor, of.task.AgentID, 1)
	call("LimitAgent", err)
	_, err = db.ArchiveAgent(ctx, actor, of.task.AgentID)
	call("ArchiveAgent", err)
	_, err = db.Agent(ctx, of.task.AgentID.String())
	call("Agent", err)
	_, err = db.AgentVersion(ctx, of.task.AgentID, 1)
	call("AgentVersion", err)
	agents, err := db.Agents(ctx, page)
	note("Agents", agents, err)
	_, err = db.CreateRepository(ctx, actor, corp.NewID[corp.RepositoryID](), corp.RepositorySpec{Name: "made", URL: "git://x"}, nil)
	call("CreateRepository", err)
	_, err = db.Repository(ctx, repository)
	call("Repository", err)
	repositories, err := db.Repositories(ctx, page)
	note("Repositories", repositories, err)
	_, err = db.LimitRepository(ctx, actor, repository, 1)
	call("LimitRepository", err)
	_, err = db.ArchiveRepository(ctx, actor, repository)
	call("ArchiveRepository", err)
	_, err = db.RepositoryCredential(ctx, repository)
	call("RepositoryCredential", err)
	_, err = db.CreateProvider(ctx, actor, corp.NewID[corp.ProviderID](), corp.ProviderSpec{Name: "made"}, []byte("k"))
	call("CreateProvider", err)
	_, err = db.UpdateProvider(ctx, actor, of.provider, corp.ProviderSpec{Name: "x"}, nil)
	call("UpdateProvider", err)
	providers, err := db.Providers(ctx, page)
	note("Providers", providers, err)
	_, err = db.ArchiveProvider(ctx, actor, of.provider)
	call("ArchiveProvider", err)
	_, _, _, err = db.ResolveProvider(ctx, canary)
	call("ResolveProvider", err)
	_, err = db.CreateBlob(ctx, actor, corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: corp.BlobPatch})
	call("CreateBlob", err)
	_, err = db.Blob(ctx, blob)
	call("Blob", err)
	_, _, err = db.SubmitTask(ctx, actor, corp.TaskSpec{Prompt: "p", RepositoryID: &repository}, postgres.Idempotency{Key: canary})
	call("SubmitTask", err)
	following := corp.TaskSpec{Prompt: "p", RepositoryURL: "git://x", After: []corp.Dependency{{TaskID: task}}}
	_, _, err = db.SubmitBatch(ctx, actor, corp.BatchSpec{Tasks: []corp.BatchTask{{TaskSpec: following}}}, postgres.Idempotency{Key: canary})
	call("SubmitBatch", err)
	_, err = db.Batch(ctx, of.batch)
	call("Batch", err)
	_, err = db.CancelBatch(ctx, actor, of.batch)
	call("CancelBatch", err)
	_, err = db.Task(ctx, task)
	call("Task", err)
	tasks, err := db.Tasks(ctx, corp.TaskFilter{Agent: of.task.AgentID}, page)
	note("Tasks", tasks, err)
	_, err = db.Waiting(ctx, task)
	call("Waiting", err)
	_, err = db.CancelTask(ctx, actor, task)
	call("CancelTask", err)
	_, err = db.RetryTask(ctx, actor, task)
	call("RetryTask", err)
	call("MissDeadline", db.MissDeadline(ctx, task))
	_, err = db.CreateSchedule(ctx, actor, corp.ScheduleSpec{Name: "made", Cron: "@daily", Task: corp.TaskSpec{Prompt: "p", RepositoryID: &repository}})
	call("CreateSchedule", err)
	_, err = db.UpdateSchedule(ctx, actor, of.schedule, corp.ScheduleUpdate{Paused: new(true)})
	call("UpdateSchedule", err)
	_, err = db.Schedule(ctx, of.schedule.String())
	call("Schedule", err)
	schedules, err := db.Schedules(ctx, page)
	note("Schedules", schedules, err)
	_, _, err = db.TriggerSchedule(ctx, actor, of.schedule, postgres.Idempotency{})
	call("TriggerSchedule", err)
	_, err = db.FireSchedule(ctx, of.schedule, of.due)
	call("FireSchedule", err)
	_, err = db.ArchiveSchedule(ctx, actor, of.schedule)
	call("ArchiveSchedule", err)
	_, err = db.RedriveTask(ctx, actor, task)
	call("RedriveTask", err)
	redriven, err := db.RedriveTasks(ctx, actor, postgres.RedriveFilter{State: corp.TaskDead, Limit: 10})
	if redriven.Redriven > 0 {
		err = fmt.Errorf("%w: %d tasks", errLeak, redriven.Redriven)
	}
	call("RedriveTasks", err)
	_, err = db.Tree(ctx, task, 10)
	call("Tree", err)
	_, err = db.Run(ctx, run)
	call("Run", err)
	runs, err := db.Runs(ctx, corp.TaskID{}, page)
	note("Runs", runs, err)
	_, _, err = db.OfferFor(ctx, run, epoch)
	call("OfferFor", err)
	call("AckRun", db.AckRun(ctx, run, epoch))
	call("ReleaseRun", db.ReleaseRun(ctx, run, epoch, ""))
	_, err = db.AppendEntries(ctx, run, epoch, entries(0, 1))
	call("AppendEntries", err)
	_, err = db.NextEntry(ctx, run)
	call("NextEntry", err)
	call("SaveSteps", db.SaveSteps(ctx, run, epoch, 1, steps(0, 1)))
	_, err = db.Steps(ctx, run, epoch, "", 1)
	call("Steps", err)
	_, err = db.FinishRun(ctx, run, epoch, succeeded)
	call("FinishRun", err)
	call("StopRun", db.StopRun(ctx, run, corp.ReasonBudget, ""))
	call("LoseRun", db.LoseRun(ctx, run, epoch))
	call("RequeueRun", db.RequeueRun(ctx, run, epoch))
	call("ExpireRun", db.ExpireRun(ctx, run, epoch))
	_, err = db.Entries(ctx, run, -1, 10)
	call("Entries", err)
	events, err := db.Events(ctx, 0, 1000)
	note("Events", events, err)
	_, err = db.LastEvent(ctx)
	call("LastEvent", err)
	_, err = db.Budgets(ctx, task)
	call("Budgets", err)
	_, err = db.GrantAllowance(ctx, of.server, task, 1, 1)
	call("GrantAllowance", err)
	call("ReturnAllowance", db.ReturnAllowance(ctx, of.allowance, 1))
	call("CloseAllowance", db.CloseAllowance(ctx, of.allowance, nil))
	open, err := db.OpenAllowances(ctx, of.server)
	if len(open) > 0 {
		err = fmt.Errorf("%w: %v", errLeak, open)
	}
	call("OpenAllowances", err)
	call("RecordCalls", db.RecordCalls(ctx, []postgres.CallRecord{{Call: aCall(of.task, epoch, 1)}}))
	calls, err := db.Calls(ctx, postgres.CallFilter{}, page)
	note("Calls", calls, err)
	usage, err := db.Usage(ctx, postgres.UsageFilter{})
	if err == nil && usage[0] != (corp.UsageTotal{}) {
		err = fmt.Errorf("%w: %+v", errLeak, usage)
	}
	for _, by := range []string{"day", "model", "agent", "task"} {
		if usage, err2 := db.Usage(ctx, postgres.UsageFilter{By: by}); err2 == nil && len(usage) > 0 {
			err = fmt.Errorf("%w: %+v", errLeak, usage)
		}
	}
	call("Usage", err)
	_, err = db.RegisterRunner(ctx, actor, registration("made"))
	call("RegisterRunner", err)
	_, err = db.OwnRunner(ctx, actor, of.runner)
	call("OwnRunner", err)
	runners, err := db.Runners(ctx, page)
	for _, r := range runners.Items {
		if r.Leased > 0 {
			err = fmt.Errorf("%w: a runner holds %d runs", errLeak, r.Leased)
		}
	}
	note("Runners", runners, err)
	return done
}

// canary is in every text of the victim that a list could show.
const canary = "canary"

var errLeak = errors.New("another workspace's data")

// victim is a workspace with one of everything, for somebody else to try.
type victim struct {
	ws         corp.WorkspaceID
	task       corp.Task
	lease      pgtest.Lease
	repository corp.RepositoryID
	provider   corp.ProviderID
	blob       corp.BlobID
	key        corp.APIKeyID
	schedule   corp.ScheduleID
	due        time.Time
	server     corp.ServerID
	allowance  corp.AllowanceID
	runner     corp.RunnerID
	batch      corp.BatchID
}

func newVictim(t *testing.T, env *pgtest.Env) victim {
	t.Helper()
	ctx := t.Context()
	v := victim{ws: env.Workspace(t), server: corp.NewID[corp.ServerID](), provider: corp.NewID[corp.ProviderID]()}
	db := env.DB.In(v.ws)
	must(db.UpdateWorkspace(ctx, actor, corp.WorkspaceUpdate{Name: new(canary), Budget: new(corp.Dollar)}))(t)
	must(db.CreateAgent(ctx, actor, corp.AgentSpec{Name: canary, Model: "a/b"}))(t)
	v.repository = must(db.CreateRepository(ctx, actor, corp.NewID[corp.RepositoryID](), corp.RepositorySpec{Name: canary, URL: "git://" + canary}, []byte("k")))(t).ID
	must(db.CreateProvider(ctx, actor, v.provider, corp.ProviderSpec{Name: canary, Dialect: corp.DialectAnthropic}, []byte("k")))(t)
	v.blob = must(db.CreateBlob(ctx, actor, corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: corp.BlobPatch}))(t).ID
	v.schedule = must(db.CreateSchedule(ctx, actor, corp.ScheduleSpec{Name: canary, Cron: "* * * * *", Task: corp.TaskSpec{Prompt: canary, RepositoryID: &v.repository}}))(t).ID
	v.due = makeDue(t, env, v.schedule, 0)
	v.key = must(db.CreateAPIKey(ctx, actor, corp.APIKey{Name: canary, Role: corp.RoleOwner}, secretHash()))(t).ID
	registered := registration(canary)
	registered.Name = canary
	v.runner = must(db.RegisterRunner(ctx, actor, registered))(t).ID
	pool := must(env.DB.System("test").RegisterPoolRunner(ctx, actor, registration(v.ws.String())))(t)
	task, _, err := db.SubmitTask(ctx, actor, corp.TaskSpec{Prompt: canary, Agent: canary, RepositoryID: &v.repository, Budget: new(corp.Dollar)}, postgres.Idempotency{Key: canary})
	ok(t, err)
	v.task, v.lease = task, env.Running(t, v.ws, task.RunID)
	env.Exec(t, `UPDATE runs SET runner_id = $1 WHERE id = $2`, pool.ID, task.RunID)
	v.lease.RunnerID = pool.ID
	dying := part(canary)
	dying.MaxAttempts = 1
	dead := submitBatch(t, db, dying)
	v.batch = dead.ID
	carryOut(t, env, v.ws, dead.Tasks[0].TaskID, failed(corp.ReasonAgentFailed))
	v.allowance = must(db.GrantAllowance(ctx, v.server, task.ID, 5, 5))(t)[0].AllowanceID
	entry := entries(0, 1)
	entry[0].Text = canary
	must(db.AppendEntries(ctx, task.RunID, v.lease.Epoch, entry))(t)
	call := aCall(task, v.lease.Epoch, 1)
	call.ModelAsked, call.ModelServed = canary, canary
	ok(t, db.RecordCalls(ctx, []postgres.CallRecord{{Call: call}}))
	return v
}

// fingerprint is all that is in a workspace.
func fingerprint(t *testing.T, env *pgtest.Env, ws corp.WorkspaceID) string {
	t.Helper()
	var b strings.Builder
	for _, table := range tenantTables(t, connect(t, env.SuperURL)) {
		fmt.Fprintln(&b, table, pgtest.Value[string](t, env, `SELECT coalesce(md5(string_agg(x::text, ',' ORDER BY x::text)), '') FROM `+table+` x WHERE workspace_id = $1`, ws))
	}
	return b.String()
}

// T2: through every method of the door, with every id of another workspace in
// hand, nothing of it is seen or changed. Once as it is, and once without
// row-level security: each of the two locks holds alone.
// Attack case 2. Control: what concerns the caller's own workspace succeeds by the same doors.
func TestNoMethodReachesIntoAnotherWorkspaceWithOrWithoutRowLevelSecurity(t *testing.T) {
	t.Parallel()
	for _, locks := range []string{"both locks", "the door alone"} {
		t.Run(locks, func(t *testing.T) {
			t.Parallel()
			env := pgtest.Database(t)
			v := newVictim(t, env)
			own := env.Workspace(t)
			db := env.DB
			if locks == "the door alone" {
				var err error
				db, err = postgres.Unguarded(t.Context(), env.SuperURL)
				ok(t, err)
				t.Cleanup(db.Close)
				if n := pgtest.Value[int](t, env, `SELECT count(*) FROM workspaces`); n < 2 {
					t.Fatal("the superuser sees no other workspace: this proves nothing")
				}
			}
			before := fingerprint(t, env, v.ws)
			done := everyMethod(t.Context(), db.In(own), v)
			onlyOwn := []string{
				"Workspace", "UpdateWorkspace", "Held", "CreateAPIKey", "APIKeys", "TouchAPIKeys", "CreateAgent", "Agents", "CreateRepository", "Repositories", "CreateProvider", "Providers",
				"CreateBlob", "Schedules", "FireSchedule", "Tasks", "RedriveTasks", "Runs", "Events", "LastEvent", "OpenAllowances", "Calls", "Usage", "RegisterRunner", "Runners",
			}
			for name, err := range done {
				want := corp.KindNotFound
				if slices.Contains(onlyOwn, name) {
					want = ""
				}
				if corp.KindOf(err) != want || errors.Is(err, errLeak) {
					t.Errorf("%s: %v, want %q", name, err, want)
				}
			}
			if after := fingerprint(t, env, v.ws); after != before {
				t.Errorf("it was changed\n%s\n%s", before, after)
			}
			for method := range reflect.TypeFor[postgres.WorkspaceDB]().Methods() {
				if _, called := done[method.Name]; !called {
					t.Errorf("everyMethod does not call %s", method.Name)
				}
			}
		})
	}
}

func TestADoorWithoutAWorkspaceOpensNothing(t *testing.T) {
	t.Parallel()
	env := pgtest.New(t)
	v := newVictim(t, env)
	for name, err := range everyMethod(t.Context(), env.DB.In(corp.WorkspaceID{}), v) {
		if corp.KindOf(err) != corp.KindInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The setting of one request never reaches the next one on the same connection,
// whatever happened to it.
func TestNoWorkspaceBleedsThroughThePool(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	narrow, err := postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL, MaxConns: 2})
	ok(t, err)
	t.Cleanup(narrow.Close)
	var agents [2]corp.AgentID
	workspaces := [2]corp.WorkspaceID{env.Workspace(t), env.Workspace(t)}
	for i, ws := range workspaces {
		agents[i] = must(narrow.In(ws).Agent(t.Context(), "default"))(t).ID
	}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			for j := range 25 {
				mine := (i + j) % 2
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				if j%5 == 4 {
					ctx, cancel = context.WithTimeout(t.Context(), time.Duration(i*10)*time.Microsecond) // broken off somewhere
				}
				agent, err := narrow.In(workspaces[mine]).Agent(ctx, "default")
				if err == nil && agent.ID != agents[mine] {
					t.Errorf("workspace %d sees agent %s", mine, agent.ID)
				}
				if _, err := narrow.In(workspaces[mine]).Agent(ctx, agents[1-mine].String()); err == nil {
					t.Error("another workspace's agent")
				}
				if j%7 == 0 {
					_, _ = narrow.In(workspaces[mine]).CreateAgent(ctx, actor, corp.AgentSpec{Name: "default"}) // a conflict, rolled back
				}
				cancel()
			}
		})
	}
	all.Wait()
	for _, ws := range workspaces { // the last calls were broken off, and their connections with them
		must(narrow.In(ws).Agent(t.Context(), "default"))(t)
		_, err := narrow.In(ws).CreateAgent(t.Context(), actor, corp.AgentSpec{Name: "default"})
		wantKind(t, err, corp.KindConflict)
		must(narrow.In(ws).CreateAgent(t.Context(), actor, corp.AgentSpec{Name: "another"}))(t)
		must(narrow.In(ws).Agent(t.Context(), "another"))(t)
		left, err := narrow.LeftOnConnections(t.Context())
		ok(t, err)
		for _, setting := range left {
			if setting != "|0|0|0" {
				t.Errorf("left on a connection: %s", setting)
			}
		}
	}
}

func TestADeadlineEndsACallAndIsSaidToBeThat(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	task := env.Submit(t, ws, corp.TaskSpec{})
	blocker := connect(t, env.SuperURL)
	tx, err := blocker.Begin(t.Context())
	ok(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `SELECT FROM tasks WHERE id = $1 FOR UPDATE`, task.ID)
	ok(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := env.DB.In(ws).CancelTask(ctx, actor, task.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// PostgreSQL gives one of two transactions up that wait for each other; ours is
// done again, and nobody hears of it.
func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	task := env.Submit(t, ws, corp.TaskSpec{})
	env.Running(t, ws, task.RunID)
	env.Exec(t, `ALTER DATABASE `+env.Name+` SET deadlock_timeout = '4s'`)
	db := must(postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL}))(t)
	t.Cleanup(db.Close)
	other := connect(t, env.SuperURL)
	_, err := other.Exec(t.Context(), `SET deadlock_timeout = '1min'`) // the other side is never the one that is given up
	ok(t, err)
	tx, err := other.Begin(t.Context())
	ok(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `SELECT FROM runs WHERE id = $1 FOR UPDATE`, task.RunID) // the wrong order: the run before the task
	ok(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := db.In(ws).CancelTask(t.Context(), actor, task.ID)
		done <- err
	}()
	pgtest.Eventually(t, 30*time.Second, "the cancel waits for the run", func(context.Context) bool {
		return pgtest.Value[bool](t, env, `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND usename = 'corp_app' AND wait_event_type = 'Lock'`)
	})
	_, err = tx.Exec(t.Context(), `SELECT FROM tasks WHERE id = $1 FOR UPDATE`, task.ID)
	ok(t, err)
	ok(t, tx.Commit(t.Context()))
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := must(env.DB.In(ws).Task(t.Context(), task.ID))(t); got.CancelAt == nil {
		t.Errorf("%+v", got)
	}
}

func TestTheReasonsOfTheDatabaseAreTheCodes(t *testing.T) {
	t.Parallel()
	env := pgtest.New(t)
	for _, reason := range append(corp.Reasons(), "weird") {
		known := pgtest.Value[bool](t, env, `SELECT known_reason($1)`, reason)
		if known != slices.Contains(corp.Reasons(), reason) {
			t.Errorf("%q is known to the database: %t", reason, known)
		}
	}
	source := pgtest.Value[string](t, env, `SELECT prosrc FROM pg_proc WHERE proname = 'known_reason'`)
	if n := strings.Count(source, "'") / 2; n != len(corp.Reasons()) {
		t.Errorf("the database knows %d reasons, the code %d", n, len(corp.Reasons()))
	}
}

// Every transaction is bounded, whoever made the roles, and leaves nothing behind.
func TestEveryTransactionIsBounded(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	conn := connect(t, env.AppURL)
	var before string
	ok(t, conn.QueryRow(t.Context(), `SHOW statement_timeout`).Scan(&before))
	if before != "0" {
		t.Fatalf("the role has a limit of its own, %s: this proves nothing", before)
	}
	env.Exec(t, `CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO spied VALUES (current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')); RETURN NEW; END $$`)
	env.Exec(t, `CREATE TABLE spied (statement text, lock text, idle text)`)
	env.Exec(t, `GRANT INSERT ON spied TO corp_app`)
	env.Exec(t, `CREATE TRIGGER spy BEFORE INSERT ON blobs FOR EACH ROW EXECUTE FUNCTION spy()`)
	env.Exec(t, `CREATE TRIGGER spy BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION spy()`)
	must(env.DB.In(ws).CreateBlob(t.Context(), actor, corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: corp.BlobPatch}))(t)
	env.Submit(t, ws, corp.TaskSpec{})
	rows, err := connect(t, env.SuperURL).Query(t.Context(), `SELECT statement, lock, idle FROM spied`)
	ok(t, err)
	type limits struct{ Statement, Lock, Idle string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[limits])
	ok(t, err)
	want := limits{"20s", "8s", "5s"}
	if !slices.Equal(all, []limits{want, want}) {
		t.Errorf("%+v", all)
	}
}

// PgBouncer in transaction mode cannot keep prepared statements: the URL may ask
// for another way, and everything must work that way too.
func TestTheDoorsWorkWithoutPreparedStatements(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	for _, mode := range []string{"cache_describe", "describe_exec"} {
		db, err := postgres.Open(t.Context(), postgres.Config{AppURL: env.AppURL + "&default_query_exec_mode=" + mode, SystemURL: env.SystemURL + "&default_query_exec_mode=" + mode})
		ok(t, err)
		t.Cleanup(db.Close)
		other := *env
		other.DB = db
		v := newVictim(t, &other)
		must(db.System("test").Queue(t.Context()))(t)
		must(db.System("test").BeatLeases(t.Context(), v.lease.RunnerID, []postgres.LeaseProof{{RunID: v.lease.RunID, Epoch: v.lease.Epoch, SecretHash: v.lease.SecretHash}}, time.Minute))(t)
		must(db.In(v.ws).FinishRun(t.Context(), v.lease.RunID, v.lease.Epoch, succeeded))(t)
	}
}
