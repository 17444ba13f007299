package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/acp"
	"github.com/genericcorp/corp/runner/sandbox"
)

const (
	agentStart = time.Minute     // until the agent has a session
	agentLeave = 3 * time.Second // for an agent to end when nobody talks to it any more
	agentSays  = 16 << 10        // of its error stream, kept for the log
)

// agent is the agent's process and the conversation with it.
type agent struct {
	run     *run
	process *sandbox.Process
	client  *acp.Client
	session string
	stderr  *sandbox.Capped
	stdin   io.Closer
	stdout  io.Closer
}

// work has the agent do the task. It returns success when the agent says that
// it is done, which proves nothing yet.
func (run *run) work(base string) corp.Outcome {
	profile, closeGateway, err := run.profile()
	if err != nil {
		return run.failure(err, sandboxOr(err, corp.ReasonInternal))
	}
	defer closeGateway()
	a, err := run.startAgent(profile, run.fetchSteps(run.active, base))
	if err != nil {
		return run.failure(err, sandboxOr(err, corp.ReasonAgentFailed))
	}
	result, err := a.prompt(run.task())
	exit := a.end()
	if s := run.halted(); s != nil {
		return run.failed(s.reason, s.sentence())
	}
	if err != nil {
		run.logger.WarnContext(run.held, "the agent failed", slog.Any("error", err), slog.String("exit", exit), slog.String("stderr", a.stderr.String()))
		return run.failed(corp.ReasonAgentFailed, fmt.Sprintf("The agent's process ended before its work was done (%s).", exit))
	}
	return run.claim(result)
}

// claim reads how the agent says that it ended.
func (run *run) claim(result *acp.PromptResult) corp.Outcome {
	var meta struct {
		Corp struct {
			Reason corp.Reason `json:"reason"`
			Detail string      `json:"detail"`
		} `json:"corp"`
	}
	if result.Meta != nil {
		_ = json.Unmarshal(result.Meta, &meta) // an agent that says it in no way we know says nothing
	}
	if meta.Corp.Reason != corp.ReasonNone {
		return run.failed(known(meta.Corp.Reason), meta.Corp.Detail)
	}
	switch result.StopReason {
	case acp.StopEndTurn:
		return corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted, Detail: "The agent finished.", Sandbox: string(run.Sandbox)}
	case acp.StopMaxTokens, acp.StopMaxTurns:
		return run.failed(corp.ReasonStepLimit, "The agent used up its steps before it was done. Give it more turns or a smaller task.")
	case acp.StopRefusal:
		return run.failed(corp.ReasonRefused, "The model declined the task.")
	default:
		return run.failed(corp.ReasonAgentFailed, fmt.Sprintf("The agent ended its turn with %q.", cut(string(result.StopReason), 100)))
	}
}

// known keeps to the closed list of reasons that an agent may give.
func known(reason corp.Reason) corp.Reason {
	switch reason {
	case corp.ReasonBudget, corp.ReasonStepLimit, corp.ReasonRefused, corp.ReasonModelUnknown, corp.ReasonProviderKey,
		corp.ReasonProviderRejected, corp.ReasonProviderDown, corp.ReasonDiskFull:
		return reason
	default:
		return corp.ReasonAgentFailed
	}
}

// profile is what the agent's process may touch, and the way out that it has.
func (run *run) profile() (p sandbox.Profile, closeGateway func(), err error) {
	p = run.bareProfile()
	upstream := run.agreed().GatewayURL
	closeGateway = func() {}
	if run.Sandbox != sandbox.None {
		if closeGateway, err = run.openGateway(); err != nil {
			return p, nil, err
		}
		p.Gateway = run.folder.Socket()
	}
	settings := agentSettings(run.offer, p.GatewayURL(upstream))
	if run.offer.Agent.Instructions != "" {
		file := filepath.Join(run.folder.Home(), "instructions.md")
		// In the sandbox another user reads it; on the host the folder above is closed.
		if err := os.WriteFile(file, []byte(run.offer.Agent.Instructions), 0o644); err != nil { //nolint:gosec // see above
			closeGateway()
			return p, nil, fmt.Errorf("write instructions: %w", err)
		}
		settings.InstructionsFile = p.Inside(file)
	}
	p.Env = append(p.Env, settings.Env()...)
	return p, closeGateway, nil
}

// bareProfile is what agents and checks have in common: no way out.
func (run *run) bareProfile() sandbox.Profile {
	return sandbox.Profile{
		Level: run.Sandbox, Binary: run.Executable,
		Checkout: run.folder.Checkout(), Home: run.folder.Home(), Tmp: run.folder.Tmp(),
		ReadOnly: run.ReadOnly, Limits: run.Limits,
		Env: append([]string{"LANG=C.UTF-8", "CI=true"}, run.Env...),
	}
}

// startAgent starts the process and opens a session with it.
func (run *run) startAgent(profile sandbox.Profile, saved *steps) (_ *agent, err error) {
	program := run.Executable
	if profile.Level != sandbox.None {
		program = sandbox.BinaryPath
	}
	a := &agent{run: run, stderr: sandbox.NewCapped(agentSays/2, agentSays/2)}
	if a.process, err = sandbox.Command(run.held, profile, program, AgentSubcommand); err != nil {
		return nil, err
	}
	stdin, err := a.process.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := a.process.StdoutPipe()
	if err != nil {
		_ = stdin.Close()
		return nil, err
	}
	a.stdin, a.stdout, a.process.Stderr = stdin, stdout, a.stderr
	if err := a.process.Start(); err != nil {
		_, _ = stdin.Close(), stdout.Close()
		return nil, err
	}
	a.client = acp.Start(run.held, stdout, stdin, acp.ClientOptions{
		Info:     acp.Implementation{Name: "corp-runner", Version: firstOf(run.Version, "dev")},
		OnUpdate: a.hear, OnPermission: allow, Logger: run.logger,
		Extensions: map[string]acp.RequestHandler{methodStep: saved.take},
	})
	if err := a.open(profile, saved); err != nil {
		exit := a.end()
		run.logger.WarnContext(run.held, "the agent did not start", slog.String("exit", exit), slog.String("stderr", a.stderr.String()))
		return nil, &corp.Error{Kind: corp.KindUnavailable, Message: fmt.Sprintf("The agent did not start (%s).", exit), Hint: "The runner's log has what it printed.", Err: err}
	}
	return a, nil
}

func (a *agent) open(profile sandbox.Profile, saved *steps) error {
	ctx, cancel := context.WithTimeout(a.run.active, agentStart)
	defer cancel()
	said, err := a.client.Initialize(ctx) //nolint:misspell // the protocol's own word
	if err != nil {
		return err
	}
	journal, err := saved.handover(said.AgentCapabilities.Meta)
	if err != nil {
		return err
	}
	session, err := a.client.NewSessionWith(ctx, profile.Inside(profile.Checkout), nil, journal)
	if err != nil {
		return err
	}
	a.session = session.SessionID
	return nil
}

// hear takes an update into the transcript. It runs on the connection's
// goroutine, so it keeps a fault of its own to itself.
func (a *agent) hear(u acp.Update) {
	defer func() {
		if fault := recover(); fault != nil {
			a.run.logger.ErrorContext(a.run.held, "an update could not be taken in", slog.Any("fault", fault))
		}
	}()
	a.run.story.add(sayings(u))
}

// allow is the answer to an agent that asks before it acts: the sandbox is what
// bounds it, and nobody is asked yet.
func allow(context.Context, acp.PermissionRequest) acp.PermissionKind {
	return acp.PermissionAllowOnce
}

// prompt runs the one turn. When the run is to stop, the agent is asked to end
// it and given the grace time.
func (a *agent) prompt(text string) (*acp.PromptResult, error) {
	type answer struct {
		result *acp.PromptResult
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		result, err := a.client.Prompt(a.run.held, a.session, text)
		answered <- answer{result, err}
	}()
	select {
	case got := <-answered:
		return got.result, got.err
	case <-a.run.active.Done():
	}
	s := a.run.halted()
	if s == nil || s.grace <= 0 {
		return nil, context.Cause(a.run.active)
	}
	ctx, cancel := context.WithTimeout(a.run.held, s.grace)
	defer cancel()
	if err := a.client.Cancel(ctx, a.session); err != nil {
		return nil, err
	}
	select {
	case got := <-answered:
		return got.result, got.err
	case <-ctx.Done():
		return nil, errors.New("the agent did not end when it was told to")
	}
}

// end sees to it that the agent and all its children are gone, and says how the
// process ended. Stopping comes before the connection is closed: its reader may
// be waiting for a server that is away.
func (a *agent) end() string {
	grace := agentLeave
	if a.run.halted() != nil {
		grace = agentLeave / 10 // it had its time
	}
	_ = a.stdin.Close() // tells a well-behaved agent to leave
	a.process.Stop(grace)
	exit, err := a.process.Wait()
	a.client.Close()
	_ = a.stdout.Close()
	if err != nil {
		return err.Error()
	}
	return exit.String()
}

// openGateway opens the sandbox's way out.
func (run *run) openGateway() (func(), error) {
	gateway, err := sandbox.OpenGateway(run.folder.Socket(), run.ways, run.logger)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(run.held)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := gateway.Run(ctx); err != nil {
			run.logger.WarnContext(ctx, "the sandbox's way out broke", slog.Any("error", err))
		}
	}()
	return func() { cancel(); <-served }, nil
}

// task is what the agent is told.
func (run *run) task() string {
	prompt := run.offer.Spec.Prompt
	if check := run.offer.Spec.Check; check != "" {
		prompt += "\n\nWhen you are done this command must exit with 0 in the checkout; it is run without a network:\n" + strings.TrimSpace(check)
	}
	return prompt
}
