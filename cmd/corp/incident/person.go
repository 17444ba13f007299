package incident

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Person are the commands about people of the installation, whatever workspaces they
// are in.
func (c Commands) Person() *cobra.Command {
	cmd := &cobra.Command{Use: "person", Short: "Keep people out, let them in, sign them out (the operator)"}
	cmd.AddCommand(c.disable(), c.enable(), c.signOut())
	return cmd
}

func (c Commands) disable() *cobra.Command {
	return doing(c, "disable PERSON", "Keep somebody out",
		`Ends all sessions of somebody, refuses their own keys on every server, closes their
streams and lets them sign in no more, until they are enabled. What they made stays:
also service keys, which are their workspaces'. PERSON is an id or an e-mail address.`, cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, args []string) (corp.Person, error) {
			return c.DisablePerson(ctx, args[0])
		},
		func(w io.Writer, p corp.Person) {
			line(w, "%s (%s) is kept out: %s", p.Name, p.Email, p.ID)
			line(w, "Service keys that they made go on: corp audit list --actor %s --operation createAPIKey", p.ID)
		})
}

func (c Commands) enable() *cobra.Command {
	return doing(c, "enable PERSON", "Let somebody in again who was kept out",
		"Lets somebody sign in again, with the keys that they had. PERSON is an id or an e-mail\naddress.", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, args []string) (corp.Person, error) {
			return c.EnablePerson(ctx, args[0])
		},
		func(w io.Writer, p corp.Person) { line(w, "%s (%s) may sign in again.", p.Name, p.Email) })
}

func (c Commands) signOut() *cobra.Command {
	var all bool
	cmd := doing(c, "sign-out [PERSON]", "End all sessions of somebody, or of everybody",
		`Signs somebody out of all browsers and command lines, or everybody (--all). They may
sign in again. Keys and runners go on. PERSON is an id or an e-mail address.`, cobra.MaximumNArgs(1),
		func(ctx context.Context, server *client.Client, args []string) (corp.SignedOut, error) {
			switch {
			case all == (len(args) == 1):
				return corp.SignedOut{}, c.Usage(corp.Invalid("all", "Either one person is signed out or everybody.", "Give an id or an e-mail address, or --all."))
			case all:
				return server.SignOutEverybody(ctx)
			default:
				return server.SignOutPerson(ctx, args[0])
			}
		},
		func(w io.Writer, out corp.SignedOut) { line(w, "%d sessions have ended.", out.Sessions) })
	cmd.Flags().BoolVar(&all, "all", false, "everybody")
	return cmd
}
