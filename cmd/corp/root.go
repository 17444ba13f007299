package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// options are the flags that every command has.
type options struct {
	env     *environment
	Server  string
	Key     string
	Data    string
	Output  string
	Context string
}

func execute(ctx context.Context, env *environment, args []string) int {
	o := &options{env: env}
	root := newRoot(o)
	root.SetArgs(args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		err = inFlags(cmd, err)
		report(env.Err, err)
	}
	return exitCode(err)
}

func newRoot(o *options) *cobra.Command {
	root := &cobra.Command{
		Use:   "corp",
		Short: "Run many coding agents on real repositories, fairly, safely and within a budget",
		Long: `Generic Corp schedules coding tasks onto agents, keeps workspaces apart in the
database, counts every model call to the nanodollar and stops a run before it
overspends. "corp up" starts all of it; "corp demo" shows it.`,
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return checkOutput(o.Output) },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&o.Server, "server", "", "address of the server, or of several with commas between them (CORP_SERVER; default: the one on this machine)")
	flags.StringVar(&o.Key, "key", "", "API key (CORP_KEY; default: the local context)")
	flags.StringVar(&o.Context, "context", "", "which of the servers that you signed in to (CORP_CONTEXT; default: the current one; local: the one of this machine)")
	flags.StringVar(&o.Data, "data", "", "data folder (CORP_DATA)")
	flags.StringVarP(&o.Output, "output", "o", "table", "table, json or yaml")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(wrongFlag)
	root.AddGroup(
		&cobra.Group{ID: "start", Title: "Start:"},
		&cobra.Group{ID: "work", Title: "Work:"},
		&cobra.Group{ID: "set", Title: "Set up:"},
		&cobra.Group{ID: "look", Title: "Look:"},
	)
	group := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("start", newUp(o), newLogin(o), newLogout(o), newContext(o), newDemo(o), newMigrate(o), newVendorsim(o))
	group("work", newRun(o), newTask(o), newBatch(o), newSchedule(o), newLogs(o), newDiff(o))
	group("set", newAgent(o), newProvider(o), newPrice(o), newRepository(o), newKey(o), newWorkspace(o), newMember(o), o.incidents().Person(), newInvite(o), newInvitation(o))
	group("look", newCall(o), newUsage(o), newLimits(o), newRunner(o), newServerCommand(o), newMailCommand(o), newWhoami(o), newAudit(o))
	root.AddCommand(newSandboxInit(), newAgentBuiltin(o))
	wrapArgs(root)
	return root
}

// wrapArgs makes a wrong number of arguments, or an unknown command, a usage error.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if err == nil {
				err = errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups())
			}
			if err != nil {
				return usageError{fmt.Errorf("%w\n      Usage: %s", err, cmd.UseLine())}
			}
			return nil
		}
	}
	if c.HasSubCommands() && c.Run == nil && c.RunE == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = fmt.Sprintf(" Did you mean %q?", strings.Join(near, `" or "`))
			}
			return usageError{fmt.Errorf("there is no command %q.%s\n      See \"%s --help\"", args[0], hint, cmd.CommandPath())}
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}
