package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newKey(o *options) *cobra.Command {
	return parent("key", "Make and revoke API keys",
		newKeyCreate(o),
		newList(o, lister[corp.APIKey]{
			short: "List the keys; the keys themselves are shown once, at their making",
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.APIKey], error) {
				return c.APIKeys(ctx, p)
			},
			header: []any{"NAME", "ROLE", "KEY", "STATE", "LAST USED", "ID"},
			columns: func(k corp.APIKey) []any {
				state, used := "active", "never"
				if k.ExpiresAt != nil && k.ExpiresAt.Before(time.Now()) {
					state = "expired"
				}
				if k.RevokedAt != nil {
					state = "revoked"
				}
				if k.LastUsedAt != nil {
					used = ago(*k.LastUsedAt)
				}
				return []any{k.Name, k.Role, k.Prefix, state, used, k.ID}
			},
		}),
		newChange(o, "revoke ID", "Revoke a key at once",
			func(ctx context.Context, c *client.Client, text string) (corp.APIKey, error) {
				id, err := parseArg[corp.APIKeyID](text)
				if err != nil {
					return corp.APIKey{}, err
				}
				return c.RevokeAPIKey(ctx, id)
			},
			func(k corp.APIKey) error {
				return o.print(k, func(w *tabwriter.Writer) { row(w, "Key "+k.Name+" revoked: "+k.ID.String()) })
			}),
	)
}

// maxKeyDays is a hundred years: more is a slip, and what follows from it no date.
const maxKeyDays = 36500

func newKeyCreate(o *options) *cobra.Command {
	var role string
	var days int
	cmd := &cobra.Command{Use: "create NAME", Short: "Make a key and show it, once", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&role, "role", string(corp.RoleMember), "viewer, member, admin, owner, or runner for a runner of this workspace")
	cmd.Flags().IntVar(&days, "days", 0, "days until it expires (0: never)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if days < 0 || days > maxKeyDays {
			return usageError{corp.Invalid("days", fmt.Sprintf("A key lasts between 1 and %d days.", maxKeyDays), "Leave it out, or give 0, for one that does not expire.")}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		ask := client.APIKeyRequest{Name: args[0], Role: corp.Role(role)}
		if days > 0 {
			at := time.Now().AddDate(0, 0, days).UTC()
			ask.ExpiresAt = &at
		}
		made, err := c.CreateAPIKey(cmd.Context(), ask)
		if err != nil {
			return err
		}
		return o.print(made, func(w *tabwriter.Writer) {
			row(w, "Key "+made.APIKey.Name+" ("+string(made.APIKey.Role)+"). It is shown this once:")
			row(w, made.Key)
		})
	}
	return cmd
}

// parseArg reads an id given on the command line.
func parseArg[I corp.AnyID](text string) (I, error) {
	id, err := corp.ParseID[I](text)
	if err != nil {
		return id, usageError{err}
	}
	return id, nil
}

// parseFlag is parseArg for a flag, which the error names.
func parseFlag[I corp.AnyID](flag, text string) (I, error) {
	id, err := corp.ParseID[I](text)
	if e, ok := errors.AsType[*corp.Error](err); ok {
		return id, usageError{corp.Invalid(flag, e.Message, e.Hint)}
	}
	return id, err
}

// optionalArg is parseArg for what may be left out.
func optionalArg[I corp.AnyID](text string) (id I, err error) {
	if text == "" {
		return id, nil
	}
	return parseArg[I](text)
}

func newWhoami(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Show the server, the workspace and the role of your key", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.connect()
			if err != nil {
				return err
			}
			me, err := c.Whoami(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(me, func(w *tabwriter.Writer) {
				row(w, "server", fmt.Sprintf("%s (%s)", c.URL(), me.Version))
				row(w, "workspace", me.WorkspaceID)
				row(w, "key", me.Name)
				row(w, "role", me.Role)
			})
		},
	}
}
