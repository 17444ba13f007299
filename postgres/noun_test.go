package postgres_test

import (
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func secretHash() []byte {
	hash := make([]byte, 32)
	_, _ = rand.Read(hash)
	return hash
}

func TestAnAgentKeepsItsVersionsAndGivesItsNameBackWhenArchived(t *testing.T) {
	t.Parallel()
	_, _, db := door(t)
	ctx := t.Context()
	spec := corp.AgentSpec{Name: "sable", Model: "anthropic/m", Instructions: "Be brief.", MaxTurns: 7, MaxTokens: 9}
	first := must(db.CreateAgent(ctx, actor, spec))(t)
	spec.Runtime = corp.RuntimeBuiltin
	if diff := cmp.Diff(spec, first.AgentSpec); diff != "" || first.Version != 1 || first.CreatedBy != actor {
		t.Errorf("%+v\n%s", first, diff)
	}
	_, err := db.CreateAgent(ctx, actor, spec)
	wantKind(t, err, corp.KindConflict)
	spec.Instructions = "Be thorough."
	second := must(db.UpdateAgent(ctx, actor, first.ID, spec))(t)
	if second.Version != 2 || second.Instructions != "Be thorough." {
		t.Errorf("%+v", second)
	}
	for _, name := range []string{"sable", first.ID.String()} {
		if got := must(db.Agent(ctx, name))(t); got.Version != 2 {
			t.Errorf("by %s: %+v", name, got)
		}
	}
	if got := must(db.AgentVersion(ctx, first.ID, 1))(t); got.Instructions != "Be brief." {
		t.Errorf("version 1 is %+v", got)
	}
	gone := must(db.ArchiveAgent(ctx, actor, first.ID))(t)
	if again := must(db.ArchiveAgent(ctx, actor, first.ID))(t); gone.ArchivedAt == nil || !gone.ArchivedAt.Equal(*again.ArchivedAt) {
		t.Errorf("archived %v, then %v", gone.ArchivedAt, again.ArchivedAt)
	}
	_, err = db.Agent(ctx, "sable")
	wantKind(t, err, corp.KindNotFound)
	_, err = db.UpdateAgent(ctx, actor, first.ID, spec)
	wantKind(t, err, corp.KindNotFound)
	if got := must(db.Agent(ctx, first.ID.String()))(t); got.ArchivedAt == nil {
		t.Error("by its id an archived agent is still there")
	}
	must(db.CreateAgent(ctx, actor, spec))(t)
	list := must(db.Agents(ctx, corp.Page{}))(t)
	if len(list.Items) != 2 || list.Items[0].Name != "sable" || list.Items[0].ID == first.ID {
		t.Errorf("%+v", list)
	}
}

func TestARepositoryShowsThatItHasACredentialAndForgetsItWhenArchived(t *testing.T) {
	t.Parallel()
	_, _, db := door(t)
	ctx := t.Context()
	spec := corp.RepositorySpec{Name: "widgets", URL: "https://git.example.com/w.git", DefaultBase: "main"}
	repo := must(db.CreateRepository(ctx, actor, corp.NewID[corp.RepositoryID](), spec, []byte("sealed")))(t)
	bare := must(db.CreateRepository(ctx, actor, corp.NewID[corp.RepositoryID](), corp.RepositorySpec{Name: "bare", URL: "git://x"}, nil))(t)
	if !repo.HasCredential || bare.HasCredential || repo.RepositorySpec != spec {
		t.Errorf("%+v %+v", repo, bare)
	}
	if got := must(db.RepositoryCredential(ctx, repo.ID))(t); string(got) != "sealed" {
		t.Errorf("%q", got)
	}
	if got := must(db.RepositoryCredential(ctx, bare.ID))(t); got != nil {
		t.Errorf("%q", got)
	}
	if list := must(db.Repositories(ctx, corp.Page{}))(t); len(list.Items) != 2 {
		t.Errorf("%+v", list)
	}
	must(db.ArchiveRepository(ctx, actor, repo.ID))(t)
	got := must(db.Repository(ctx, repo.ID))(t)
	if got.HasCredential || got.ArchivedAt == nil {
		t.Errorf("%+v", got)
	}
	if list := must(db.Repositories(ctx, corp.Page{}))(t); len(list.Items) != 1 {
		t.Errorf("%+v", list)
	}
	_, _, err := db.SubmitTask(ctx, actor, corp.TaskSpec{Prompt: "p", RepositoryID: &repo.ID}, postgres.Idempotency{})
	wantKind(t, err, corp.KindNotFound)
}

func TestTheWorkspacesProviderComesBeforeTheInstallations(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	db, ctx := env.DB.In(env.Workspace(t)), t.Context()
	offered := func(name, url string) postgres.InstallationProvider {
		return postgres.InstallationProvider{KeyEnv: "KEY_" + name, Provider: corp.Provider{ProviderSpec: corp.ProviderSpec{Name: name, Dialect: corp.DialectAnthropic, BaseURL: url}}}
	}
	system := env.DB.System("test")
	ok(t, system.SetInstallationProviders(ctx, []postgres.InstallationProvider{offered("house", "https://one.example"), offered("spare", "https://two.example")}))
	theirs, sealed, keyEnv, err := db.ResolveProvider(ctx, "house")
	if err != nil || !theirs.Installation || sealed != nil || keyEnv != "KEY_house" || theirs.Vendor != corp.DialectAnthropic {
		t.Errorf("%+v %q %q %v", theirs, sealed, keyEnv, err)
	}
	mine := must(db.CreateProvider(ctx, actor, corp.NewID[corp.ProviderID](), corp.ProviderSpec{Name: "house", Dialect: corp.DialectAnthropic, BaseURL: "https://mine.example", Vendor: "v"}, []byte("sealed")))(t)
	own, sealed, keyEnv, err := db.ResolveProvider(ctx, "house")
	if err != nil || own.ID != mine.ID || own.Installation || string(sealed) != "sealed" || keyEnv != "" {
		t.Errorf("%+v %q %q %v", own, sealed, keyEnv, err)
	}
	must(db.UpdateProvider(ctx, actor, mine.ID, mine.ProviderSpec, nil))(t)
	if _, sealed, _, _ = db.ResolveProvider(ctx, "house"); string(sealed) != "sealed" {
		t.Errorf("an update without a key changed it to %q", sealed)
	}
	moved := mine.ProviderSpec
	moved.BaseURL = "https://elsewhere.example"
	if _, err := db.UpdateProvider(ctx, actor, mine.ID, moved, nil); corp.KindOf(err) != corp.KindInvalid {
		t.Errorf("the kept key would be sent to another address: %v", err)
	}
	must(db.UpdateProvider(ctx, actor, mine.ID, mine.ProviderSpec, []byte("other")))(t)
	if _, sealed, _, _ = db.ResolveProvider(ctx, "house"); string(sealed) != "other" {
		t.Errorf("key %q", sealed)
	}
	if names := providerNames(t, db); !slices.Equal(names, []string{"house", "spare*"}) {
		t.Errorf("usable: %v", names)
	}
	gone := must(db.ArchiveProvider(ctx, actor, mine.ID))(t)
	if gone.ArchivedAt == nil || pgtest.Value[int](t, env, `SELECT length(key) FROM providers WHERE id = $1`, mine.ID) != 0 {
		t.Errorf("%+v keeps its key", gone)
	}
	if names := providerNames(t, db); !slices.Equal(names, []string{"house*", "spare*"}) {
		t.Errorf("usable: %v", names)
	}
	ok(t, system.SetInstallationProviders(ctx, []postgres.InstallationProvider{offered("house", "https://three.example")}))
	again, _, _, err := db.ResolveProvider(ctx, "house")
	if err != nil || again.ID != theirs.ID || again.BaseURL != "https://three.example" {
		t.Errorf("%+v, %v", again, err)
	}
	_, _, _, err = db.ResolveProvider(ctx, "spare")
	wantKind(t, err, corp.KindNotFound)
}

func providerNames(t *testing.T, db postgres.WorkspaceDB) (names []string) {
	t.Helper()
	for _, p := range must(db.Providers(t.Context(), corp.Page{}))(t).Items {
		if p.Installation {
			p.Name += "*"
		}
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

func TestAKeyOpensItsWorkspaceUntilItIsRevokedOrExpires(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	hash, expiring, runner := secretHash(), secretHash(), secretHash()
	key := must(db.CreateAPIKey(ctx, actor, corp.APIKey{Name: "ci", Role: corp.RoleMember, Prefix: "gc_live_Ab…yz"}, hash))(t)
	short := must(db.CreateAPIKey(ctx, actor, corp.APIKey{Name: "short", Role: corp.RoleViewer, ExpiresAt: new(time.Now().Add(time.Hour))}, expiring))(t)
	must(db.CreateAPIKey(ctx, actor, corp.APIKey{Name: "box", Role: corp.RoleRunner}, runner))(t)
	who := must(env.DB.Auth().Key(ctx, hash))(t)
	want := corp.Identity{Workspace: ws, Actor: corp.Actor(key.ID.String()), Via: corp.Actor(key.ID.String()), Role: corp.RoleMember, Plan: "unlimited", Slug: must(db.Workspace(ctx))(t).Slug, Name: "ci"}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Error(diff)
	}
	if who := must(env.DB.Auth().Key(ctx, runner))(t); who.Runner != postgres.RunnerWorkspace || who.Workspace != ws {
		t.Errorf("%+v", who)
	}
	must(env.DB.Auth().Key(ctx, expiring))(t)
	env.Exec(t, `UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE hash = $1`, expiring)
	_, err := env.DB.Auth().Key(ctx, expiring)
	wantKind(t, err, corp.KindUnauthenticated)
	_, err = env.DB.Auth().Key(ctx, secretHash())
	wantKind(t, err, corp.KindUnauthenticated)

	at := time.Now().UTC().Truncate(time.Millisecond)
	ok(t, db.TouchAPIKeys(ctx, map[corp.APIKeyID]time.Time{key.ID: at, corp.NewID[corp.APIKeyID](): at}))
	ok(t, db.TouchAPIKeys(ctx, map[corp.APIKeyID]time.Time{key.ID: at.Add(-time.Hour)}))
	ok(t, db.TouchAPIKeys(ctx, nil))
	gone := must(db.RevokeAPIKey(ctx, actor, corp.UserID{}, key.ID))(t)
	if gone.RevokedAt == nil || gone.LastUsedAt == nil || !gone.LastUsedAt.Equal(at) {
		t.Errorf("%+v", gone)
	}
	must(db.RevokeAPIKey(ctx, actor, corp.UserID{}, key.ID))(t)
	_, err = env.DB.Auth().Key(ctx, hash)
	wantKind(t, err, corp.KindUnauthenticated)
	for _, ended := range []corp.APIKeyID{key.ID, short.ID} {
		_, err = db.RotateAPIKey(ctx, actor, corp.UserID{}, ended, time.Hour, nil, "", secretHash())
		wantKind(t, err, corp.KindConflict)
	}
	if list := must(db.APIKeys(ctx, corp.UserID{}, corp.Page{}))(t); len(list.Items) != 3 {
		t.Errorf("%+v", list)
	}
	must(env.DB.Auth().Key(ctx, runner))(t)
	env.Exec(t, `UPDATE workspaces SET archived_at = now() WHERE workspace_id = $1`, ws)
	_, err = env.DB.Auth().Key(ctx, runner)
	wantKind(t, err, corp.KindUnauthenticated)
}

func TestAnOperatorsKeyHasNoWorkspace(t *testing.T) {
	t.Parallel()
	env, ctx := pgtest.New(t), t.Context()
	system := env.DB.System("test")
	for _, role := range []corp.Role{corp.RoleOperator, corp.RoleRunner} {
		id, hash := corp.NewID[corp.OperatorID](), secretHash()
		ok(t, system.CreateOperatorKey(ctx, id, "o", role, "gc_op_…", hash))
		who := must(env.DB.Auth().Key(ctx, hash))(t)
		want := corp.Identity{Actor: corp.Actor(id.String()), Via: corp.Actor(id.String()), Role: role, Name: "o"}
		if role == corp.RoleRunner {
			want.Runner = postgres.RunnerPool
		}
		if diff := cmp.Diff(want, who); diff != "" {
			t.Error(diff)
		}
		ok(t, system.RevokeOperatorKey(ctx, id))
		_, err := env.DB.Auth().Key(ctx, hash)
		wantKind(t, err, corp.KindUnauthenticated)
	}
	wantKind(t, system.RevokeOperatorKey(ctx, corp.NewID[corp.OperatorID]()), corp.KindNotFound)
	wantKind(t, system.CreateOperatorKey(ctx, corp.NewID[corp.OperatorID](), "o", corp.RoleOwner, "", secretHash()), corp.KindInvalid)
}

func TestAWorkspacesLimitsArePlanAndOwnTogether(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ctx, system := t.Context(), env.DB.System("test")
	_, err := system.CreateWorkspace(ctx, actor, "Bad Slug", "n", "free")
	wantKind(t, err, corp.KindInvalid)
	_, err = system.CreateWorkspace(ctx, actor, "acme", "n", "gold")
	wantKind(t, err, corp.KindInvalid)
	pro := must(system.CreateWorkspace(ctx, actor, "acme", "Acme", "pro"))(t)
	_, err = system.CreateWorkspace(ctx, actor, "acme", "Acme", "pro")
	wantKind(t, err, corp.KindConflict)
	free := must(system.CreateWorkspace(ctx, actor, "tiny", "Tiny", "free"))(t)
	open := must(system.CreateWorkspace(ctx, actor, "open", "Open", "unlimited"))(t)
	set := func(ws corp.Workspace, n int) corp.Workspace {
		return must(env.DB.In(ws.ID).UpdateWorkspace(ctx, actor, corp.WorkspaceUpdate{Concurrency: &n}))(t)
	}
	for _, c := range []struct {
		ws       corp.Workspace
		own, all int
	}{{pro, 0, 10}, {pro, 4, 4}, {pro, 50, 10}, {free, 0, 1}, {open, 0, 0}, {open, 7, 7}} {
		if got := set(c.ws, c.own).Concurrency; got != c.all {
			t.Errorf("%s with %d of its own has %d, want %d", c.ws.Plan, c.own, got, c.all)
		}
		if got := must(system.WorkspaceQueuesOf(ctx, []corp.WorkspaceID{c.ws.ID}, 1))(t)[0].Concurrency; got != c.all {
			t.Errorf("the leader sees %d, want %d", got, c.all)
		}
	}
	budget := 5 * corp.Dollar
	changed := must(env.DB.In(pro.ID).UpdateWorkspace(ctx, actor, corp.WorkspaceUpdate{Name: new("Acme Tools"), Budget: &budget}))(t)
	if changed.Name != "Acme Tools" || changed.Budget == nil || *changed.Budget != budget {
		t.Errorf("%+v", changed)
	}
	_, err = env.DB.In(pro.ID).UpdateWorkspace(ctx, actor, corp.WorkspaceUpdate{Budget: &budget, NoBudget: true})
	wantKind(t, err, corp.KindInvalid)
	must(env.DB.In(pro.ID).UpdateWorkspace(ctx, actor, corp.WorkspaceUpdate{NoBudget: true}))(t)
	if got := must(env.DB.In(pro.ID).Workspace(ctx))(t); got.Budget != nil || got.Name != "Acme Tools" {
		t.Errorf("%+v", got)
	}
	if list := must(system.Workspaces(ctx, corp.Page{Limit: 2}))(t); len(list.Items) != 2 || list.NextCursor == "" || list.Items[0].ID != open.ID {
		t.Errorf("%+v", list)
	}
}

func TestPagesShowEveryItemOnceInOrder(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	const n = 23
	for range n {
		env.Submit(t, ws, corp.TaskSpec{})
	}
	env.Exec(t, `UPDATE tasks SET created_at = date_trunc('second', created_at) WHERE workspace_id = $1`, ws) // ids break the ties
	for _, limit := range []int{1, 5, n - 1, n, n + 1} {
		var all []corp.Task
		for page := (corp.Page{Limit: limit}); ; {
			list := must(db.Tasks(t.Context(), corp.TaskFilter{}, page))(t)
			all = append(all, list.Items...)
			if page.Cursor = list.NextCursor; page.Cursor == "" {
				break
			}
		}
		seen := map[corp.TaskID]bool{}
		for _, task := range all {
			seen[task.ID] = true
		}
		sorted := slices.IsSortedFunc(all, func(a, b corp.Task) int {
			if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
				return c
			}
			return slices.Compare(b.ID[:], a.ID[:])
		})
		if len(all) != n || len(seen) != n || !sorted {
			t.Errorf("limit %d: %d items, %d different, sorted: %t", limit, len(all), len(seen), sorted)
		}
	}
	for _, bad := range []string{"x", "!!!", strings.Repeat("_", 32), strings.Repeat("A", 31), "' OR 1=1 --"} {
		if _, err := db.Tasks(t.Context(), corp.TaskFilter{}, corp.Page{Cursor: bad}); corp.KindOf(err) != corp.KindInvalid {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	if list := must(db.Tasks(t.Context(), corp.TaskFilter{}, corp.Page{Limit: -3}))(t); len(list.Items) != n {
		t.Errorf("a negative limit shows %d", len(list.Items))
	}
}

func TestABlobIsWrittenDownOnce(t *testing.T) {
	t.Parallel()
	_, _, db := door(t)
	blob := corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: corp.BlobPatch, Size: 12, SHA256: "ab"}
	made := must(db.CreateBlob(t.Context(), actor, blob))(t)
	got := must(db.Blob(t.Context(), blob.ID))(t)
	if diff := cmp.Diff(made, got); diff != "" || got.Size != 12 || got.CreatedBy != actor {
		t.Errorf("%+v %s", got, diff)
	}
	_, err := db.CreateBlob(t.Context(), actor, blob)
	wantKind(t, err, corp.KindConflict)
	_, err = db.CreateBlob(t.Context(), actor, corp.Blob{ID: corp.NewID[corp.BlobID](), Kind: "movie"})
	wantKind(t, err, corp.KindInvalid)
	_, err = db.Blob(t.Context(), corp.NewID[corp.BlobID]())
	wantKind(t, err, corp.KindNotFound)
}

func TestARunnerIsRegisteredOncePerProcessAndShownWithItsState(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	ws := env.Workspace(t)
	db, system, ctx := env.DB.In(ws), env.DB.System("test"), t.Context()
	_, err := db.RegisterRunner(ctx, actor, corp.Registration{Protocols: []int{99}, Name: "r", Instance: "i", Slots: 1})
	wantKind(t, err, corp.KindInvalid)
	own := must(db.RegisterRunner(ctx, actor, registration("one")))(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if again, err := db.RegisterRunner(ctx, actor, registration("one")); err != nil || again.ID != own.ID {
				t.Errorf("%+v, %v", again, err)
			}
		})
	}
	all.Wait()
	pool := must(system.RegisterPoolRunner(ctx, actor, registration("two")))(t)
	if again := must(system.RegisterPoolRunner(ctx, actor, registration("two")))(t); again.ID != pool.ID || !again.Pool || own.Pool {
		t.Errorf("%+v %+v", again, own)
	}
	ok(t, system.TouchRunner(ctx, own.ID, ws, 1, true))
	ok(t, system.TouchRunner(ctx, pool.ID, corp.WorkspaceID{}, 1, false))
	wantKind(t, system.TouchRunner(ctx, own.ID, corp.WorkspaceID{}, 1, false), corp.KindNotFound)
	wantKind(t, system.TouchRunner(ctx, own.ID, env.Workspace(t), 1, false), corp.KindNotFound)
	lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{}).RunID)
	env.Exec(t, `UPDATE runs SET runner_id = $1 WHERE id = $2`, own.ID, lease.RunID)
	states := func() map[corp.RunnerID]string {
		found := map[corp.RunnerID]string{}
		for _, r := range must(db.Runners(ctx, corp.Page{}))(t).Items {
			found[r.ID] = r.State
			if want := map[corp.RunnerID]int{own.ID: 1}[r.ID]; r.Leased != want {
				t.Errorf("%s holds %d, want %d", r.Name, r.Leased, want)
			}
		}
		return found
	}
	if diff := cmp.Diff(map[corp.RunnerID]string{own.ID: corp.RunnerDraining, pool.ID: corp.RunnerOnline}, states()); diff != "" {
		t.Error(diff)
	}
	if got := must(system.Counts(ctx))(t).RunnersOnline; got != 2 {
		t.Errorf("%d online", got)
	}
	env.Exec(t, `UPDATE runners SET seen_at = now() - interval '1 minute'`)
	if diff := cmp.Diff(map[corp.RunnerID]string{own.ID: corp.RunnerOffline, pool.ID: corp.RunnerOnline}, states()); diff != "" {
		t.Error(diff)
	}
}

func TestPricesAreAddedOnceAndNeverChanged(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	system, ctx := env.DB.System("test"), t.Context()
	price := corp.Price{Vendor: "anthropic", Model: "m", EffectiveFrom: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Input: 3_000_000, CacheRead: 300_000, CacheWriteShort: 3_750_000, CacheWriteLong: 6_000_000, Output: 15_000_000, ContextWindow: 200_000, MaxOutput: 64_000, Source: "test"}
	later := price
	later.EffectiveFrom = price.EffectiveFrom.AddDate(0, 6, 0)
	if n := must(system.SeedPrices(ctx, []corp.Price{price, later, price}))(t); n != 2 {
		t.Errorf("%d added", n)
	}
	cheaper := price
	cheaper.Input = 1
	if n := must(system.SeedPrices(ctx, []corp.Price{cheaper}))(t); n != 0 {
		t.Errorf("%d added", n)
	}
	all := must(system.Prices(ctx))(t)
	if len(all) != 2 || all[0].ID.IsZero() {
		t.Fatalf("%+v", all)
	}
	price.ID = all[0].ID
	if diff := cmp.Diff(price, all[0]); diff != "" {
		t.Error(diff)
	}
}
