package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newServerCommand(o *options) *cobra.Command {
	return parent("server", "See the servers of the installation",
		newList(o, lister[corp.Server]{
			short:   "List the servers (the operator)",
			connect: o.connectOperator,
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Server], error) {
				return c.Servers(ctx, p)
			},
			header: []any{"ADDRESS", "STATE", "LEADS", "VERSION", "GATEWAY", "STARTED", "SEEN", "ID"},
			columns: func(s corp.Server) []any {
				leads := ""
				if s.Leading {
					leads = "yes"
				}
				return []any{s.Address, s.State, leads, s.Version, s.Gateway, ago(s.StartedAt), ago(s.SeenAt), s.ID}
			},
		}),
		o.incidents().RotateSigning(),
	)
}
