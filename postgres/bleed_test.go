package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// T2, T3: a hundred at once, in two workspaces, on two connections,
// some of whom give up or fail at any moment, never see each other's rows.
// Attack case 23. Control: a quarter of the operations at least succeed and show their own rows.
func TestNothingBleedsThroughSharedConnections(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	bleed(t, env, postgres.Config{AppURL: env.AppURL, SystemURL: env.SystemURL, MaxConns: 2})
}

// The same where PgBouncer gives each transaction whatever connection is free.
// Attack case 23. Control: a quarter of the operations at least succeed and show their own rows.
func TestNothingBleedsThroughPgBouncer(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	through := bouncer(t, env)
	bleed(t, env, postgres.Config{AppURL: through(env.AppURL), SystemURL: through(env.SystemURL), ListenURL: env.AppURL, MaxConns: 20})
}

func bleed(t *testing.T, env *pgtest.Env, c postgres.Config) {
	t.Helper()
	db, err := postgres.Open(t.Context(), c)
	ok(t, err)
	defer db.Close()
	const people = 100
	var spaces [2]corp.WorkspaceID
	for i := range spaces {
		spaces[i] = env.Workspace(t)
		_, err := env.DB.In(spaces[i]).CreateAPIKey(t.Context(), actor, corp.APIKey{Name: canaryOf(spaces[i]), Role: corp.RoleViewer}, secretHash())
		ok(t, err)
	}
	var left, done, gaveUp, refused atomic.Int64
	left.Store(bleedOperations)
	var all sync.WaitGroup
	for i := range people {
		mine, theirs := spaces[i%2], spaces[(i+1)%2]
		all.Go(func() {
			for left.Add(-1) >= 0 {
				switch err := operate(t, db, mine, theirs); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
					gaveUp.Add(1)
				default:
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d operations: %d done, %d given up, %d refused", bleedOperations, done.Load(), gaveUp.Load(), refused.Load())
	if done.Load() < bleedOperations/4 || gaveUp.Load() == 0 || refused.Load() == 0 {
		t.Error("the mixture proves little: too few were done, given up or refused")
	}
	for i, ws := range spaces {
		if n := pgtest.Value[int](t, env, `SELECT count(*) FROM api_keys WHERE workspace_id = $1 AND name <> $2`, ws, canaryOf(ws)); n != 0 {
			t.Errorf("%d keys of workspace %d's are the other's", n, i)
		}
		if n := pgtest.Value[int](t, env, `SELECT count(*) FROM events WHERE workspace_id = $1 AND data::text LIKE '%' || $2 || '%'`, ws, canaryOf(spaces[1-i])); n != 0 {
			t.Errorf("%d events of workspace %d's tell of the other's", n, i)
		}
		gapless := pgtest.Value[bool](t, env, `SELECT count(*) = max(seq) FROM events WHERE workspace_id = $1`, ws)
		if !gapless {
			t.Errorf("the events of workspace %d have a gap", i)
		}
	}
}

func canaryOf(ws corp.WorkspaceID) string { return "canary-" + ws.UUID() }

// operate does one thing in a workspace, perhaps not to its end. What goes wrong in
// the way that it should is an error; what shows another workspace fails the test.
func operate(t *testing.T, db *postgres.DB, mine, theirs corp.WorkspaceID) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if rand.N(4) == 0 {
		timer := time.AfterFunc(rand.N(3*time.Millisecond), cancel)
		defer timer.Stop()
	}
	in := db.In(mine)
	foreign := func(what, shown string) {
		if strings.Contains(shown, theirs.UUID()) || strings.Contains(shown, theirs.String()) {
			t.Errorf("%s of %s shows %s", what, mine, shown)
		}
	}
	switch rand.N(6) {
	case 0:
		ws, err := in.Workspace(ctx)
		if err == nil && ws.ID != mine {
			t.Errorf("%s is taken for %s", mine, ws.ID)
		}
		return err
	case 1:
		keys, err := in.APIKeys(ctx, corp.UserID{}, corp.Page{Limit: 50})
		foreign("a list", fmt.Sprint(keys))
		if err == nil && len(keys.Items) == 0 {
			t.Errorf("%s sees none of its own", mine)
		}
		return err
	case 2:
		made, err := in.CreateAPIKey(ctx, actor, corp.APIKey{Name: canaryOf(mine), Role: corp.RoleViewer}, secretHash())
		foreign("what was made", fmt.Sprint(made))
		return err
	case 3:
		_, err := in.UpdateWorkspace(ctx, actor, corp.WorkspaceUpdate{Name: new(canaryOf(mine))})
		return err
	case 4: // fails in the middle of its transaction
		_, err := in.CreateAgent(ctx, actor, corp.AgentSpec{Name: "default", Model: "a/b"})
		return err
	default:
		events, err := in.Events(ctx, 0, 20)
		for _, e := range events {
			foreign("an event", string(e.Data))
		}
		return err
	}
}

// admit has the database believe another of the machine's users who says to be one of
// the server's roles.
func admit(t *testing.T, env *pgtest.Env, uid uint32) {
	t.Helper()
	who, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	ok(t, err)
	file, err := os.OpenFile(pgtest.Value[string](t, env, `SHOW ident_file`), os.O_APPEND|os.O_WRONLY, 0)
	ok(t, err)
	_, err = fmt.Fprintf(file, "corp %s corp_app\ncorp %s corp_system\n", who.Username, who.Username)
	ok(t, errors.Join(err, file.Close()))
	env.Exec(t, `SELECT pg_reload_conf()`)
}

// bouncer starts PgBouncer in transaction mode, with two connections for each role,
// in front of a database, and returns how a connection string goes through it.
func bouncer(t *testing.T, env *pgtest.Env) func(string) string {
	t.Helper()
	program := "/usr/sbin/pgbouncer"
	if path, err := exec.LookPath("pgbouncer"); err == nil {
		program = path
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatal("this test needs PgBouncer: run scripts/setup, or install the package pgbouncer")
	}
	direct, err := url.Parse(env.AppURL)
	ok(t, err)
	socket := direct.Query().Get("host")
	info, err := os.Stat(socket)
	ok(t, err)
	owner := info.Sys().(*syscall.Stat_t)    //nolint:forcetypeassert // of a file on Linux
	dir, err := os.MkdirTemp("", "bouncer-") //nolint:usetesting // PostgreSQL's user must reach it
	ok(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	ok(t, err)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	ok(t, os.WriteFile(filepath.Join(dir, "users"), []byte("\"corp_app\" \"\"\n\"corp_system\" \"\"\n"), 0o644))
	ok(t, os.WriteFile(filepath.Join(dir, "ini"), fmt.Appendf(nil, "[databases]\n* = host=%s port=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\nunix_socket_dir =\nauth_type = trust\nauth_file = %s/users\npool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 200\nignore_startup_parameters = extra_float_digits\n",
		socket, direct.Query().Get("port"), port, dir), 0o644))
	ok(t, os.Chmod(dir, 0o755))
	cmd := exec.Command(program, filepath.Join(dir, "ini"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 { // it refuses to run as root
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}
		admit(t, env, owner.Uid)
	}
	said, err := os.Create(filepath.Join(dir, "log"))
	ok(t, err)
	cmd.Stdout, cmd.Stderr = said, said
	ok(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	through := func(text string) string {
		u, err := url.Parse(text)
		ok(t, err)
		// Without prepared statements by name: one that a connection has, another has not.
		u.Host, u.RawQuery = "127.0.0.1:"+port, "sslmode=disable&default_query_exec_mode=cache_describe"
		return u.String()
	}
	pgtest.Eventually(t, 20*time.Second, "PgBouncer to answer", func(ctx context.Context) bool {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return through
}
