package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newAgent(o *options) *cobra.Command {
	return parent("agent", "Define the agents that carry tasks out",
		newAgentCreate(o, "create NAME", "Define an agent", func(ctx context.Context, c *client.Client, s corp.AgentSpec) (corp.Agent, error) {
			return c.CreateAgent(ctx, s)
		}),
		newAgentCreate(o, "update NAME", "Change an agent: a new version; earlier tasks keep theirs", func(ctx context.Context, c *client.Client, s corp.AgentSpec) (corp.Agent, error) {
			return c.UpdateAgent(ctx, s.Name, s)
		}),
		newList(o, lister[corp.Agent]{
			short: "List the agents",
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Agent], error) {
				return c.Agents(ctx, p)
			},
			header:  []any{"NAME", "VERSION", "RUNTIME", "MODEL", "ID", "CREATED"},
			columns: func(a corp.Agent) []any { return []any{a.Name, a.Version, a.Runtime, a.Model, a.ID, ago(a.CreatedAt)} },
		}),
		newChange(o, "archive NAME", "Retire an agent; its tasks stay",
			func(ctx context.Context, c *client.Client, name string) (corp.Agent, error) {
				return c.ArchiveAgent(ctx, name)
			},
			func(a corp.Agent) error { return o.showAgent(a, "archived", nil) }),
	)
}

func newAgentCreate(o *options, use, short string, save func(context.Context, *client.Client, corp.AgentSpec) (corp.Agent, error)) *cobra.Command {
	var spec corp.AgentSpec
	var file string
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1)}
	f := cmd.Flags()
	f.StringVar(&spec.Model, "model", "", "PROVIDER/MODEL, like anthropic/claude-sonnet-4-5")
	f.StringVar(&file, "instructions", "", "file with the agent's persona and rules (- for standard input)")
	f.StringVar(&spec.Runtime, "runtime", corp.RuntimeBuiltin, "what carries the agent out")
	f.IntVar(&spec.MaxTurns, "max-turns", 0, "model calls in one run (0: the default)")
	f.IntVar(&spec.MaxTokens, "max-tokens", 0, "output tokens of one model call (0: the default)")
	_ = cmd.MarkFlagRequired("model")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		spec.Name = args[0]
		if _, _, ok := corp.SplitModel(spec.Model); !ok {
			return usageError{corp.Invalid("model", fmt.Sprintf("%q does not name a provider and a model.", spec.Model), "Write PROVIDER/MODEL, like anthropic/claude-sonnet-4-5; \"corp provider list\" shows the providers.")}
		}
		var err error
		if spec.Instructions, err = o.readText("instructions", file); err != nil {
			return err
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		a, err := save(cmd.Context(), c, spec)
		return o.showAgent(a, "saved", err)
	}
	return cmd
}

func (o *options) showAgent(a corp.Agent, done string, err error) error {
	if err != nil {
		return err
	}
	return o.print(a, func(w *tabwriter.Writer) {
		row(w, fmt.Sprintf("Agent %s (version %d, %s) %s: %s", a.Name, a.Version, a.Model, done, a.ID))
	})
}

// readText reads the file that a flag names; "-" is standard input and "" is empty.
func (o *options) readText(field, file string) (string, error) {
	var b []byte
	var err error
	switch file {
	case "":
		return "", nil
	case "-":
		b, err = io.ReadAll(o.env.In)
	default:
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return "", usageError{&corp.Error{Kind: corp.KindInvalid, Field: field, Message: "The file cannot be read.", Hint: "Check its name.", Err: err}}
	}
	return string(b), nil
}
