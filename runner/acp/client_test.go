package acp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
)

// talk connects a client to an agent. end closes the client and waits for both.
func talk(t *testing.T, options ClientOptions, do func(*Agent) AgentHandlers) (*Client, func()) {
	t.Helper()
	ar, cw := io.Pipe()
	cr, aw := io.Pipe()
	agent := NewAgent(ar, aw, 0, quiet(), AgentHandlers{})
	agent.do = do(agent)
	options.Logger = quiet()
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(context.Background()) }()
	client := Start(context.Background(), cr, cw, options)
	return client, func() {
		client.Close()
		if err := <-ended; err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the agent's side ended with %v", err)
		}
	}
}

func TestATurnPassesEveryUpdateRawAndUnknownKindsUnchanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sent := []string{
			`{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"a <b> & c"}}`,
			`{"sessionUpdate":"notice","title":"x","deep":{"un":["known",1.50,null]}}`,
			`{"no_kind":true}`,
		}
		var got []string
		var kinds []string
		client, end := talk(t, ClientOptions{
			Info:     Implementation{Name: "corp", Version: "1"},
			OnUpdate: func(u Update) { got = append(got, string(u.Raw)); kinds = append(kinds, u.Kind) },
		}, func(a *Agent) AgentHandlers {
			return AgentHandlers{
				Info:       Implementation{Name: "agent", Version: "2"},
				NewSession: func(_ context.Context, r SessionRequest) (string, error) { return "s:" + r.Cwd, nil },
				Prompt: func(ctx context.Context, p PromptRequest) (PromptResult, error) {
					for _, u := range sent {
						if err := a.Update(ctx, p.SessionID, json.RawMessage(u)); err != nil {
							return PromptResult{}, err
						}
					}
					return PromptResult{StopReason: StopEndTurn, Meta: json.RawMessage(`{"corp":{"reason":"budget"}}`)}, nil
				},
			}
		})
		defer end()
		if _, err := client.Initialize(t.Context()); err != nil { //nolint:misspell // the protocol's own word
			t.Fatal(err)
		}
		if err := client.Authenticate(t.Context(), "any"); err != nil {
			t.Fatal(err)
		}
		session, err := client.NewSession(t.Context(), "/corp/checkout", nil)
		if err != nil || session.SessionID != "s:/corp/checkout" {
			t.Fatalf("NewSession = %+v, %v", session, err)
		}
		result, err := client.Prompt(t.Context(), session.SessionID, "go")
		if err != nil || result.StopReason != StopEndTurn || string(result.Meta) != `{"corp":{"reason":"budget"}}` {
			t.Fatalf("Prompt = %+v, %v", result, err)
		}
		if diff := cmp.Diff(sent, got); diff != "" {
			t.Errorf("updates (-sent +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"agent_message_chunk", "notice", ""}, kinds); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheAnswerToARequestForPermissionIsChosenByKindAndNeverWider(t *testing.T) {
	t.Parallel()
	all := []PermissionOption{{ID: "1", Kind: PermissionAllowAlways}, {ID: "2", Kind: PermissionAllowOnce}, {ID: "3", Kind: PermissionRejectAlways}, {ID: "4", Kind: PermissionRejectOnce}}
	for _, c := range []struct {
		want    PermissionKind
		options []PermissionOption
		got     PermissionKind
	}{
		{PermissionAllowOnce, all, PermissionAllowOnce},
		{PermissionAllowAlways, all, PermissionAllowAlways},
		{PermissionRejectOnce, all, PermissionRejectOnce},
		{PermissionRejectAlways, all, PermissionRejectAlways},
		{PermissionCancelled, all, PermissionCancelled},
		{PermissionAllowOnce, all[:1], PermissionCancelled},
		{PermissionAllowAlways, all[1:2], PermissionAllowOnce},
		{PermissionRejectOnce, all[:3], PermissionRejectAlways},
		{PermissionRejectAlways, all[3:], PermissionRejectOnce},
		{PermissionRejectOnce, all[:2], PermissionCancelled},
		{PermissionAllowOnce, nil, PermissionCancelled},
		{"invented", all, PermissionCancelled},
	} {
		t.Run(fmt.Sprintf("%s of %d", c.want, len(c.options)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var got PermissionKind
				client, end := talk(t, ClientOptions{
					OnPermission: func(_ context.Context, p PermissionRequest) PermissionKind {
						if string(p.ToolCall) != `{"toolCallId":"t","title":"rm"}` {
							t.Errorf("tool call = %s", p.ToolCall)
						}
						return c.want
					},
				}, func(a *Agent) AgentHandlers {
					return AgentHandlers{Prompt: func(ctx context.Context, p PromptRequest) (PromptResult, error) {
						var err error
						got, err = a.RequestPermission(ctx, PermissionRequest{SessionID: p.SessionID, ToolCall: json.RawMessage(`{"toolCallId":"t","title":"rm"}`), Options: c.options})
						return PromptResult{StopReason: StopEndTurn}, err
					}}
				})
				defer end()
				if _, err := client.Prompt(t.Context(), "s", "go"); err != nil {
					t.Fatal(err)
				}
				if got != c.got {
					t.Errorf("the agent was answered %q, want %q", got, c.got)
				}
			})
		})
	}
}

func TestCancelEndsTheTurnAndAnswersWaitingPermissionsAsCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan struct{})
		var kind PermissionKind = "unset"
		client, end := talk(t, ClientOptions{
			OnPermission: func(ctx context.Context, _ PermissionRequest) PermissionKind {
				close(asked)
				<-ctx.Done()
				return PermissionAllowOnce // too late
			},
		}, func(a *Agent) AgentHandlers {
			return AgentHandlers{Prompt: func(ctx context.Context, p PromptRequest) (PromptResult, error) {
				var err error
				kind, err = a.RequestPermission(context.WithoutCancel(ctx), PermissionRequest{SessionID: p.SessionID, Options: []PermissionOption{{ID: "1", Kind: PermissionAllowOnce}}})
				<-ctx.Done()
				return PromptResult{}, err
			}}
		})
		defer end()
		result := make(chan *PromptResult, 1)
		go func() {
			r, err := client.Prompt(t.Context(), "s", "go")
			if err != nil {
				t.Error(err)
			}
			result <- r
		}()
		<-asked
		if err := client.Cancel(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		if r := <-result; r.StopReason != StopCancelled {
			t.Errorf("stop reason = %s", r.StopReason)
		}
		if kind != PermissionCancelled {
			t.Errorf("permission = %q, want cancelled", kind)
		}
	})
}

func TestACancelThatFollowsThePromptAtOnceIsNotLost(t *testing.T) {
	t.Parallel()
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			input := `{"jsonrpc":"2.0","id":1,"method":"session/prompt","params":{"sessionId":"s","prompt":[]}}` + "\n" +
				`{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":"s"}}` + "\n"
			in, peer := io.Pipe()
			out, w := io.Pipe()
			agent := NewAgent(in, w, 0, quiet(), AgentHandlers{Prompt: func(ctx context.Context, _ PromptRequest) (PromptResult, error) {
				<-ctx.Done()
				return PromptResult{}, ctx.Err()
			}})
			ended := make(chan error, 1)
			go func() { ended <- agent.Run(t.Context()) }()
			_, _ = io.WriteString(peer, input)
			buf := make([]byte, 1024)
			n, err := out.Read(buf)
			if err != nil || !strings.Contains(string(buf[:n]), `"stopReason":"cancelled"`) {
				t.Errorf("answer = %s, %v", buf[:n], err)
			}
			_ = peer.Close()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASessionHasOneTurnAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, end := talk(t, ClientOptions{}, func(*Agent) AgentHandlers {
			return AgentHandlers{Prompt: func(ctx context.Context, p PromptRequest) (PromptResult, error) {
				if p.SessionID == "other" {
					return PromptResult{StopReason: StopEndTurn}, nil
				}
				<-ctx.Done()
				return PromptResult{}, ctx.Err()
			}}
		})
		defer end()
		first := make(chan error, 1)
		go func() { _, err := client.Prompt(t.Context(), "s", "one"); first <- err }()
		synctest.Wait()
		_, err := client.Prompt(t.Context(), "s", "two")
		if e, ok := errors.AsType[*RPCError](err); !ok || e.Code != CodeInvalidRequest {
			t.Errorf("second turn = %v, want refused", err)
		}
		if _, err := client.Prompt(t.Context(), "other", "two"); err != nil {
			t.Errorf("another session = %v", err)
		}
		if err := client.Cancel(t.Context(), "s"); err != nil {
			t.Error(err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

func TestAPromptWhoseContextEndsCancelsTheAgentsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stopped := make(chan struct{})
		client, end := talk(t, ClientOptions{}, func(*Agent) AgentHandlers {
			return AgentHandlers{Prompt: func(ctx context.Context, _ PromptRequest) (PromptResult, error) {
				<-ctx.Done()
				close(stopped)
				return PromptResult{}, nil
			}}
		})
		defer end()
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { _, err := client.Prompt(ctx, "s", "go"); result <- err }()
		synctest.Wait()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("Prompt = %v", err)
		}
		<-stopped
	})
}

// fake answers each line that the client sends with the given lines.
func fake(t *testing.T, reply func(line string) string, options ClientOptions) *Client {
	t.Helper()
	fromClient, cw := io.Pipe()
	cr, toClient := io.Pipe()
	go func() {
		defer func() { _ = toClient.Close() }()
		for l := newLines(fromClient, 1<<20, func([]byte) {}); ; {
			line, err := l.next()
			if err != nil {
				return
			}
			if _, err := io.WriteString(toClient, reply(string(line))); err != nil {
				return
			}
		}
	}()
	options.Logger = quiet()
	return Start(context.Background(), cr, cw, options)
}

func TestAnAgentOfAnotherProtocolVersionIsRefusedWithASentence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sent string
		client := fake(t, func(line string) string {
			sent = line
			return `{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":2,"agentCapabilities":null,"new":true}}` + "\n"
		}, ClientOptions{Info: Implementation{Name: "corp", Version: "v"}})
		defer client.Close()
		_, err := client.Initialize(t.Context()) //nolint:misspell // the protocol's own word
		if e, ok := errors.AsType[*corp.Error](err); !ok || e.Field != "protocolVersion" || !strings.Contains(e.Message, "version 2") {
			t.Errorf("Initialize = %v", err) //nolint:misspell // the protocol's own word
		}
		want := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"clientCapabilities":{"fs":{"readTextFile":false,"writeTextFile":false},"terminal":false},"clientInfo":{"name":"corp","version":"v"},"protocolVersion":1}}` //nolint:misspell // the protocol's own word
		if sent != want {
			t.Errorf("sent %s\nwant %s", sent, want)
		}
	})
}

func TestAnAgentThatCallsForFilesItWasNotOfferedIsRefusedAndGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var refused string
		client := fake(t, func(line string) string {
			if strings.Contains(line, `"session/prompt"`) {
				return `{"jsonrpc":"2.0","id":"w1","method":"fs/write_text_file","params":{}}` + "\n"
			}
			refused = line
			return `{"jsonrpc":"2.0","id":1,"result":{"stopReason":"end_turn","usage":{"x":1}}}` + "\n"
		}, ClientOptions{})
		defer client.Close()
		result, err := client.Prompt(t.Context(), "s", "go")
		if err != nil || string(result.Raw) != `{"stopReason":"end_turn","usage":{"x":1}}` {
			t.Errorf("Prompt = %+v, %v", result, err)
		}
		if !strings.Contains(refused, `"id":"w1","error":{"code":-32601`) {
			t.Errorf("the agent was answered %s", refused)
		}
	})
}

func TestMalformedAnswersAreErrorsAndNeverAHang(t *testing.T) {
	t.Parallel()
	for _, result := range []string{`"result":[]`, `"result":null`, `"result":{"sessionId":""}`, `"result":{"sessionId":7}`, `"x":1`, `"error":{"code":-32000,"message":"Authentication required"}`} {
		synctest.Test(t, func(t *testing.T) {
			client := fake(t, func(string) string { return `{"jsonrpc":"2.0","id":1,` + result + "}\n" }, ClientOptions{})
			defer client.Close()
			if s, err := client.NewSession(t.Context(), "/x", []MCPServer{{Name: "team", URL: "http://127.0.0.1:1/"}}); err == nil {
				t.Errorf("%s gave the session %+v", result, s)
			}
		})
	}
}

func TestLoadSessionIsRefusedByAnAgentThatKeepsNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, end := talk(t, ClientOptions{}, func(*Agent) AgentHandlers { return AgentHandlers{} })
		defer end()
		err := client.LoadSession(t.Context(), "s", "/x", nil)
		if e, ok := errors.AsType[*RPCError](err); !ok || e.Code != CodeMethodNotFound {
			t.Errorf("LoadSession = %v", err)
		}
		if err := client.SetMode(t.Context(), "s", "ask"); err == nil {
			t.Error("SetMode succeeded on an agent without modes")
		}
	})
}
