// Package incident holds the operator's commands for when something has happened: a
// workspace is suspended, a person kept out, everybody signed out, keys are revoked.
// They do what they say at once, twice as well as once, and ask nothing back. How to
// reach a server, and how to print, are the command line's.
package incident

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/cmd/corp/terminal"
)

// Commands are made for one command line.
type Commands struct {
	Connect func() (*client.Client, error) // as the operator
	Print   func(value any, table func(*tabwriter.Writer)) error
	Usage   func(error) error // marks what is wrong on the command line itself
}

// doing is a command that does one thing, and says what became of it.
func doing[T any](c Commands, use, short, long string, args cobra.PositionalArgs, do func(ctx context.Context, c *client.Client, args []string) (T, error), say func(w io.Writer, done T)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short + " (the operator)", Long: long, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		server, err := c.Connect()
		if err != nil {
			return err
		}
		done, err := do(cmd.Context(), server, args)
		if err != nil {
			return err
		}
		return c.Print(done, func(w *tabwriter.Writer) { say(w, done) })
	}}
}

// line says something to a person, and nothing to their terminal.
func line(w io.Writer, form string, args ...any) {
	_, _ = fmt.Fprintln(w, terminal.OneLine(fmt.Sprintf(form, args...)))
}
