package incident

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// thisOne is how a command is told that the key it uses is meant.
func thisOne(cmd *cobra.Command, into *bool) {
	cmd.Flags().BoolVar(into, "this-one", false, "also the operator's key that you use")
}

// Revoke gives the command that revokes a key of one's workspace the flags by which the
// operator revokes one of any.
func (c Commands) Revoke(ours *cobra.Command) *cobra.Command {
	var anywhere, this bool
	theirs := doing(c, "", "", "", nil, func(ctx context.Context, c *client.Client, args []string) (corp.RevokedKeys, error) {
		return c.RevokeAnyKey(ctx, args[0], this)
	}, revoked)
	own := ours.RunE
	ours.Long = `Revokes a key of your workspace, by its id. With --installation the operator revokes a key
of any workspace, a runner's, or one of the operator's own: by its id, or by what is shown
of it, like gc_live_AbCd…wxyz (three dots will do). If two look alike, both are revoked.`
	ours.Flags().BoolVar(&anywhere, "installation", false, "of any workspace, or of the installation's own (the operator)")
	thisOne(ours, &this)
	ours.RunE = func(cmd *cobra.Command, args []string) error {
		if anywhere {
			return theirs.RunE(cmd, args)
		}
		if this {
			return c.Usage(corp.Invalid("this-one", "That is for keys of the installation.", "Add --installation."))
		}
		return own(cmd, args)
	}
	return ours
}

// RevokeOperator is the command that ends the installation's own keys.
func (c Commands) RevokeOperator() *cobra.Command {
	var runners, this bool
	var name string
	cmd := doing(c, "revoke-operator", "Revoke the operator's other keys, but for the one that you use",
		`Revokes all keys of the operator at once, on every server, but for the one that you use.
With --this-one that, too: the next start of a server on a machine with its data folder
makes another. With --runners, those of the runners that "corp up" starts beside itself:
they get another at the next start.`, cobra.NoArgs,
		func(ctx context.Context, server *client.Client, _ []string) (corp.RevokedKeys, error) {
			switch {
			case runners && this:
				return corp.RevokedKeys{}, c.Usage(corp.Invalid("this-one", "The key that you use is no runner's.", "Leave --this-one out, or --runners."))
			case runners:
				return server.RevokeOperatorKeys(ctx, corp.RoleRunner, name, false)
			default:
				return server.RevokeOperatorKeys(ctx, corp.RoleOperator, name, this)
			}
		}, revoked)
	cmd.Flags().BoolVar(&runners, "runners", false, "the runners' of the installation instead")
	cmd.Flags().StringVar(&name, "name", "", "only those of this name, which says what made them")
	thisOne(cmd, &this)
	return cmd
}

func revoked(w io.Writer, gone corp.RevokedKeys) {
	if len(gone.Keys) == 0 {
		line(w, "There was none to revoke.")
	}
	for _, k := range gone.Keys {
		of := "the installation's"
		if !k.WorkspaceID.IsZero() {
			of = "of " + k.WorkspaceID.String()
		}
		line(w, "Key %s (%s, %s, %s) revoked: %s", k.Name, k.Role, k.Prefix, of, k.ID)
	}
}

// RotateSigning is the command by which another key signs access tokens.
func (c Commands) RotateSigning() *cobra.Command {
	var gently bool
	type rotated struct {
		Rotated bool `json:"rotated"`
	}
	cmd := doing(c, "rotate-signing-keys", "Have another key sign access tokens from now on",
		`Makes another key for access tokens, on all servers, and throws the others away: tokens
that they signed are refused at once, and command lines get new ones by themselves. With
--gently such tokens go on until their ten minutes are over, which is for a key that was
not stolen. Who is signed in stays so; see "corp person sign-out --all".`, cobra.NoArgs,
		func(ctx context.Context, c *client.Client, _ []string) (rotated, error) {
			return rotated{true}, c.RotateSigningKeys(ctx, gently)
		},
		func(w io.Writer, _ rotated) { line(w, "Another key signs access tokens now.") })
	cmd.Flags().BoolVar(&gently, "gently", false, "let tokens of the old keys go on until their time is over")
	return cmd
}
