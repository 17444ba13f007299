package door

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
)

// The longest texts that the audit log keeps, in bytes; more is cut off.
const (
	maxAuditText    = 300
	maxAuditChanges = 16 << 10
)

// Pending is an audit event that waits for the transaction which does what it
// tells of. It is written once. It is safe for concurrent use.
type Pending struct {
	mu      sync.Mutex
	event   corp.AuditEvent
	home    corp.WorkspaceID // whose event it is; zero: whoever's door is used first
	taken   bool             // by a transaction that is committing
	written bool
}

// NewPending makes an event ready to be written. What is missing of it is filled
// in: its id, and the salt and hash of the personal data. The time is the database's.
func NewPending(e corp.AuditEvent) *Pending {
	if e.ID.IsZero() {
		e.ID = corp.NewID[corp.AuditID]()
	}
	if e.Result == "" {
		e.Result = corp.AuditDone
	}
	e.Operation, e.Target, e.RequestID = auditText(e.Operation), auditText(e.Target), auditText(e.RequestID)
	if e.Personal != nil {
		p := *e.Personal
		p.Address, p.UserAgent, p.Email = auditText(p.Address), auditText(p.UserAgent), auditText(p.Email)
		if p.Salt == "" {
			p.Salt = rand.Text()
		}
		e.Personal = &p
	}
	e.PersonalHash = audit.PersonalHash(e.Personal)
	return &Pending{event: e}
}

// auditText makes text that came from outside fit for the database.
func auditText(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
	if len(s) > maxAuditText {
		s = strings.ToValidUTF8(s[:maxAuditText], "")
	}
	return s
}

// In has the event written in this workspace's chain only: what the system door
// writes on the way, for no workspace, does not take it.
func (p *Pending) In(ws corp.WorkspaceID) *Pending {
	p.home = ws
	return p
}

type pendingKey struct{}

// WithAudit has the first transaction that changes something under the context
// write the event at its commit, in the chain of its workspace, or in the
// installation's when it is in none.
func WithAudit(ctx context.Context, p *Pending) context.Context {
	return context.WithValue(ctx, pendingKey{}, p)
}

// Audited returns the event that waits under the context, or nil.
func Audited(ctx context.Context) *Pending {
	p, _ := ctx.Value(pendingKey{}).(*Pending)
	return p
}

// systemAudit is the context of what the system door does: without the event of
// an operation in a workspace.
func systemAudit(ctx context.Context) context.Context {
	if p := Audited(ctx); p != nil && !p.home.IsZero() {
		return context.WithValue(ctx, pendingKey{}, (*Pending)(nil))
	}
	return ctx
}

// Written says whether a transaction with the event was committed.
func (p *Pending) Written() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written
}

// Describe names what the operation under the context is done to, by id or name,
// and what it changes: nil, or what marshals to an object of at most 16 KiB
// without secrets or personal data. Called before the transaction, or inside it.
// Without an event that waits it does nothing.
func Describe(ctx context.Context, target string, changes any) {
	p := Audited(ctx)
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if target != "" {
		p.event.Target = auditText(target)
	}
	if text, err := json.Marshal(changes); changes != nil && err == nil && len(text) <= maxAuditChanges {
		p.event.Changes = text
	}
}

// Act says who does the operation under the context, when that is only found out by
// doing it: signing in. Whoever is known already stays.
func Act(ctx context.Context, actor, via corp.Actor) {
	p := Audited(ctx)
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.event.Actor == "" || p.event.Actor == corp.ActorUnknown {
		p.event.Actor, p.event.Via = actor, via
	}
	if p.event.Target == "" {
		p.event.Target = string(actor)
	}
}

// Deny has the event under the context say that the operation was refused, where
// refusing it changes something.
func Deny(ctx context.Context) {
	p := Audited(ctx)
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.event.Result = corp.AuditDenied
}

// take hands the event to a transaction; false when it is written or in another's hands.
func (p *Pending) take() (corp.AuditEvent, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken || p.written {
		return corp.AuditEvent{}, false
	}
	p.taken = true
	return p.event, true
}

// done ends what take began.
func (p *Pending) done(written bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken, p.written = false, p.written || written
}

// The function decides whose chain it is, and whether the transaction has changed
// anything: one that only read has no number yet.
const writeAudit = `SELECT write_audit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::json, $11, $12, $13, $14, $15, $16)`

// auditArguments are those of writeAudit.
func auditArguments(e corp.AuditEvent, always bool) []any {
	var changes *string
	if len(e.Changes) > 0 {
		changes = new(string(e.Changes))
	}
	var p corp.AuditPersonal
	if e.Personal != nil {
		p = *e.Personal
	}
	return []any{
		always, e.ID, e.Actor, e.Via, e.Operation, e.Action, e.Target, e.Result, e.RequestID, changes, e.PersonalHash,
		e.Actor, p.Salt, p.Address, p.UserAgent, p.Email,
	}
}

// targetOf is what a transaction's first event is about.
func targetOf(events []placedEvent) string {
	if len(events) == 0 {
		return ""
	}
	e := events[0].event
	switch data := e.Data.(type) {
	case interface{ Object() string }:
		return data.Object()
	case nil:
	}
	if !e.Task.IsZero() {
		return e.Task.String()
	}
	return e.Run.String()
}

// Object returns the id of what the event is about, for the audit log.
func (a About) Object() string { return a.ID }

// writeAudit queues the transaction's audit event, if one waits under the context.
// The returned function is told whether the commit was done.
func (t *transaction) writeAudit(ctx context.Context, b *Batch) func(committed bool) {
	p := Audited(ctx)
	if p == nil {
		return func(bool) {}
	}
	e, ok := p.take()
	if !ok {
		return func(bool) {}
	}
	if about := targetOf(t.events); about != "" {
		e.Target = about
	}
	wrote := false
	b.Queue(writeAudit, auditArguments(e, false)...).QueryRow(scanInto(&wrote))
	return func(committed bool) { p.done(committed && wrote) }
}

func scanInto[T any](into *T) func(pgx.Row) error {
	return func(row pgx.Row) error {
		if err := row.Scan(into); err != nil {
			return fmt.Errorf("write the audit event: %w", err)
		}
		return nil
	}
}

var changing = regexp.MustCompile(`(?i)\b(INSERT|UPDATE|DELETE|drop_partition|erase_audit)\b`)

// writeAuditBeside is writeAudit for one statement that is a transaction by itself.
func writeAuditBeside(ctx context.Context, b *pgx.Batch, sql string) (read func(pgx.BatchResults) error, done func(committed bool)) {
	read, done = func(pgx.BatchResults) error { return nil }, func(bool) {}
	p := Audited(ctx)
	if p == nil || !changing.MatchString(sql) {
		return read, done
	}
	e, ok := p.take()
	if !ok {
		return read, done
	}
	b.Queue(writeAudit, auditArguments(e, false)...)
	wrote := false
	return func(results pgx.BatchResults) error { return scanInto(&wrote)(results.QueryRow()) }, func(committed bool) { p.done(committed && wrote) }
}

// WriteAudit writes an event in a transaction of its own, in the workspace's chain.
func (w Workspace) WriteAudit(ctx context.Context, p *Pending) error {
	return p.alone(func(e corp.AuditEvent) error {
		_, err := Query(ctx, w, pgx.RowTo[bool], `SELECT write_audit($2, $3, $4, $5, $6, $7, $8, $9, $10, $11::json, $12, $13, $14, $15, $16, $17) WHERE $1::uuid IS NOT NULL`, auditArguments(e, true)...)
		return err
	})
}

// WriteAudit writes an event in a transaction of its own, in the installation's chain.
func (s System) WriteAudit(ctx context.Context, p *Pending) error {
	return p.alone(func(e corp.AuditEvent) error {
		_, err := QuerySystem(ctx, s, pgx.RowTo[bool], writeAudit, auditArguments(e, true)...)
		return err
	})
}

func (p *Pending) alone(write func(corp.AuditEvent) error) error {
	e, ok := p.take()
	if !ok {
		return nil
	}
	err := write(e)
	p.done(err == nil)
	return err
}
