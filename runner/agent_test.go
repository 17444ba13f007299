package runner_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/genericcorp/corp/runner"
	"github.com/genericcorp/corp/runner/acp"
)

// agentRole is a tiny agent: an ACP process whose prompt is its script, a
// command a line. It stands where the built-in agent stands, in the sandbox.
func agentRole() int {
	if os.Getenv(builtinRole) != "" {
		return builtinAgent()
	}
	a := &scripted{}
	a.agent = acp.NewAgent(os.Stdin, os.Stdout, 0, slog.New(slog.DiscardHandler), acp.AgentHandlers{
		Info:       acp.Implementation{Name: "scripted", Version: "1"},
		NewSession: func(_ context.Context, r acp.SessionRequest) (string, error) { return "s", os.Chdir(r.Cwd) },
		Prompt:     a.prompt,
	})
	if err := a.agent.Run(context.Background()); err != nil {
		return 1
	}
	return 0
}

type scripted struct {
	agent  *acp.Agent
	result acp.PromptResult
}

func (a *scripted) prompt(ctx context.Context, r acp.PromptRequest) (acp.PromptResult, error) {
	var text acp.Text
	if err := json.Unmarshal(r.Prompt[0], &text); err != nil {
		return acp.PromptResult{}, err
	}
	a.result = acp.PromptResult{StopReason: acp.StopEndTurn}
	lines := bufio.NewScanner(strings.NewReader(text.Text))
	for lines.Scan() && lines.Text() != "" { // what follows a blank line is for people
		if err := a.do(ctx, strings.Fields(lines.Text())); err != nil {
			return a.result, err
		}
	}
	return a.result, nil
}

func (a *scripted) update(ctx context.Context, kind, text string) error {
	return a.agent.Update(ctx, "s", map[string]any{"sessionUpdate": kind, "content": acp.TextBlock(text)})
}

func (a *scripted) do(ctx context.Context, words []string) error {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch words[0] {
	case "say":
		return a.update(ctx, "agent_message_chunk", strings.Join(words[1:], " "))
	case "stream": // many small pieces
		for i := range 300 {
			if err := a.update(ctx, "agent_message_chunk", fmt.Sprintf("piece%d ", i)); err != nil {
				return err
			}
		}
	case "chatter": // more than anybody wants to keep
		big := strings.Repeat("x", 60<<10)
		for range 40 {
			if err := a.agent.Update(ctx, "s", map[string]any{"sessionUpdate": "news", "blob": big}); err != nil {
				return err
			}
		}
	case "hostile": // text that no database takes
		return a.agent.Update(ctx, "s", map[string]any{"sessionUpdate": "tool_call", "toolCallId": "t", "title": "nul \x00 and \u2028", "status": "pending"})
	case "pid":
		return a.update(ctx, "agent_message_chunk", fmt.Sprintf("pid=%d=", os.Getpid()))
	case "env":
		return a.update(ctx, "agent_message_chunk", strings.Join(os.Environ(), "\n"))
	case "call": // the model, as the built-in agent would
		return a.call(ctx, arg(1))
	case "instructions":
		told, err := runner.ReadAgentSettings(os.Getenv)
		if err != nil || told.InstructionsFile == "" {
			return err
		}
		text, err := os.ReadFile(told.InstructionsFile)
		if err != nil {
			return err
		}
		return a.update(ctx, "agent_message_chunk", string(text))
	case "write":
		return os.WriteFile(arg(1), []byte(strings.Join(words[2:], " ")+"\n"), 0o644)
	case "fill": // the disk
		f, err := os.Create("big")
		if err != nil {
			return err
		}
		_, err = io.Copy(f, zeros{})
		if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("filled the disk and got %w", err)
		}
		return f.Close()
	case "await": // a file that the test makes, or ctx
		return await(ctx, arg(1))
	case "once": // hang the first time it is done, by a file outside
		if _, err := os.Stat(arg(1)); err == nil {
			return nil
		}
		if err := os.WriteFile(arg(1), nil, 0o644); err != nil {
			return err
		}
		return await(ctx, filepath.Join(arg(1), "never"))
	case "hang":
		return await(ctx, "/never")
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		select {}
	case "crash":
		fmt.Fprintln(os.Stderr, "the agent crashes")
		os.Exit(3)
	case "flood": // 100 MB on standard output that are no protocol
		junk := append(bytes.Repeat([]byte("junk "), 200), '\n')
		for range 100 << 20 / len(junk) {
			if _, err := os.Stdout.Write(junk); err != nil {
				return err
			}
		}
	case "ask":
		kind, err := a.agent.RequestPermission(ctx, acp.PermissionRequest{SessionID: "s", ToolCall: json.RawMessage(`{}`), Options: []acp.PermissionOption{
			{ID: "y", Name: "Yes", Kind: acp.PermissionAllowOnce}, {ID: "n", Name: "No", Kind: acp.PermissionRejectOnce},
		}})
		if err != nil {
			return err
		}
		return a.update(ctx, "agent_message_chunk", "permission "+string(kind))
	case "reason":
		meta, err := json.Marshal(map[string]any{"corp": map[string]string{"reason": arg(1), "detail": strings.Join(words[2:], " ")}})
		a.result.Meta, a.result.StopReason = meta, acp.StopRefusal
		return err
	case "stop":
		a.result.StopReason = acp.StopReason(arg(1))
	default:
		return fmt.Errorf("the test's agent does not know %q", words[0])
	}
	return nil
}

func (a *scripted) call(ctx context.Context, path string) error {
	told, err := runner.ReadAgentSettings(os.Getenv)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, told.BaseURL+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("X-Api-Key", told.Key)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return a.update(ctx, "agent_message_chunk", err.Error())
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	return a.update(ctx, "agent_message_chunk", string(text))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func await(ctx context.Context, path string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
