package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/runner/sandbox"
)

func newUp(o *options) *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start PostgreSQL, the server, the gateway and a runner",
		Long: `Starts all of Generic Corp in one process, with PostgreSQL inside, until ctrl-c.

Every flag is also a variable (CORP_ and its name in capitals, dashes as
underscores) and a line in the configuration file. ANTHROPIC_API_KEY and
OPENAI_API_KEY are picked up as the providers "anthropic" and "openai" of every
workspace.`,
		Args: cobra.NoArgs,
	}
	c.flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.load(cmd.Flags(), o); err != nil {
			return err
		}
		if c.Check {
			shown := c.describe(cmd.Flags())
			for name, variable := range map[string]string{"anthropic-api-key": anthropicKeyEnv, "openai-api-key": openaiKeyEnv} {
				shown[name] = "not set"
				if o.env.Getenv(variable) != "" {
					shown[name] = "set"
				}
			}
			return printYAML(o.env.Out, shown)
		}
		return up(cmd.Context(), o, &c)
	}
	return cmd
}

// up runs everything until ctx ends.
func up(ctx context.Context, o *options, c *config) error {
	if err := c.prepareData(); err != nil {
		return err
	}
	log := newLogger(o.env.Err, c.LogFormat, c.LogLevel)
	if err := c.tryRunner(ctx); err != nil {
		return err
	}
	s, err := newServer(ctx, o, c, log)
	if err != nil {
		return err
	}
	defer s.close()
	return s.run(ctx)
}

// tryRunner says at once when the runner that would be started could not work.
func (c *config) tryRunner(ctx context.Context) error {
	if c.NoRunner || c.Sandbox == string(sandbox.None) {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	_, err = chooseSandbox(ctx, c.Sandbox, self, slog.New(slog.DiscardHandler))
	return err
}

// prepareData makes the data folder. Others may pass through it, because
// PostgreSQL runs as another user when we are root, but not look into it.
func (c *config) prepareData() error {
	if err := os.MkdirAll(c.Data, 0o711); err != nil {
		return &corp.Error{Kind: corp.KindInvalid, Field: "data", Message: "The data folder cannot be made.", Hint: "Name another with --data.", Err: err}
	}
	if err := os.MkdirAll(c.path("runner"), 0o700); err != nil {
		return fmt.Errorf("make the runner's folder: %w", err)
	}
	return nil
}

func (c *config) path(name string) string { return filepath.Join(c.Data, name) }
