package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/client/contexts"
)

// newWorkspaceList lists a person's workspaces, or the operator's: all.
func newWorkspaceList(o *options) *cobra.Command {
	all := newList(o, lister[corp.Workspace]{
		short:   "List your workspaces; for the operator, all of the installation",
		connect: o.connectOperator,
		page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Workspace], error) {
			return c.Workspaces(ctx, p)
		},
		header: []any{"SLUG", "NAME", "PLAN", "CONCURRENCY", "STATE", "ID"},
		columns: func(ws corp.Workspace) []any {
			return []any{ws.Slug, ws.Name, ws.Plan, ws.Concurrency, stateOf(ws.ArchivedAt, ws.SuspendedAt), ws.ID}
		},
	})
	operators := all.RunE
	all.RunE = func(cmd *cobra.Command, args []string) error {
		c, in, err := o.connectSession()
		if err != nil || in == nil {
			return operators(cmd, args)
		}
		me, err := c.Me(cmd.Context())
		if err != nil {
			return err
		}
		who, err := c.Whoami(cmd.Context())
		if err != nil {
			return err
		}
		return o.print(me.Workspaces, func(w *tabwriter.Writer) {
			row(w, "SLUG", "NAME", "ROLE", "STATE", "CURRENT", "ID")
			for _, m := range me.Workspaces {
				current := ""
				if m.WorkspaceID == who.WorkspaceID {
					current = "yes"
				}
				row(w, m.Slug, m.Name, m.Role, stateOf(m.DeleteAfter, m.SuspendedAt), current, m.WorkspaceID)
			}
		})
	}
	return all
}

func stateOf(deleted, suspended *time.Time) string {
	switch {
	case suspended != nil:
		return "suspended"
	case deleted != nil:
		return "deleted"
	default:
		return "in use"
	}
}

func newWorkspaceUse(o *options) *cobra.Command {
	return &cobra.Command{Use: "use SLUG", Short: "Work in another one of your workspaces", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		c, in, err := o.connectSession()
		if err != nil {
			return err
		}
		if in == nil {
			return needsLogin()
		}
		m, err := membership(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		if err := workIn(cmd.Context(), c, in, m.WorkspaceID); err != nil {
			return err
		}
		return o.print(m, func(w *tabwriter.Writer) { row(w, fmt.Sprintf("You work in %s now, as %s.", m.Slug, m.Role)) })
	}}
}

// workIn switches the session, whose access token is another one from then on.
func workIn(ctx context.Context, c *client.Client, in *contexts.Session, ws corp.WorkspaceID) error {
	fresh, err := c.WorkIn(ctx, ws)
	if err != nil {
		return err
	}
	return in.Store(fresh.Access, fresh.ExpiresIn)
}

func needsLogin() error {
	return &corp.Error{Kind: corp.KindForbidden, Message: "A key works in its own workspace.", Hint: "Sign in as a person: corp login."}
}

// foundWorkspace makes a workspace of a person's own, and works in it.
func (o *options) foundWorkspace(ctx context.Context, c *client.Client, in *contexts.Session, ask client.WorkspaceRequest) error {
	if ask.Plan != "" {
		return usageError{corp.Invalid("plan", "The plan of a workspace is the operator's to choose.", "Leave it out.")}
	}
	ws, err := c.FoundWorkspace(ctx, client.MyWorkspaceRequest{Slug: ask.Slug, Name: ask.Name})
	if err != nil {
		return err
	}
	if err := workIn(ctx, c, in, ws.ID); err != nil {
		return err
	}
	return o.print(ws, func(w *tabwriter.Writer) {
		row(w, fmt.Sprintf("Workspace %s (%s): %s. You own it, and work in it now.", ws.Slug, ws.Plan, ws.ID))
	})
}
