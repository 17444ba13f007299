package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newWorkspace(o *options) *cobra.Command {
	return parent("workspace", "Look at a workspace, limit it, make others",
		&cobra.Command{
			Use: "show", Short: "Show the workspace of your key", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				c, err := o.connect()
				if err != nil {
					return err
				}
				ws, err := c.Workspace(cmd.Context())
				return o.showWorkspace(ws, err)
			},
		},
		newWorkspaceSet(o),
		newWorkspaceCreate(o),
		newWorkspaceList(o),
		newWorkspaceUse(o),
		newWorkspaceHandOver(o),
		newWorkspaceDelete(o),
		newWorkspaceRestore(o),
		o.incidents().Suspend(),
		o.incidents().Resume(),
	)
}

func newWorkspaceSet(o *options) *cobra.Command {
	var budget, name string
	var concurrency int
	cmd := &cobra.Command{
		Use: "set", Short: "Set the workspace's limits", Args: cobra.NoArgs,
		Long: "Sets the hard limit on the cost of all model calls of the workspace, what was spent\nbefore included, and how many of its runs are carried out at a time.",
	}
	f := cmd.Flags()
	f.StringVar(&budget, "budget", "", "dollars, or none")
	f.IntVar(&concurrency, "concurrency", 0, "runs at a time (0: unlimited)")
	f.StringVar(&name, "name", "", "its name")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var update corp.WorkspaceUpdate
		if cmd.Flags().Changed("concurrency") {
			update.Concurrency = &concurrency
		}
		if cmd.Flags().Changed("name") {
			update.Name = &name
		}
		switch budget {
		case "":
		case "none":
			update.NoBudget = true
		default:
			limit, err := corp.ParseDollars(budget)
			if err != nil {
				return usageError{err}
			}
			update.Budget = &limit
		}
		if update == (corp.WorkspaceUpdate{}) {
			return usageError{corp.Invalid("budget", "Nothing is to be set.", "Give --budget, --concurrency or --name.")}
		}
		c, err := o.connect()
		if err != nil {
			return err
		}
		ws, err := c.UpdateWorkspace(cmd.Context(), update)
		return o.showWorkspace(ws, err)
	}
	return cmd
}

func newWorkspaceCreate(o *options) *cobra.Command {
	var ask client.WorkspaceRequest
	cmd := &cobra.Command{Use: "create SLUG", Short: "Make a workspace of your own; for the operator, one with its first owner's key", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&ask.Name, "name", "", "for people (default: the slug)")
	cmd.Flags().StringVar(&ask.Plan, "plan", "", "free, starter, growth, pro, enterprise or unlimited")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ask.Slug = args[0]
		if c, in, err := o.connectSession(); err == nil && in != nil {
			return o.foundWorkspace(cmd.Context(), c, in, ask)
		}
		c, err := o.connectOperator()
		if err != nil {
			return err
		}
		made, err := c.CreateWorkspace(cmd.Context(), ask)
		if err != nil {
			return err
		}
		return o.print(made, func(w *tabwriter.Writer) {
			row(w, fmt.Sprintf("Workspace %s (%s): %s", made.Workspace.Slug, made.Workspace.Plan, made.Workspace.ID))
			row(w, "The key of its owner is shown this once:")
			row(w, made.Key)
		})
	}
	return cmd
}

func (o *options) showWorkspace(ws corp.Workspace, err error) error {
	if err != nil {
		return err
	}
	return o.print(ws, func(w *tabwriter.Writer) {
		limit, concurrency := "none", "unlimited"
		if ws.Budget != nil {
			limit = ws.Budget.String()
		}
		if ws.Concurrency > 0 {
			concurrency = fmt.Sprint(ws.Concurrency)
		}
		row(w, "workspace", ws.Slug+" ("+ws.Name+")")
		row(w, "id", ws.ID)
		row(w, "plan", ws.Plan)
		row(w, "concurrency", concurrency)
		row(w, "budget", limit)
		row(w, "spent", ws.Spent)
	})
}
