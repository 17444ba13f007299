package test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/embedded"
	"github.com/genericcorp/corp/stage"
)

// steady are leases that outlive the change of a server, and a lead that moves
// within a test.
var steady = []string{
	"--lease-ttl", "12s", "--heartbeat", "1s", "--ack-within", "4s", "--lease-margin", "1s", "--poll-wait", "2s", "--leader-ttl", "2s",
	"--postgres-connections", "10", "--no-runner",
}

// fleet is two servers on one PostgreSQL, with one secret and one folder of blobs.
type fleet struct {
	t       *testing.T
	db      *embedded.Server
	servers []*server
	*client.Client
}

func startFleet(t *testing.T) *fleet {
	t.Helper()
	db, err := embedded.Start(t.Context(), embedded.Config{Dir: folder(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	f := &fleet{t: t, db: db}
	shared := folder(t)
	for range 2 {
		f.servers = append(f.servers, &server{
			t: t, data: folder(t), repos: folder(t), listen: freeAddress(t), gateway: freeAddress(t), log: new(stage.Log),
			env:  []string{"CORP_POSTGRES_URL=" + db.AppURL(), "CORP_POSTGRES_SYSTEM_URL=" + db.SystemURL(), "CORP_POSTGRES_ADMIN_URL=" + db.SuperURL("corp")},
			args: append(steady, "--secret-key-file", filepath.Join(shared, "secret.key"), "--blobs", filepath.Join(shared, "blobs")),
		})
	}
	if r := f.servers[0].corpWith(t.Context(), f.servers[0].env, "migrate"); r.code != 0 {
		t.Fatal(r.err)
	}
	var both sync.WaitGroup
	for _, s := range f.servers { // at the same moment, on an empty database
		t.Cleanup(func() {
			s.kill(syscall.SIGTERM)
			if t.Failed() {
				t.Logf("the server on %s said:\n%s", s.listen, tail(s.log.String(), 12_000))
			}
		})
		s.start()
	}
	for _, s := range f.servers {
		both.Go(s.awaitReady)
	}
	both.Wait()
	f.Client = client.New(f.urls(0), f.servers[0].key(), client.Options{Patience: 20 * time.Second})
	return f
}

// urls lists the servers, with this one first.
func (f *fleet) urls(first int) string {
	return "http://" + f.servers[first].listen + ",http://" + f.servers[1-first].listen
}

// leader returns which server leads, and which one does not.
func (f *fleet) leader() (leading, following *server) {
	f.t.Helper()
	l, err := f.servers[0].context()
	if err != nil {
		f.t.Fatal(err)
	}
	operator := client.New(f.urls(0), l.Operator, client.Options{Patience: 20 * time.Second})
	wait(f.t, "somebody to lead", func() bool {
		list, err := operator.Servers(f.t.Context(), corp.Page{})
		for _, s := range list.Items {
			for i, known := range f.servers {
				if err == nil && s.Leading && s.Address == "http://"+known.listen {
					leading, following = known, f.servers[1-i]
				}
			}
		}
		return leading != nil
	})
	return leading, following
}

// count asks the database itself, past every policy.
func (f *fleet) count(sql string) (n int) {
	f.t.Helper()
	conn, err := pgx.Connect(f.t.Context(), f.db.SuperURL("corp"))
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(f.t.Context())) }()
	if err := conn.QueryRow(f.t.Context(), sql).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// watchEvents follows all events through whichever server lives, and returns how
// to end it: with every number from the first to the last exactly once.
func (f *fleet) watchEvents() (end func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	var last atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for u, err := range f.Stream(ctx, client.StreamQuery{After: "e:0"}) {
			if err != nil {
				if ctx.Err() == nil {
					f.t.Errorf("the stream ended: %v", err)
				}
				return
			}
			if u.Event == nil || u.Event.Seq != last.Load()+1 {
				f.t.Errorf("after event %d came %+v", last.Load(), u)
				return
			}
			last.Store(u.Event.Seq)
		}
	}()
	return func() {
		newest := int64(f.count(`SELECT max(seq) FROM events`))
		wait(f.t, "the stream to have every event", func() bool {
			select {
			case <-ended:
				return true
			default:
				return last.Load() >= newest
			}
		})
		cancel()
		<-ended
		if n := last.Load(); n < newest {
			f.t.Errorf("the stream has events up to %d of %d", n, newest)
		}
	}
}

// O2, O3: whichever server is killed, paused or replaced, nothing is lost and
// nothing is done twice.
func TestTasksOutliveEveryServer(t *testing.T) {
	t.Parallel()
	const tasks = 30
	f := startFleet(t)
	v := newVendor(t, strings.NewReplacer("between: 100ms", "between: 20ms").Replace(worker))
	f.servers[0].with(v)
	f.servers[0].must("workspace", "set", "--budget", "20")
	f.servers[0].startRunnerAt(f.urls(0), "one", 3)
	two := f.servers[0].startRunnerAt(f.urls(1), "two", 3)
	end := f.watchEvents()
	ids := f.servers[0].submitMany(tasks, "Work")
	done := func(n int) {
		t.Helper()
		wait(t, "tasks to be done", func() bool {
			list, err := f.Tasks(t.Context(), client.TaskQuery{State: corp.TaskSucceeded}, corp.Page{Limit: corp.MaxPage})
			return err == nil && len(list.Items) >= n
		})
	}
	done(3)
	leading, _ := f.leader()
	leading.kill(syscall.SIGKILL)
	done(7)
	leading.up()
	leading, following := f.leader()
	all := f.Client
	f.Client = following.Client // whoever asks a paused server waits for it
	leading.pause(t, func() { done(11) })
	f.Client = all
	_, following = f.leader()
	following.kill(syscall.SIGKILL)
	done(15)
	following.up()
	if err := two.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	<-two.done
	f.servers[0].startRunnerAt(f.urls(1), "three", 3)
	for i, s := range f.servers { // a rolling restart
		done(18 + 4*i)
		s.kill(syscall.SIGTERM)
		s.up()
	}
	for _, id := range ids {
		f.doneOnce(id)
	}
	end()
	billed, _ := v.cost(t)
	totals, err := f.Usage(t.Context(), usageAll)
	if err != nil || len(totals) != 1 || totals[0].Cost < billed || totals[0].Cost > 20*corp.Dollar {
		t.Errorf("the vendor billed %v, the ledger has %+v, %v", billed, totals, err)
	}
	for _, s := range f.servers {
		s.kill(syscall.SIGTERM)
	}
	for what, sql := range map[string]string{
		"runs are not final":    `SELECT count(*) FROM runs WHERE state IN ('queued', 'leased', 'running', 'waiting')`,
		"allowances are open":   `SELECT count(*) FROM allowances WHERE closed_at IS NULL`,
		"servers did not leave": `SELECT count(*) FROM servers WHERE seen_at > now() - interval '5 seconds'`,
		"tasks more than once":  `SELECT count(*) FROM (SELECT FROM runs WHERE state = 'succeeded' GROUP BY task_id HAVING count(*) > 1) x`,
	} {
		if n := f.count(sql); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
}

// doneOnce says whether a task succeeded, in its first attempt: no runner died.
func (f *fleet) doneOnce(id corp.TaskID) {
	f.t.Helper()
	var task corp.Task
	wait(f.t, "task "+id.String()+" to be final", func() bool {
		got, err := f.Task(f.t.Context(), id)
		task = got
		return err == nil && got.State.Final()
	})
	if task.State != corp.TaskSucceeded || task.Attempts != 1 {
		f.t.Errorf("task %s is %s (%s) after %d attempts: %s", id, task.State, task.Reason, task.Attempts, task.Detail)
	}
}

// pause stops the server's process, as a machine that sleeps does, while the
// others work.
func (s *server) pause(t *testing.T, meanwhile func()) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}()
	meanwhile()
}

// M3: one budget, two gateways that do not speak to each other.
func TestTwoGatewaysNeverPassOneBudget(t *testing.T) {
	t.Parallel()
	const limit, slots = 2_000_000_000, 4 // so that neither gateway can reserve all of it
	f := startFleet(t)
	v := newVendor(t, spender)
	f.servers[0].with(v)
	f.servers[0].must("workspace", "set", "--budget", "2")
	for i := range f.servers {
		f.servers[0].startRunnerAt(f.urls(i), []string{"one", "two"}[i], slots)
	}
	wait(t, "both runners to be there", func() bool {
		list, err := f.servers[0].Runners(t.Context(), corp.Page{})
		return err == nil && len(list.Items) == 2
	})
	for _, id := range f.servers[0].submitMany(2*slots, "Spend what you can.") {
		if task := f.servers[1].awaitTask(id); task.State == corp.TaskSucceeded {
			t.Errorf("task %s succeeded: the budget stopped nothing", id)
		}
	}
	f.servers[1].checkPurse(v, limit, false)
	if n := f.count(`SELECT count(DISTINCT server_id) FROM allowances`); n != 2 {
		t.Errorf("%d gateways held a part of the budget: this proves nothing", n)
	}
}

// Two servers that do not share the secret would each refuse what the other made.
func TestAServerWithAnotherSecretDoesNotJoinAndOneWithOtherBlobsSaysSo(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	out, code := corpUp(t, f.servers[0].env...)
	if code == 0 || !strings.Contains(out, "secret") || !strings.Contains(out, "--secret-key-file") {
		t.Errorf("exit %d\n%s", code, out)
	}
	s := f.servers[1] // one with blobs of its own joins, and says what that means
	s.kill(syscall.SIGTERM)
	s.args = append(s.args, "--blobs", folder(t))
	s.up()
	if !strings.Contains(s.log.String(), "in another folder") {
		t.Errorf("it does not say that its blobs are not shared:\n%s", s.log)
	}
}
