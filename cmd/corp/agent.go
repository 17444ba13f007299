package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newAgent(o *options) *cobra.Command {
	return parent("agent", "Define the agents that carry tasks out",
		newAgentCreate(o),
		newAgentUpdate(o),
		newList(o, lister[corp.Agent]{
			short: "List the agents",
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Agent], error) {
				return c.Agents(ctx, p)
			},
			header: []any{"NAME", "VERSION", "RUNTIME", "MODEL", "AT A TIME", "ID", "CREATED"},
			columns: func(a corp.Agent) []any {
				return []any{a.Name, a.Version, a.Runtime, a.Model, atATime(a.Concurrency), a.ID, ago(a.CreatedAt)}
			},
		}),
		newChange(o, "archive NAME", "Retire an agent; its tasks stay",
			func(ctx context.Context, c *client.Client, name string) (corp.Agent, error) {
				return c.ArchiveAgent(ctx, name)
			},
			func(a corp.Agent) error { return o.showAgent(a, "archived", nil) }),
	)
}

// agentFlags are what can be said of an agent.
type agentFlags struct {
	spec        corp.AgentSpec
	file        string
	concurrency int
}

func (a *agentFlags) add(f *pflag.FlagSet) {
	f.StringVar(&a.spec.Model, "model", "", "PROVIDER/MODEL, like anthropic/claude-sonnet-4-5")
	f.StringVar(&a.file, "instructions", "", "file with the agent's persona and rules (- for standard input)")
	f.StringVar(&a.spec.Runtime, "runtime", corp.RuntimeBuiltin, "what carries the agent out")
	f.IntVar(&a.spec.MaxTurns, "max-turns", 0, "model calls in one run (0: the default)")
	f.IntVar(&a.concurrency, "concurrency", 0, "runs of it at a time (0: no limit of its own)")
	f.IntVar(&a.spec.MaxTokens, "max-tokens", 0, "output tokens of one model call (0: the default)")
}

// read completes and checks what the flags said.
func (a *agentFlags) read(o *options) (err error) {
	if _, _, ok := corp.SplitModel(a.spec.Model); !ok && a.spec.Model != "" {
		return usageError{corp.Invalid("model", fmt.Sprintf("%q does not name a provider and a model.", a.spec.Model), "Write PROVIDER/MODEL, like anthropic/claude-sonnet-4-5; \"corp provider list\" shows the providers.")}
	}
	for flag, n := range map[string]int{"max-turns": a.spec.MaxTurns, "concurrency": a.concurrency, "max-tokens": a.spec.MaxTokens} {
		if n < 0 {
			return usageError{corp.Invalid(flag, "The number is not negative.", "Leave it out, or give 0, for the default.")}
		}
	}
	a.spec.Instructions, err = o.readText("instructions", a.file)
	return err
}

func newAgentCreate(o *options) *cobra.Command {
	var flags agentFlags
	cmd := &cobra.Command{Use: "create NAME", Short: "Define an agent", Args: cobra.ExactArgs(1)}
	flags.add(cmd.Flags())
	_ = cmd.MarkFlagRequired("model")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := flags.read(o); err != nil {
			return err
		}
		flags.spec.Name = args[0]
		c, err := o.connect()
		if err != nil {
			return err
		}
		a, err := c.CreateAgent(cmd.Context(), flags.spec)
		if err == nil && flags.concurrency > 0 {
			a, err = c.LimitAgent(cmd.Context(), a.Name, flags.concurrency)
		}
		return o.showAgent(a, "saved", err)
	}
	return cmd
}

func newAgentUpdate(o *options) *cobra.Command {
	var flags agentFlags
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change an agent: a new version; earlier tasks keep theirs", Args: cobra.ExactArgs(1),
		Long: "Makes a new version of an agent. What no flag names stays as it is.",
	}
	flags.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := flags.read(o); err != nil {
			return err
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		now, err := c.Agent(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		spec := now.AgentSpec
		for flag, take := range map[string]func(){
			"model":        func() { spec.Model = flags.spec.Model },
			"instructions": func() { spec.Instructions = flags.spec.Instructions },
			"runtime":      func() { spec.Runtime = flags.spec.Runtime },
			"max-turns":    func() { spec.MaxTurns = flags.spec.MaxTurns },
			"max-tokens":   func() { spec.MaxTokens = flags.spec.MaxTokens },
		} {
			if cmd.Flags().Changed(flag) {
				take()
			}
		}
		a := now
		if spec != now.AgentSpec {
			a, err = c.UpdateAgent(cmd.Context(), now.Name, spec)
		}
		if err == nil && cmd.Flags().Changed("concurrency") {
			a, err = c.LimitAgent(cmd.Context(), now.ID.String(), flags.concurrency)
		}
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

// atATime shows a limit of runs.
func atATime(limit int) string {
	if limit == 0 {
		return "any"
	}
	return strconv.Itoa(limit)
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
