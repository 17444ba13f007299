package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/client"
)

func newAudit(o *options) *cobra.Command {
	return parent("audit", "See who did what, and prove that nobody changed the record",
		newAuditList(o), newAuditExport(o), newAuditVerify(o), newAuditCheckpoint(o), newAuditErase(o))
}

// auditSource is whose log a command is about.
type auditSource struct {
	o            *options
	installation bool
}

func (s *auditSource) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.installation, "installation", false, "the log of what happens outside a workspace (the operator)")
}

func (s *auditSource) connect() (*client.Client, error) {
	if s.installation {
		return s.o.connectOperator()
	}
	return s.o.connect()
}

func (s *auditSource) of(c *client.Client) client.AuditLog {
	if s.installation {
		return c.InstallationAudit()
	}
	return c.Audit()
}

func (s *auditSource) log() (client.AuditLog, error) {
	c, err := s.connect()
	if err != nil {
		return client.AuditLog{}, err
	}
	return s.of(c), nil
}

func newAuditList(o *options) *cobra.Command {
	source := &auditSource{o: o}
	var f client.AuditFilter
	var actor, result, from, to string
	return newList(o, lister[corp.AuditEvent]{
		short: "List who did what, newest first",
		page: func(ctx context.Context, c *client.Client, p corp.Page) (_ corp.List[corp.AuditEvent], err error) {
			f.Actor, f.Result = corp.Actor(actor), corp.AuditResult(result)
			if f.From, err = auditTime("from", from); err != nil {
				return corp.List[corp.AuditEvent]{}, err
			}
			if f.To, err = auditTime("to", to); err != nil {
				return corp.List[corp.AuditEvent]{}, err
			}
			return source.of(c).List(ctx, f, p)
		},
		flags: func(cmd *cobra.Command) {
			source.flag(cmd)
			cmd.Flags().StringVar(&actor, "actor", "", "only what this person or key did")
			cmd.Flags().StringVar(&f.Operation, "operation", "", "only this operation, such as createAPIKey")
			cmd.Flags().StringVar(&result, "result", "", "done or denied")
			cmd.Flags().StringVar(&from, "from", "", "not before this day or moment, as 2026-12-31 or 2026-12-31T08:00:00Z")
			cmd.Flags().StringVar(&to, "to", "", "before this day or moment")
		},
		connect: source.connect,
		header:  []any{"AT", "ACTOR", "OPERATION", "TARGET", "RESULT", "ADDRESS"},
		columns: func(e corp.AuditEvent) []any {
			address := "erased"
			switch {
			case e.Personal != nil:
				address = e.Personal.Address
			case e.PersonalHash == "":
				address = ""
			}
			return []any{e.At.Format(time.RFC3339), e.Actor, e.Operation, e.Target, e.Result, address}
		},
	})
}

// auditTime reads a day, which begins in UTC, or a moment.
func auditTime(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError{corp.Invalid(field, fmt.Sprintf("%q is neither a day nor a moment.", text), "Write it like 2026-12-31 or 2026-12-31T08:00:00Z.")}
}

func newAuditExport(o *options) *cobra.Command {
	source := &auditSource{o: o}
	var file string
	cmd := &cobra.Command{
		Use: "export", Short: "Write the whole sealed log as JSON lines", Args: cobra.NoArgs,
		Long: `Writes the log up to its newest checkpoint, to be kept elsewhere and verified with
"corp audit verify FILE". What happened in the last seconds may not be sealed yet.
The export is an event of the log itself.`,
	}
	source.flag(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "write to this file, which must not exist (default: standard output)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		log, err := source.log()
		if err != nil {
			return err
		}
		in, err := log.Export(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { _ = in.Close() }()
		if file == "" {
			_, err = io.Copy(o.env.Out, in)
			return err
		}
		return writeNew(file, in)
	}
	return cmd
}

// writeNew makes a file of what is read, or none.
func writeNew(path string, in io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return usageError{corp.Invalid("file", "The file cannot be made: "+err.Error()+".", "Name one that does not exist yet.")}
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func newAuditVerify(o *options) *cobra.Command {
	source := &auditSource{o: o}
	var texts []string
	var anchor string
	cmd := &cobra.Command{
		Use: "verify [FILE]", Short: "Check that nobody changed the log; name the first row that is wrong", Args: cobra.MaximumNArgs(1),
		Long: `Checks an export, or the server's log without one, row by row: each hash, each signed
checkpoint, and the personal data where it has not been erased. The exit code is 1 when
something is wrong.

A log can only vouch for itself as far as its key can be trusted: give the public key as
"corp audit checkpoint" showed it earlier, and the file of checkpoints that the server
keeps with --audit-anchor. Without them somebody who has the database and the
installation's secret could have written another log, or cut its end off.`,
		Example: `  corp audit verify
  corp audit verify audit.jsonl --public-key oq1qk3xBdXnXo8n1lHq4vY0s2l8xkzq3k8sC3nX7w1A= --anchor checkpoints.jsonl`,
	}
	source.flag(cmd)
	cmd.Flags().StringSliceVar(&texts, "public-key", nil, "a public key that may have signed; give it again for an older one (default: the key that the log names)")
	cmd.Flags().StringVar(&anchor, "anchor", "", "a file of checkpoints that the log must agree with")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		expect, err := expectation(texts, anchor)
		if err != nil {
			return err
		}
		in, err := source.open(cmd.Context(), args)
		if err != nil {
			return err
		}
		defer func() { _ = in.Close() }()
		report, err := audit.Verify(in, expect)
		if err != nil {
			return err
		}
		return o.print(report, func(w *tabwriter.Writer) { row(w, verified(report, len(texts) > 0)) })
	}
	return cmd
}

func expectation(texts []string, anchor string) (expect audit.Expect, err error) {
	expect.Now = time.Now()
	for _, text := range texts {
		key, err := audit.ParsePublicKey(text)
		if err != nil {
			return expect, usageError{err}
		}
		expect.Keys = append(expect.Keys, key)
	}
	if anchor != "" {
		expect.Checkpoints, err = readAnchor(anchor)
	}
	return expect, err
}

// open returns an export: a file's, or the server's.
func (s *auditSource) open(ctx context.Context, args []string) (io.ReadCloser, error) {
	if len(args) == 1 {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, usageError{corp.Invalid("file", "The log cannot be read: "+err.Error()+".", "Name a file that \"corp audit export\" wrote.")}
		}
		return f, nil
	}
	log, err := s.log()
	if err != nil {
		return nil, err
	}
	return log.Export(ctx)
}

// verified says what an intact log holds.
func verified(r audit.Report, pinned bool) string {
	var b strings.Builder
	if r.Rows == 0 {
		b.WriteString("The log is intact: it has no sealed events yet.")
	} else {
		fmt.Fprintf(&b, "The log is intact: events %d to %d, %d signed checkpoints", r.After+1, r.Last, r.Checkpoints)
		if r.Erased > 0 {
			fmt.Fprintf(&b, ", personal data erased from %d", r.Erased)
		}
		b.WriteString(".")
	}
	if r.After > 0 {
		fmt.Fprintf(&b, " It begins after event %d, as signed; older ones are no longer kept.", r.After)
	}
	if !pinned {
		b.WriteString(" Its key is the one it names itself: give --public-key for a stronger proof.")
	}
	return b.String()
}

func newAuditCheckpoint(o *options) *cobra.Command {
	source := &auditSource{o: o}
	cmd := &cobra.Command{Use: "checkpoint", Short: "Show the newest signed checkpoint and the public key, to be kept elsewhere", Args: cobra.NoArgs}
	source.flag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		log, err := source.log()
		if err != nil {
			return err
		}
		c, err := log.Checkpoint(cmd.Context())
		if err != nil {
			return err
		}
		return o.print(c, func(w *tabwriter.Writer) {
			row(w, "Events", c.Seq)
			if c.Seq > 0 {
				row(w, "Hash", c.Hash)
				row(w, "At", c.At.Format(time.RFC3339))
			}
			row(w, "Public key", c.PublicKey)
		})
	}
	return cmd
}

func newAuditErase(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "erase ACTOR", Short: "Erase somebody's addresses and user agents from all logs (the operator)", Args: cobra.ExactArgs(1),
		Long: `Erases the network addresses, user agents and e-mail addresses beside the events of a
person or key, in the logs of all workspaces. The events stay, and they still verify.
It cannot be taken back, and is an event of the installation's log itself.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.connectOperator()
			if err != nil {
				return err
			}
			n, err := c.EraseAudit(cmd.Context(), corp.Actor(args[0]))
			if err != nil {
				return err
			}
			return o.print(n, func(w *tabwriter.Writer) { row(w, fmt.Sprintf("Personal data was erased from %d events.", n.Events)) })
		},
	}
}
