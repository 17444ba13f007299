package incident

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Suspend is the command that puts a workspace out of use.
func (c Commands) Suspend() *cobra.Command {
	return doing(c, "suspend SLUG", "Put a workspace out of use at once, until it is resumed",
		`Refuses the workspace's keys, runners and sessions on every server, closes its streams,
hands out none of its runs and lets those in hand make no more model calls. Its people
are told so, and still see to their accounts. Nothing is deleted meanwhile, also not
what its owner has asked to be. SLUG may be the workspace's id.`, cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, args []string) (corp.Workspace, error) {
			return c.SuspendWorkspace(ctx, args[0])
		},
		func(w io.Writer, ws corp.Workspace) {
			line(w, "%s is suspended. Put it into use again with: corp workspace resume %s", ws.Slug, ws.Slug)
		})
}

// Resume is the command that puts it into use again.
func (c Commands) Resume() *cobra.Command {
	return doing(c, "resume SLUG", "Put a suspended workspace into use again",
		"Ends what \"corp workspace suspend\" began. A workspace that its owner has deleted stays\ndeleted: that is the owner's to take back.", cobra.ExactArgs(1),
		func(ctx context.Context, c *client.Client, args []string) (corp.Workspace, error) {
			return c.ResumeWorkspace(ctx, args[0])
		},
		func(w io.Writer, ws corp.Workspace) {
			if ws.ArchivedAt != nil {
				line(w, "%s is not suspended any more. Its owner has deleted it, and can restore it.", ws.Slug)
				return
			}
			line(w, "%s is in use again.", ws.Slug)
		})
}
