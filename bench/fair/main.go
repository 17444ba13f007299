// Command fair measures the fair queue at its size: ten thousand workspaces with a
// million queued tasks, of which one owns half. It runs the leader (package
// dispatch) on a PostgreSQL of its own and carries runs out through it: how soon it
// serves after it took over, what it holds in memory, how the slots were shared,
// and what a turn costs without and with a transaction that somebody forgot.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/bench/measure"
	"github.com/genericcorp/corp/dispatch"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/embedded"
	"github.com/genericcorp/corp/seal"
)

func main() {
	workspaces := flag.Int("workspaces", 10_000, "how many")
	tasks := flag.Int("tasks", 1_000_000, "how many are queued; the first workspace owns half")
	turns := flag.Int("turns", 6000, "runs to carry out, before and after the forgotten transaction begins")
	flag.Parse()
	if err := run(context.Background(), *workspaces, *tasks, *turns); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, workspaces, tasks, turns int) error {
	dir, err := os.MkdirTemp("", "corp-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL runs as another user
		return err
	}
	pg, err := embedded.Start(ctx, embedded.Config{Dir: dir, Durable: true})
	if err != nil {
		return err
	}
	defer func() { _ = pg.Stop(context.Background()) }()
	s := &stage{pg: pg}
	if err := s.seed(ctx, workspaces, tasks); err != nil {
		return err
	}
	if s.db, err = postgres.Open(ctx, postgres.Config{AppURL: pg.AppURL(), SystemURL: pg.SystemURL(), MaxConns: 12}); err != nil {
		return err
	}
	defer s.db.Close()
	return s.show(ctx, turns)
}

// stage is the database and the leader on it.
type stage struct {
	pg     *embedded.Server
	super  *pgx.Conn
	db     *postgres.DB
	leader *dispatch.Dispatcher
}

func (s *stage) show(ctx context.Context, turns int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ring, err := seal.New([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		return err
	}
	times := dispatch.DefaultTimes()
	times.Ack = time.Minute
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.leader = dispatch.New(s.db, ring, corp.NewID[corp.ServerID](), "", times, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	begun := time.Now()
	go func() { ended <- s.leader.Run(ctx) }()
	first, err := s.turns(ctx, 50)
	if err != nil {
		return err
	}
	fmt.Printf("| first 50 runs after the takeover began, s | %.2f |\n", time.Since(begun).Seconds()-first.wall.Seconds()/2)
	pause(ctx, 15*time.Second) // the rest of the first round through all workspaces
	runtime.GC()
	runtime.ReadMemStats(&after)
	fmt.Printf("| memory of the leader, MB | %.0f |\n", float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1e6)
	calm, err := s.turns(ctx, turns)
	if err != nil {
		return err
	}
	forgotten, err := s.forget(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = forgotten.Close(context.Background()) }()
	pinned, err := s.turns(ctx, turns)
	if err != nil {
		return err
	}
	fmt.Printf("| processor time of a whole turn (lease, offer, acknowledge, finish), us | %.0f |\n| the same with a forgotten transaction | %.0f (x %.2f) |\n", calm.each(), pinned.each(), pinned.each()/calm.each())
	s.shares(calm)
	cancel()
	return <-ended
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// forget begins a transaction that keeps every dead row alive.
func (s *stage) forget(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, s.pg.SuperURL(embedded.Database))
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM plans`)
	return conn, err
}

// round is some runs carried out.
type round struct {
	wall, cpu time.Duration
	turns     int
	mu        sync.Mutex
	of        map[corp.WorkspaceID]float64 // slot-seconds, each run at least one
}

func (r *round) each() float64 { return float64(r.cpu.Microseconds()) / float64(r.turns) }

// turns has eight runners carry out so many runs, each of them 25 at a time.
func (s *stage) turns(ctx context.Context, n int) (*round, error) {
	r := &round{turns: n, of: map[corp.WorkspaceID]float64{}}
	var left atomic.Int64
	left.Store(int64(n))
	m := measure.Start(s.pg.Pid())
	failed := make(chan error, 8)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			runner := dispatch.Runner{ID: corp.NewID[corp.RunnerID](), Name: fmt.Sprint(i), Runtimes: []string{corp.RuntimeBuiltin}}
			for seq := int64(1); left.Load() > 0; seq++ {
				if err := s.carryOut(ctx, runner, seq, &left, r); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	r.wall, r.cpu = m.Stop()
	select {
	case err := <-failed:
		return nil, err
	default:
		return r, nil
	}
}

func (s *stage) carryOut(ctx context.Context, runner dispatch.Runner, seq int64, left *atomic.Int64, r *round) error {
	answer, err := s.leader.Poll(ctx, runner, corp.Poll{Seq: seq, Free: 25, WaitMS: 1000})
	if err != nil && corp.KindOf(err) == corp.KindUnavailable {
		pause(ctx, 50*time.Millisecond) // it does not lead yet
		return nil
	}
	leased := time.Now()
	for _, offer := range answer.Offers {
		ws := s.workspaceOf(ctx, offer.RunID)
		db := s.db.In(ws)
		if err := db.AckRun(ctx, offer.RunID, offer.Epoch); err != nil {
			return err
		}
		if _, err := db.FinishRun(ctx, offer.RunID, offer.Epoch, corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}); err != nil {
			return err
		}
		s.leader.Finished(ws, offer.RunID)
		left.Add(-1)
		r.mu.Lock()
		r.of[ws] += max(1, time.Since(leased).Seconds())
		r.mu.Unlock()
	}
	return err
}
