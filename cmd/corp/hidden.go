package main

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp/runner"
	"github.com/genericcorp/corp/runner/builtin"
	"github.com/genericcorp/corp/runner/sandbox"
)

// newSandboxInit is the first process in every sandbox. A person never calls it.
func newSandboxInit() *cobra.Command {
	return &cobra.Command{
		Use: sandbox.Subcommand, Hidden: true, Args: cobra.NoArgs, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			os.Exit(sandbox.Init())
			return nil
		},
	}
}

// newAgentBuiltin is the built-in agent, as a runner starts it: ACP on standard
// input and output, its settings in the environment. A person never calls it.
func newAgentBuiltin(o *options) *cobra.Command {
	return &cobra.Command{
		Use: runner.AgentSubcommand, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := sandbox.Conceal(); err != nil { // the run key is in our environment
				return err
			}
			settings, err := runner.ReadAgentSettings(o.env.Getenv)
			if err != nil {
				return err
			}
			instructions, err := o.readText("instructions", settings.InstructionsFile)
			if err != nil {
				return err
			}
			code := builtin.Main(cmd.Context(), o.env.In, o.env.Out, o.env.Err, builtin.Config{
				BaseURL: settings.BaseURL, Key: settings.Key, Model: settings.Model, Dialect: settings.Dialect, ContextWindow: settings.ContextWindow,
				MaxTokens: settings.MaxTokens, MaxTurns: settings.MaxTurns,
				Instructions: instructions, Home: o.env.Getenv("HOME"), Env: commandEnv(o.env.Environ()), Date: time.Now(), Version: version,
			})
			if code != 0 {
				return codeError(code)
			}
			return nil
		},
	}
}

// commandEnv is what the commands that the agent runs get: all but what the
// runner told the agent itself.
func commandEnv(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return runner.IsAgentSetting(name)
	})
}
