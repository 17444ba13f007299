package api

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// BenchmarkATaskOverHTTP takes tasks through their life as clients and runners
// do: submit, poll, acknowledge, finish. Beside the time it reports the processor
// time of a task: of this process (client and server together) and PostgreSQL's.
func BenchmarkATaskOverHTTP(b *testing.B) {
	for _, slots := range []int{1, 16} {
		b.Run(fmt.Sprintf("slots=%d", slots), func(b *testing.B) { benchmarkTasks(b, slots) })
	}
}

func benchmarkTasks(b *testing.B, slots int) {
	b.Helper()
	const clients = 8
	h := build(b.Context(), b, pgtest.Database(b), b.TempDir())
	o := h.office(b)
	runner := o.runner()
	registered, err := runner.Register(b.Context(), corp.Registration{Protocols: []int{corp.ProtocolVersion}, Name: "bench", Instance: "bench-instance", Slots: slots * clients, Runtimes: []string{corp.RuntimeBuiltin}, Sandbox: "none", Version: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	submitter, polls := o.owner(), int64(0)
	load := func(n int) {
		var work sync.WaitGroup
		left := atomic.Int64{}
		left.Store(int64(n))
		for range clients {
			work.Go(func() {
				for left.Add(-1) >= 0 {
					if _, err := submitter.SubmitTask(b.Context(), corp.TaskSpec{Prompt: "x", RepositoryURL: "https://example.com/x.git"}, ""); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		carryOut(b, runner, registered.RunnerID, slots*clients, n, &polls)
		work.Wait()
	}
	// Tables that were empty a moment ago are not what a server works with: within a
	// minute PostgreSQL knows them, and plans anew.
	load(500)
	h.env.Exec(b, `ANALYZE`)
	server := serverCPU(b, h.env)
	b.ResetTimer()
	mine, its := processCPU(b), server()
	load(b.N)
	b.StopTimer()
	b.ReportMetric(float64((processCPU(b)-mine).Microseconds())/float64(b.N), "go-cpu-us/task")
	b.ReportMetric(float64((server()-its).Microseconds())/float64(b.N), "pg-cpu-us/task")
	h.server.CloseClientConnections()
}

// carryOut polls for runs and ends each at once, until n are done.
func carryOut(b *testing.B, runner *client.Client, id corp.RunnerID, slots, n int, polls *int64) {
	b.Helper()
	var busy sync.WaitGroup
	free := atomic.Int64{}
	free.Store(int64(slots))
	for done := 0; done < n; {
		*polls++
		answer, err := runner.Poll(b.Context(), id, corp.Poll{Seq: *polls, Free: int(max(free.Load(), 1)), WaitMS: 1000})
		if err != nil {
			b.Error(err)
			return
		}
		done += len(answer.Offers)
		for _, offer := range answer.Offers {
			free.Add(-1)
			busy.Go(func() {
				defer free.Add(1)
				if err := end(b.Context(), runner, offer); err != nil {
					b.Error(err)
				}
			})
		}
	}
	busy.Wait()
}

func end(ctx context.Context, runner *client.Client, offer corp.Offer) error {
	if err := runner.Ack(ctx, offer.Lease); err != nil {
		return err
	}
	_, err := runner.Finish(ctx, corp.Finish{Lease: offer.Lease, Outcome: corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted}})
	return err
}

func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverCPU returns a function that reads how much processor time PostgreSQL, all
// its processes together, has had.
func serverCPU(b *testing.B, env *pgtest.Env) func() time.Duration {
	b.Helper()
	top := pgtest.Value[string](b, env, `SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)`)
	return func() (sum time.Duration) {
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			b.Fatal(err)
		}
		for _, name := range stats {
			text, err := os.ReadFile(name)
			if err != nil {
				continue // gone meanwhile
			}
			sum += cpuOf(string(bytes.TrimSpace(text)), top)
		}
		return sum
	}
}

// cpuOf reads a line of /proc/PID/stat; it counts for the postmaster, with its
// children that have ended, and for its children.
func cpuOf(stat, top string) time.Duration {
	const tick = 10 * time.Millisecond
	pid, rest, _ := strings.Cut(stat, " (")
	fields := strings.Fields(rest[strings.LastIndex(rest, ")")+1:])
	if len(fields) < 15 || pid != top && fields[1] != top {
		return 0
	}
	last := 13 // utime, stime
	if pid == top {
		last = 15 // cutime, cstime
	}
	var sum int64
	for _, f := range fields[11:last] {
		n, _ := strconv.ParseInt(f, 10, 64)
		sum += n
	}
	return time.Duration(sum) * tick
}
