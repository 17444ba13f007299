package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/runner"
	"github.com/genericcorp/corp/runner/sandbox"
)

func newRunner(o *options) *cobra.Command {
	return parent("runner", "See the runners, or be one",
		newList(o, lister[corp.Runner]{
			short: "List the runners",
			watch: true,
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Runner], error) {
				return c.Runners(ctx, p)
			},
			header: []any{"NAME", "STATE", "RUNS", "SLOTS", "SANDBOX", "OF", "LABELS", "SEEN", "ID"},
			columns: func(r corp.Runner) []any {
				of := "workspace"
				if r.Pool {
					of = "installation"
				}
				return []any{r.Name, r.State, r.Leased, r.Slots, r.Sandbox, of, strings.Join(r.Labels, ","), ago(r.SeenAt), r.ID}
			},
		}),
		newRunnerStart(o),
	)
}

// drainGrace is how long a runner that leaves waits for its runs.
const drainGrace = 15 * time.Second

// runnerFlags are the flags of "runner start".
type runnerFlags struct {
	name, work, sandbox string
	slots               int
	labels, readOnly    []string
	env                 []string
	gitEnv              []string
	private             []string
	logFormat, logLevel string
}

func newRunnerStart(o *options) *cobra.Command {
	var r runnerFlags
	cmd := &cobra.Command{
		Use: "start --server URL[,URL] --key KEY", Short: "Carry out runs on this machine until ctrl-c", Args: cobra.NoArgs,
		Long: `Asks the server for runs and carries them out here. It needs a runner's key
("corp key create NAME --role runner") and no other credential; it only makes
outgoing connections.`,
	}
	f := cmd.Flags()
	f.StringVar(&r.name, "name", "", "its name (default: the machine's)")
	f.StringVar(&r.work, "work", "", "folder for checkouts (default: runner in the data folder)")
	f.IntVar(&r.slots, "slots", max(2, runtime.NumCPU()), "runs at a time")
	f.StringVar(&r.sandbox, "sandbox", string(sandbox.Bubblewrap), "bubblewrap, or none to run agents without protection")
	f.StringSliceVar(&r.labels, "label", nil, "what this machine has, for tasks that ask for it")
	f.StringSliceVar(&r.readOnly, "sandbox-read", nil, "folders that agents may read besides the system, such as a module cache")
	f.StringArrayVar(&r.env, "sandbox-env", nil, "NAME=value for agents and checks")
	f.StringSliceVar(&r.gitEnv, "git-env", defaultGitEnv(), gitEnvUsage)
	f.StringSliceVar(&r.private, "allow-private", nil, "private networks, addresses and hosts that git may reach, or all (default: what the server says)")
	f.StringVar(&r.logFormat, "log-format", "json", "json or text")
	f.StringVar(&r.logLevel, "log-level", "info", "debug, info, warn or error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return o.startRunner(cmd.Context(), r) }
	return cmd
}

func (o *options) startRunner(ctx context.Context, flags runnerFlags) error {
	if err := checkLog(flags.logFormat, flags.logLevel); err != nil {
		return err
	}
	if flags.slots < 1 || flags.slots > 1000 {
		return usageError{corp.Invalid("slots", "The number of slots is between 1 and 1000.", "Leave it out for one per processor, and two at least.")}
	}
	if emptyName(flags.labels) {
		return emptyLabel()
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	log := newLogger(o.env.Err, flags.logFormat, flags.logLevel)
	level, err := chooseSandbox(ctx, flags.sandbox, self, log)
	if err != nil {
		return err
	}
	if flags.name == "" {
		if flags.name, err = os.Hostname(); err != nil {
			flags.name = "runner"
		}
	}
	if flags.work == "" {
		flags.work = filepath.Join(o.dataFolder(), "runner")
	}
	r, err := runner.New(runner.Config{
		Client: c, Name: flags.name, Slots: flags.slots, Labels: flags.labels, WorkDir: absolute(flags.work), Sandbox: level,
		ReadOnly: flags.readOnly, Env: flags.env, NetworkEnv: o.pick(flags.gitEnv), Private: flags.private, Executable: self, Version: version, Logger: log, DrainGrace: drainGrace,
	})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// gitEnvUsage explains a flag of both "up" and "runner start".
const gitEnvUsage = "variables that git gets when it talks to a remote; add SSH_AUTH_SOCK only if every user of this server may use that agent's keys"

func defaultGitEnv() []string {
	return []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "GIT_SSL_CAINFO"}
}

// pick returns the variables that are set, as NAME=value.
func (o *options) pick(names []string) (pairs []string) {
	for _, name := range names {
		if value := o.env.Getenv(name); value != "" {
			pairs = append(pairs, name+"="+value)
		}
	}
	return pairs
}

// chooseSandbox never falls back by itself: to run agents without protection is
// a decision for a person.
func chooseSandbox(ctx context.Context, asked, self string, log *slog.Logger) (sandbox.Level, error) {
	level, err := sandbox.ParseLevel(asked)
	if err != nil {
		return "", usageError{err}
	}
	if level == sandbox.None {
		log.WarnContext(ctx, "agents run without a sandbox: they can read and change whatever this user can")
		return level, nil
	}
	if level, err = sandbox.Detect(ctx, self); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if e, ok := errors.AsType[*corp.Error](err); ok {
			named := *e
			named.Field = "sandbox"
			named.Hint += " Or pass --sandbox none to run agents without protection."
			return "", &named
		}
		return "", err
	}
	return level, nil
}
