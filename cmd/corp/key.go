package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newKey(o *options) *cobra.Command {
	return parent("key", "Make and revoke API keys",
		newKeyCreate(o),
		newKeyRotate(o),
		newList(o, lister[corp.APIKey]{
			short: "List the keys; the keys themselves are shown once, at their making",
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.APIKey], error) {
				return c.APIKeys(ctx, p)
			},
			header: []any{"NAME", "ROLE", "KEY", "STATE", "ONLY FOR", "LAST USED", "ID"},
			columns: func(k corp.APIKey) []any {
				used := "never"
				if k.LastUsedAt != nil {
					used = ago(*k.LastUsedAt)
				}
				return []any{k.Name, k.Role, k.Prefix, keyState(k), onlyFor(k), used, k.ID}
			},
		}),
		o.incidents().RevokeOperator(),
		o.incidents().Revoke(newChange(o, "revoke KEY", "Revoke a key at once",
			func(ctx context.Context, c *client.Client, text string) (corp.APIKey, error) {
				id, err := parseArg[corp.APIKeyID](text)
				if err != nil {
					return corp.APIKey{}, err
				}
				return c.RevokeAPIKey(ctx, id)
			},
			func(k corp.APIKey) error {
				return o.print(k, func(w *tabwriter.Writer) { row(w, "Key "+k.Name+" revoked: "+k.ID.String()) })
			})),
	)
}

func keyState(k corp.APIKey) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked"
	case k.ExpiresAt == nil:
		return "active"
	case k.ExpiresAt.Before(time.Now()):
		return "expired"
	default:
		return "until " + k.ExpiresAt.Local().Format("2006-01-02 15:04")
	}
}

// onlyFor says how a key is narrowed.
func onlyFor(k corp.APIKey) string {
	var only []string
	for _, scope := range k.Scopes {
		only = append(only, string(scope))
	}
	return strings.Join(append(only, k.Addresses...), ",")
}

// maxKeyDays is a hundred years: more is a slip, and what follows from it no date.
const maxKeyDays = 36500

func newKeyCreate(o *options) *cobra.Command {
	ask := client.APIKeyRequest{}
	var role string
	var scopes []string
	var days int
	cmd := &cobra.Command{Use: "create NAME", Short: "Make a key and show it, once", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&role, "role", string(corp.RoleMember), "viewer, member, admin, owner, or runner for a runner of this workspace")
	cmd.Flags().BoolVar(&ask.Service, "service", false, "the workspace's own and nobody's: it outlasts whoever makes it (an admin)")
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "narrow it to actions, like task.read,task.write (default: all that the role may)")
	cmd.Flags().StringSliceVar(&ask.Addresses, "address", nil, "networks and addresses that it may be used from, like 10.0.0.0/8 (default: anywhere)")
	cmd.Flags().IntVar(&days, "days", 0, "days until it expires (0: never)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if days < 0 || days > maxKeyDays {
			return usageError{corp.Invalid("days", fmt.Sprintf("A key lasts between 1 and %d days.", maxKeyDays), "Leave it out, or give 0, for one that does not expire.")}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		ask.Name, ask.Role = args[0], corp.Role(role)
		for _, s := range scopes {
			ask.Scopes = append(ask.Scopes, corp.Action(s))
		}
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
		Use: "whoami", Short: "Show the server, who you are there, your workspace and your role", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, in, err := o.connectSession()
			if err != nil {
				return err
			}
			me, err := c.Whoami(cmd.Context())
			if err != nil {
				return err
			}
			return o.print(me, func(w *tabwriter.Writer) {
				row(w, "server", fmt.Sprintf("%s (%s)", c.URL(), me.Version))
				if !me.WorkspaceID.IsZero() {
					row(w, "workspace", slugOf(cmd.Context(), c, me.WorkspaceID))
				}
				row(w, "name", me.Name)
				row(w, "role", cmp.Or(string(me.Role), "none: you are in no workspace"))
				row(w, "via", how(in))
			})
		},
	}
}

// slugOf names the workspace for people, if it may be read.
func slugOf(ctx context.Context, c *client.Client, id corp.WorkspaceID) string {
	ws, err := c.Workspace(ctx)
	if err != nil {
		return id.String()
	}
	return ws.Slug + " (" + id.String() + ")"
}

func newKeyRotate(o *options) *cobra.Command {
	var overlap time.Duration
	cmd := &cobra.Command{Use: "rotate ID", Short: "Make a key like another one, which ends after the overlap", Args: cobra.ExactArgs(1)}
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old one goes on, at most 720h")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := parseArg[corp.APIKeyID](args[0])
		if err != nil {
			return err
		}
		if overlap < 0 || overlap > 30*24*time.Hour {
			return usageError{corp.Invalid("overlap", "The old key goes on for 0 to 720 hours.", "Leave it out for 24h.")}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		made, err := c.RotateAPIKey(cmd.Context(), id, overlap)
		if err != nil {
			return err
		}
		return o.print(made, func(w *tabwriter.Writer) {
			row(w, "The new key "+made.APIKey.Name+" ("+made.APIKey.ID.String()+") is shown this once; the old one ends in "+overlap.String()+":")
			row(w, made.Key)
		})
	}
	return cmd
}
