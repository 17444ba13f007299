// Package runner is the far side: a process that asks the server for runs and
// carries them out. For each run it fetches the code into a folder of its own,
// starts the agent in a sandbox and speaks ACP with it, reports what it does,
// checks and delivers what it made, and cleans up.
//
// It knows the server by HTTP only and holds no database credential. It lives by
// its leases: a run whose lease the server takes away, or does not renew in
// time, is killed at once and not reported on. It believes no agent: a run has
// succeeded when there is a change and the check passes.
//
// It decides neither what to run next nor what becomes of a task.
package runner

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/runner/sandbox"
)

// The defaults of a Config.
const (
	DefaultSlots      = 4
	DefaultDrainGrace = 20 * time.Second
)

// Config says what a runner is and what it works with.
type Config struct {
	Client     *client.Client // signed in with a runner's key
	Name       string         // for people; need not be unique
	Slots      int            // runs at a time; 0 means DefaultSlots
	Labels     []string       // what tasks may ask for
	WorkDir    string         // absolute; nobody else writes there; made if missing
	Sandbox    sandbox.Level
	ReadOnly   []string       // host paths that agents and checks may read, such as a module cache
	Env        []string       // NAME=value, what the operator gives to agents and checks
	Limits     sandbox.Limits // of one agent or check
	NetworkEnv []string       // NAME=value for git when it talks to a remote: a proxy, certificates, an SSH agent; never in a sandbox
	Private    []string       // private networks, addresses and hosts that git may reach; nil is what the server says
	Executable string         // absolute path of the corp binary: the first process in each sandbox, and the built-in agent
	Version    string
	DrainGrace time.Duration // how long runs may go on once the runner is told to leave; 0 means DefaultDrainGrace
	Logger     *slog.Logger
}

func (c Config) check() error {
	switch {
	case c.Client == nil || c.Logger == nil:
		return errors.New("a runner needs a client and a logger")
	case c.Name == "":
		return corp.Invalid("name", "The runner has no name.", "Give it one, for instance the machine's.")
	case c.Slots < 1 || c.Slots > 1000:
		return corp.Invalid("slots", "A runner carries out between 1 and 1,000 runs at a time.", "Choose a number in between.")
	case !filepath.IsAbs(c.WorkDir):
		return corp.Invalid("work_dir", "The runner's work folder is not an absolute path.", "Give the whole path.")
	case !filepath.IsAbs(c.Executable):
		return corp.Invalid("executable", "The path of the corp binary is not absolute.", "Give the whole path.")
	default:
		if err := new(outbound.Policy).ParsePrivate("allow-private", c.Private); err != nil {
			return err
		}
		_, err := sandbox.ParseLevel(string(c.Sandbox))
		return err
	}
}

// Runner is one process's work for a server.
type Runner struct {
	Config
	instance string        // random per process
	ways     *sandbox.Ways // to the servers' gateways, for all runs

	mu    sync.Mutex
	leave context.CancelFunc // take nothing new
	terms terms
	runs  map[corp.RunID]*run
	freed chan struct{} // a slot has become free
}

// terms is what the server said at registration.
type terms struct {
	corp.Registered
	outbound                       outbound.Policy // where remotes may be
	pollWait, ack, heartbeat, life time.Duration   // life: how long a lease lives here without a good beat
}

// New makes a runner. Errors say what is wrong with the configuration.
func New(c Config) (*Runner, error) {
	if c.Slots == 0 {
		c.Slots = DefaultSlots
	}
	if c.DrainGrace == 0 {
		c.DrainGrace = DefaultDrainGrace
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	r := &Runner{Config: c, instance: rand.Text(), leave: func() {}, runs: map[corp.RunID]*run{}, freed: make(chan struct{}, 1)}
	r.ways = sandbox.NewWays(r.lookForGateways)
	return r, nil
}

// Run serves until ctx ends or the server says that the runner should leave;
// then it takes nothing new, gives its runs DrainGrace to finish, returns the
// rest to the queue, and returns nil. It waits for a server that cannot be
// reached, also at the start. It returns an error when it can never work: the
// key is not a runner's, the protocols do not meet, the work folder is taken.
func (r *Runner) Run(ctx context.Context) error {
	unlock, err := r.takeFolder(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // told to leave while the folder was another's
	case err != nil:
		return err
	}
	defer unlock()
	taking, leave := context.WithCancel(ctx)
	defer leave()
	r.leave = leave
	// What runs goes on after ctx: it is drained and not dropped.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if err := r.register(taking); err != nil || taking.Err() != nil {
		return err
	}
	var beats sync.WaitGroup
	beats.Go(func() { r.beat(life, taking) })
	beats.Go(func() { r.ways.Watch(life, r.agreed().heartbeat) })
	err = r.takeRuns(taking, life)
	leave()
	r.drain(life)
	end()
	beats.Wait()
	return err
}

// drain waits for the runs in hand, and gives the rest back when the grace is over.
func (r *Runner) drain(ctx context.Context) {
	runs := r.inHand()
	if len(runs) > 0 {
		r.Logger.InfoContext(ctx, "finishing runs before leaving", slog.Int("runs", len(runs)), slog.String("grace", r.DrainGrace.String()))
	}
	grace := time.AfterFunc(r.DrainGrace, func() {
		for _, run := range runs {
			run.giveBack("Its runner had to leave.")
		}
	})
	defer grace.Stop()
	for _, run := range runs {
		<-run.done
	}
}

func (r *Runner) inHand() []*run {
	r.mu.Lock()
	defer r.mu.Unlock()
	runs := make([]*run, 0, len(r.runs))
	for _, run := range r.runs {
		runs = append(runs, run)
	}
	return runs
}

func (r *Runner) agreed() terms {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.terms
}

// register introduces the runner, waiting for a server that cannot be reached,
// or until ctx ends.
func (r *Runner) register(ctx context.Context) error {
	var pause pause
	for said := false; ; {
		err := r.registerOnce(ctx)
		switch {
		case err == nil:
			return nil
		case !passing(err) && ctx.Err() == nil:
			return fmt.Errorf("register runner: %w", err)
		case !said:
			said = true
			r.Logger.WarnContext(ctx, "the server cannot be reached; trying again until it can", slog.String("server", r.Client.URL()), slog.Any("error", err))
		}
		if !pause.wait(ctx) {
			return nil
		}
	}
}

// registerOnce introduces the runner. The same process stays the same runner.
func (r *Runner) registerOnce(ctx context.Context) error {
	registered, err := r.Client.Register(ctx, corp.Registration{
		Protocols: []int{corp.ProtocolVersion}, Name: r.Name, Instance: r.instance, Slots: r.Slots, Labels: r.Labels,
		Runtimes: []string{corp.RuntimeBuiltin}, Sandbox: string(r.Sandbox), Version: r.Version,
	})
	if err != nil {
		return err
	}
	if err := r.accept(registered); err != nil {
		return err
	}
	r.Logger.InfoContext(ctx, "registered", slog.String("runner_id", registered.RunnerID.String()), slog.Int("slots", r.Slots), slog.String("sandbox", string(r.Sandbox)))
	return nil
}

// lookForGateways asks the server that can be reached now for gateways, when none
// of the known ones can.
func (r *Runner) lookForGateways() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.registerOnce(ctx); err != nil {
		r.Logger.WarnContext(ctx, "no gateway can be reached, and no server names another", slog.Any("error", err))
	}
}

// accept takes over the server's terms, if both speak the same protocol.
func (r *Runner) accept(a corp.Registered) error {
	if a.Protocol != corp.ProtocolVersion {
		return &corp.Error{
			Kind: corp.KindInvalid, Code: "protocol", Field: "protocols",
			Message: fmt.Sprintf("The server speaks version %d of the runner protocol, this runner version %d.", a.Protocol, corp.ProtocolVersion),
			Hint:    "Install the same version of corp on both.",
		}
	}
	t := terms{
		Registered: a, pollWait: milliseconds(a.PollWaitMS), ack: milliseconds(a.AckMS),
		heartbeat: milliseconds(a.HeartbeatMS), life: milliseconds(a.TTLMS - a.MarginMS),
	}
	if t.heartbeat <= 0 || t.life <= t.heartbeat || t.ack <= 0 {
		return &corp.Error{Kind: corp.KindInvalid, Code: "times", Message: "The server's lease times make no sense: a lease ends before it can be renewed.", Hint: "On the server, set the lease's TTL to at least three heartbeats plus the margin."}
	}
	private := r.Private
	if private == nil {
		private = a.AllowPrivate
	}
	if err := t.outbound.ParsePrivate("allow-private", private); err != nil {
		return err
	}
	gateways := a.GatewayURLs
	if len(gateways) == 0 { // an older server
		gateways = []string{a.GatewayURL}
	}
	if err := r.ways.Set(gateways); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.terms = t
	return nil
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
