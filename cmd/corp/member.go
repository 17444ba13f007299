package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

func newMember(o *options) *cobra.Command {
	remove := &cobra.Command{Use: "remove MEMBER", Short: "Take somebody, by address or id, out of the workspace, and their keys with them", Args: cobra.ExactArgs(1)}
	remove.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := o.connect()
		if err != nil {
			return err
		}
		id, err := memberID(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		if err := c.RemoveMember(cmd.Context(), id); err != nil {
			return err
		}
		return o.print(map[string]corp.UserID{"user_id": id}, func(w *tabwriter.Writer) { row(w, "Removed: "+args[0]) })
	}
	return parent("member", "See the people of the workspace, and change their roles",
		newList(o, lister[corp.Member]{
			short: "List them",
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Member], error) {
				return c.Members(ctx, p)
			},
			header:  []any{"NAME", "E-MAIL", "ROLE", "SINCE", "ID"},
			columns: func(m corp.Member) []any { return []any{m.Name, m.Email, m.Role, ago(m.CreatedAt), m.UserID} },
		}),
		newMemberRole(o),
		remove,
	)
}

// memberID finds somebody of the workspace by their address; an id is taken as it is.
func memberID(ctx context.Context, c *client.Client, text string) (corp.UserID, error) {
	if !strings.Contains(text, "@") {
		return parseArg[corp.UserID](text)
	}
	for page := (corp.Page{Limit: corp.MaxPage}); ; {
		found, err := c.Members(ctx, page)
		if err != nil {
			return corp.UserID{}, err
		}
		for _, m := range found.Items {
			if strings.EqualFold(m.Email, text) {
				return m.UserID, nil
			}
		}
		if page.Cursor = found.NextCursor; page.Cursor == "" {
			return corp.UserID{}, &corp.Error{Kind: corp.KindNotFound, Message: "Nobody here has the address " + text + ".", Hint: "\"corp member list\" shows who is here."}
		}
	}
}

func newMemberRole(o *options) *cobra.Command {
	return &cobra.Command{Use: "role MEMBER ROLE", Short: "Make somebody, by address or id, viewer, member, admin or owner", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := o.connect()
		if err != nil {
			return err
		}
		id, err := memberID(cmd.Context(), c, args[0])
		if err != nil {
			return err
		}
		m, err := c.UpdateMember(cmd.Context(), id, corp.Role(args[1]))
		if err != nil {
			return err
		}
		return o.print(m, func(w *tabwriter.Writer) { row(w, fmt.Sprintf("%s is %s now.", m.Name, m.Role)) })
	}}
}

func newInvite(o *options) *cobra.Command {
	var role string
	cmd := &cobra.Command{Use: "invite EMAIL", Short: "Ask somebody into the workspace by mail", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&role, "role", string(corp.RoleMember), "viewer, member, admin or owner; not above your own")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := o.connect()
		if err != nil {
			return err
		}
		i, err := c.Invite(cmd.Context(), client.InvitationRequest{Email: args[0], Role: corp.Role(role)})
		if err != nil {
			return err
		}
		return o.print(i, func(w *tabwriter.Writer) {
			row(w, fmt.Sprintf("A mail is on its way to %s; its link is good until %s.", i.Email, i.ExpiresAt.Format("2 January 2006")))
		})
	}
	return cmd
}

func newInvitation(o *options) *cobra.Command {
	return parent("invitation", "See and revoke invitations that are open",
		newList(o, lister[corp.Invitation]{
			short: "List them",
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Invitation], error) {
				return c.Invitations(ctx, p)
			},
			header: []any{"E-MAIL", "ROLE", "SENT", "GOOD UNTIL", "ID"},
			columns: func(i corp.Invitation) []any {
				return []any{i.Email, i.Role, ago(i.CreatedAt), i.ExpiresAt.Format("2006-01-02 15:04"), i.ID}
			},
		}),
		newChange(o, "revoke ID", "Take one back",
			func(ctx context.Context, c *client.Client, text string) (corp.Invitation, error) {
				id, err := parseArg[corp.InvitationID](text)
				if err != nil {
					return corp.Invitation{}, err
				}
				return c.RevokeInvitation(ctx, id)
			},
			func(i corp.Invitation) error {
				return o.print(i, func(w *tabwriter.Writer) { row(w, "Invitation revoked: "+i.Email) })
			}),
	)
}
