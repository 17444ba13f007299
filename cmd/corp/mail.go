package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/mail"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/seal"
)

func newMailCommand(o *options) *cobra.Command {
	return parent("mail", "See what the installation wrote to people",
		newList(o, lister[corp.Mail]{
			short:   "List the mails (the operator)",
			connect: o.connectOperator,
			page: func(ctx context.Context, c *client.Client, p corp.Page) (corp.List[corp.Mail], error) {
				return c.Mails(ctx, p)
			},
			header: []any{"TO", "SUBJECT", "STATE", "ATTEMPTS", "WRITTEN", "LAST ERROR", "ID"},
			columns: func(m corp.Mail) []any {
				return []any{m.To, m.Subject, m.State, m.Attempts, ago(m.CreatedAt), m.LastError, m.ID}
			},
		}),
		newMailShow(o),
	)
}

func newMailShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show MAIL", Short: "Show a mail with its text (the operator)", Args: cobra.ExactArgs(1),
		Long: `Shows what a mail says, to hand it on where there is no mail server. Its link
signs its reader in, so this is in the audit log. The text is gone once the mail is sent.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := corp.ParseID[corp.MailID](args[0])
			if err != nil {
				return usageError{err}
			}
			c, err := o.connectOperator()
			if err != nil {
				return err
			}
			m, err := c.Mail(cmd.Context(), id)
			if err != nil {
				return err
			}
			return o.print(m, func(w *tabwriter.Writer) { writeMail(w, m) })
		},
	}
}

func writeMail(w io.Writer, m corp.Mail) {
	text := m.Text
	if text == "" {
		text = "(The text is gone: the mail was sent.)\n"
	}
	_, _ = fmt.Fprintf(w, "To:      %s\nSubject: %s\nWritten: %s\nState:   %s\n\n%s", m.To, m.Subject, m.CreatedAt.Format(time.RFC3339), m.State, text)
}

// postman is the loop that sends mail, or names it in the log without a server.
func (c *config) postman(db *database, ring *seal.Ring, log *slog.Logger) *mail.Postman {
	return mail.New(mail.Config{Store: people.New(db.Door()), Ring: ring, Server: c.Edge.mail, Logger: log})
}
