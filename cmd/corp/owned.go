package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/cmd/corp/stepup"
)

// ofMine is a command on one of the person's workspaces, the current one unless the
// last of at most so many arguments names another.
func (o *options) ofMine(use, short string, words int, do func(ctx context.Context, c *client.Client, m corp.Membership, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.RangeArgs(words, words+1), RunE: func(cmd *cobra.Command, args []string) error {
		c, in, err := o.connectSession()
		if err != nil {
			return err
		}
		if in == nil {
			return needsLogin()
		}
		slug := ""
		if len(args) > words {
			slug = args[words]
		}
		m, err := membership(cmd.Context(), c, slug)
		if err != nil {
			return err
		}
		return do(cmd.Context(), c, m, args)
	}}
}

// membership finds one of the person's workspaces by slug or id; "" is the current one.
func membership(ctx context.Context, c *client.Client, slug string) (corp.Membership, error) {
	me, err := c.Me(ctx)
	if err != nil {
		return corp.Membership{}, err
	}
	var current corp.WorkspaceID
	if slug == "" {
		who, err := c.Whoami(ctx)
		if err != nil {
			return corp.Membership{}, err
		}
		current = who.WorkspaceID
	}
	for _, m := range me.Workspaces {
		if slug != "" && (m.Slug == slug || m.WorkspaceID.String() == slug) || slug == "" && m.WorkspaceID == current {
			return m, nil
		}
	}
	if slug == "" {
		return corp.Membership{}, &corp.Error{Kind: corp.KindNotFound, Message: "You work in no workspace now.", Hint: "Name one; \"corp workspace list\" shows yours."}
	}
	return corp.Membership{}, &corp.Error{Kind: corp.KindNotFound, Message: fmt.Sprintf("You are in no workspace %q.", slug), Hint: "\"corp workspace list\" shows yours; name one of them."}
}

func newWorkspaceHandOver(o *options) *cobra.Command {
	again := stepup.Proof{In: o.env.In}
	cmd := o.ofMine("hand-over MEMBER [SLUG]", "Make another member, by address or id, its owner in your stead", 1,
		func(ctx context.Context, c *client.Client, m corp.Membership, args []string) error {
			heir, err := memberID(ctx, c, args[0])
			if err != nil {
				return err
			}
			if err := again.Give(ctx, c, func() error { return c.HandOverWorkspace(ctx, m.WorkspaceID, heir) }); err != nil {
				return err
			}
			return o.print(map[string]any{"workspace_id": m.WorkspaceID, "user_id": heir}, func(w *tabwriter.Writer) {
				row(w, fmt.Sprintf("%s owns %s now, and you are an admin of it.", args[0], m.Slug))
			})
		})
	again.Flag(cmd.Flags())
	return cmd
}

func newWorkspaceDelete(o *options) *cobra.Command {
	var sure string
	again := stepup.Proof{In: o.env.In}
	cmd := o.ofMine("delete [SLUG]", "Put a workspace that you own out of use, and have it deleted in seven days", 0,
		func(ctx context.Context, c *client.Client, m corp.Membership, _ []string) error {
			if sure != m.Slug {
				return usageError{corp.Invalid("yes", fmt.Sprintf("This puts %s out of use at once, for everybody in it.", m.Slug), "Say that you are sure: --yes "+m.Slug)}
			}
			var d client.Deletion
			err := again.Give(ctx, c, func() (err error) {
				d, err = c.DeleteWorkspace(ctx, m.WorkspaceID)
				return err
			})
			if err != nil {
				return err
			}
			return o.print(d, func(w *tabwriter.Writer) {
				row(w, fmt.Sprintf("%s is out of use, and is deleted on %s. Until then: corp workspace restore %s", m.Slug, d.DeleteAfter.Format("2 January 2006"), m.Slug))
			})
		})
	cmd.Flags().StringVar(&sure, "yes", "", "the workspace's `SLUG` once more, to say that you are sure")
	again.Flag(cmd.Flags())
	return cmd
}

func newWorkspaceRestore(o *options) *cobra.Command {
	return o.ofMine("restore SLUG", "Take the deletion of a workspace back", 0, func(ctx context.Context, c *client.Client, m corp.Membership, _ []string) error {
		if m.DeleteAfter == nil {
			return corp.Conflict(m.Slug+" is not being deleted.", "\"corp workspace list\" shows what is.")
		}
		if err := c.RestoreWorkspace(ctx, m.WorkspaceID); err != nil {
			return err
		}
		return o.print(m, func(w *tabwriter.Writer) { row(w, m.Slug+" is in use again.") })
	})
}
