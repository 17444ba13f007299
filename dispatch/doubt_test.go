package dispatch_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// cutter stands between a server and the database and can cut the server off,
// without the database noticing: what was sent is still carried out.
type cutter struct {
	mu      sync.Mutex
	clients []net.Conn
	until   time.Time // nobody gets through, not even to cancel what goes on
	deaf    map[net.Conn]bool
}

// newCutter returns a cutter and what its sockets are called.
func newCutter(t *testing.T, socket string) (*cutter, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cut") //nolint:usetesting // the name of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, filepath.Base(socket)))
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{}
	t.Cleanup(func() { _ = l.Close(); c.cut(); _ = os.RemoveAll(dir) })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(client, socket)
		}
	}()
	return c, dir
}

func (c *cutter) pass(client net.Conn, socket string) {
	c.mu.Lock()
	barred := time.Now().Before(c.until)
	c.mu.Unlock()
	server, err := net.Dial("unix", socket)
	if err != nil || barred {
		_ = client.Close()
		return
	}
	c.mu.Lock()
	c.clients = append(c.clients, client)
	c.mu.Unlock()
	go func() {
		_, _ = io.Copy(client, server)
		_, _ = io.Copy(io.Discard, server) // to its end, whoever hears it
		_ = client.Close()
	}()
	_, _ = io.Copy(writer(func(b []byte) (int, error) {
		c.mu.Lock()
		deaf := c.deaf[client]
		c.mu.Unlock()
		if deaf {
			return len(b), nil
		}
		return server.Write(b)
	}), client)
	time.AfterFunc(time.Second, func() { _ = server.Close() })
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// deafen makes the other end of all connections vanish: what is sent gets no
// answer any more, and nobody says so. New ones can be made.
func (c *cutter) deafen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = map[net.Conn]bool{}
	for _, client := range c.clients {
		c.deaf[client] = true
	}
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range c.clients {
		_ = client.Close()
	}
	c.clients, c.until = nil, time.Now().Add(100*time.Millisecond)
}

// through returns a connection string that leads through sockets in dir, and the
// socket that it led to.
func through(t *testing.T, raw, dir string) (string, string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	socket := filepath.Join(q.Get("host"), ".s.PGSQL."+q.Get("port"))
	q.Set("host", dir)
	u.RawQuery = q.Encode()
	return u.String(), socket
}

// The answers to claims are lost while their commits go on. Whoever took them for
// failed would lease another run beside the one that is leased in the end.
func TestAClaimWhoseEndIsNotKnownCountsUntilItIs(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	ws := w.Workspace(t)
	over := w.over(t)
	// Claims commit slowly, and look when they do.
	w.Exec(t, `
		CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			PERFORM pg_sleep(0.15);
			INSERT INTO over SELECT 'workspace ' || count(*) FROM runs WHERE state IN ('leased', 'running', 'waiting') HAVING count(*) > 1;
			RETURN NULL;
		END $$`)
	w.Exec(t, `CREATE CONSTRAINT TRIGGER dawdle AFTER UPDATE ON runs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 'leased') EXECUTE FUNCTION dawdle()`)
	one := 1
	if _, err := w.DB.In(ws).UpdateWorkspace(t.Context(), corp.ActorSystem, corp.WorkspaceUpdate{Concurrency: &one}); err != nil {
		t.Fatal(err)
	}
	const tasks = 6
	for range tasks {
		submit(t, w.DB, ws, corp.TaskSpec{})
	}
	_, socket := through(t, w.AppURL, "")
	c, dir := newCutter(t, socket)
	app, _ := through(t, w.AppURL, dir)
	system, _ := through(t, w.SystemURL, dir)
	db, err := postgres.Open(t.Context(), postgres.Config{AppURL: app, SystemURL: system})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	short := times()
	short.LeaderTTL, short.Ack = 3*time.Second, time.Second
	d := dispatch.New(db, w.ring, corp.NewID[corp.ServerID](), "", short, slog.New(slog.DiscardHandler))
	ctx, enough := context.WithTimeout(t.Context(), 5*long)
	defer enough()
	var all sync.WaitGroup
	all.Go(func() { _ = d.Run(ctx) })
	all.Go(func() { w.carryOut(ctx, ws, []*dispatch.Dispatcher{d}, 0) })
	cuts := 0
	all.Go(func() { cuts = w.cutEverySecondClaim(ctx, t, c) })
	n := int64(0)
	for n < tasks && ctx.Err() == nil {
		n = pgtest.Value[int64](t, w.Env, `SELECT count(*) FROM tasks WHERE state = 'succeeded'`)
		w.reclaim(ctx, ws)
	}
	enough()
	all.Wait()
	if n != tasks || cuts == 0 {
		t.Errorf("%d of %d tasks succeeded, %d claims were cut off", n, tasks, cuts)
	}
	if found := over(); len(found) > 0 {
		t.Errorf("over the limit: %v", found)
	}
}

// cutEverySecondClaim cuts the server off in the middle of a commit, and lets the
// next claim through: however slow the machine is, the work goes on.
func (w *world) cutEverySecondClaim(ctx context.Context, t *testing.T, c *cutter) (cuts int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for claims := 0; ; {
		select {
		case <-ctx.Done():
			return cuts
		case <-tick.C:
		}
		claim := pgtest.Value[string](t, w.Env, `SELECT coalesce(max(pid || ' ' || xact_start), '') FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`)
		if claim == "" || claim == last {
			continue
		}
		if last = claim; claims%2 == 0 {
			c.cut()
			cuts++
		}
		claims++
	}
}

// A firewall that forgets its connections, a database that moved to another
// machine: nothing ends the connections, and nothing is heard on them for long.
func TestAServerTakesTheLeadAlthoughItsConnectionsWentDeaf(t *testing.T) {
	t.Parallel()
	w := &world{Env: pgtest.Database(t), ring: newRing(t)}
	if _, won, err := w.DB.System("test").TakeLeadership(t.Context(), corp.NewID[corp.ServerID](), "", time.Hour); err != nil || !won {
		t.Fatal(won, err)
	}
	_, socket := through(t, w.AppURL, "")
	c, dir := newCutter(t, socket)
	app, _ := through(t, w.AppURL, dir)
	system, _ := through(t, w.SystemURL, dir)
	db, err := postgres.Open(t.Context(), postgres.Config{AppURL: app, SystemURL: system})
	if err != nil {
		t.Fatal(err)
	}
	short := times()
	short.LeaderTTL = 500 * time.Millisecond
	d := dispatch.New(db, w.ring, corp.NewID[corp.ServerID](), "", short, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = d.Run(ctx) })
	t.Cleanup(func() { stop(); c.cut(); running.Wait(); db.Close() })
	waitFor(t, "that it asks for the lead", func() bool {
		return pgtest.Value[bool](t, w.Env, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%INTO leaders%' AND pid <> pg_backend_pid())`)
	})
	c.deafen()
	w.Exec(t, `UPDATE leaders SET expires_at = clock_timestamp()`) // whoever led is gone
	waitFor(t, "the lead", d.Leading)
}
