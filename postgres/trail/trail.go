// Package trail holds the SQL of the audit log: reading it, sealing it into the
// chain that package audit defines, and erasing personal data from it. The events
// themselves are written by the transactions that they tell of (package door).
//
// A log is a workspace's or, with the zero workspace, the installation's. Nothing
// here changes or removes an event or a link; the database refuses it as well.
package trail

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/postgres/door"
)

// DB is the audit logs of an installation. It is safe for concurrent use.
type DB struct{ door *door.DB }

// New returns the logs behind the doors.
func New(d *door.DB) DB { return DB{d} }

// Log is one workspace's log, or the installation's.
type Log struct {
	door *door.DB
	ws   corp.WorkspaceID
}

// Of returns the log of a workspace; that of the zero workspace is the installation's.
func (db DB) Of(ws corp.WorkspaceID) Log { return Log{db.door, ws} }

// query runs one statement behind the log's door. The workspace is $1.
func query[T any](ctx context.Context, l Log, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	if l.ws.IsZero() {
		return door.QuerySystem(ctx, l.door.System("audit log"), scan, sql, append([]any{l.ws.UUID()}, args...)...)
	}
	return door.Query(ctx, l.door.In(l.ws), scan, sql, args...)
}

// Write writes an event that no transaction tells of, in one of its own. The time
// is the database's.
func (l Log) Write(ctx context.Context, e corp.AuditEvent) error {
	return l.WritePending(ctx, door.NewPending(e))
}

// WritePending is Write for an event that waited for a transaction which did not
// come. One that is written already is left alone.
func (l Log) WritePending(ctx context.Context, p *door.Pending) error {
	if l.ws.IsZero() {
		return l.door.System("audit log").WriteAudit(ctx, p)
	}
	return l.door.In(l.ws).WriteAudit(ctx, p)
}

// Filter narrows a list of events. Zero fields match everything.
type Filter struct {
	Actor     corp.Actor
	Operation string
	Result    corp.AuditResult
	From, To  time.Time // From is included, To is not
}

const (
	eventFields = `e.id, e.at, e.actor, e.via, e.operation, e.action, e.target, e.result, e.request_id, e.changes, e.personal_hash`
	withPerson  = `p.salt, p.address, p.user_agent, p.email`
	joinPerson  = ` LEFT JOIN audit_personal p ON p.workspace_id = e.workspace_id AND p.at = e.at AND p.event_id = e.id`
)

// personal is what stands beside an event, all nil when it is erased or there was none.
type personal struct{ salt, address, userAgent, email *string }

func (p *personal) into() []any { return []any{&p.salt, &p.address, &p.userAgent, &p.email} }

func (p *personal) read() *corp.AuditPersonal {
	if p.salt == nil {
		return nil
	}
	return &corp.AuditPersonal{Salt: *p.salt, Address: *p.address, UserAgent: *p.userAgent, Email: *p.email}
}

func eventInto(e *corp.AuditEvent) []any {
	return []any{&e.ID, &e.At, &e.Actor, &e.Via, &e.Operation, &e.Action, &e.Target, &e.Result, &e.RequestID, &e.Changes, &e.PersonalHash}
}

func scanEvent(row pgx.CollectableRow) (e corp.AuditEvent, err error) {
	var p personal
	err = row.Scan(append(eventInto(&e), p.into()...)...)
	e.At, e.Personal = e.At.UTC(), p.read()
	return e, err
}

// Events lists the log, newest first, also what is not sealed yet.
func (l Log) Events(ctx context.Context, f Filter, p corp.Page) (corp.List[corp.AuditEvent], error) {
	from, limit, err := door.Start(p)
	if err != nil {
		return corp.List[corp.AuditEvent]{}, err
	}
	to := f.To
	if to.IsZero() {
		to = door.AfterEverything.At
	}
	found, err := query(ctx, l, scanEvent, `
		SELECT `+eventFields+`, `+withPerson+` FROM audit_events e`+joinPerson+`
		WHERE e.workspace_id = $1 AND (e.at, e.id) < ($2, $3) AND e.at >= $4 AND e.at < $5
			AND ($6 = '' OR e.actor = $6) AND ($7 = '' OR e.operation = $7) AND ($8 = '' OR e.result = $8)
		ORDER BY e.at DESC, e.id DESC LIMIT $9`, from.At, from.ID, f.From, to, f.Actor, f.Operation, f.Result, limit+1)
	return door.Page(found, limit, func(e corp.AuditEvent) door.Position { return door.At(e.At, e.ID) }), err
}

const checkpointFields = `c.workspace_id, c.seq, c.hash, c.at, c.key_id, c.signature`

func scanCheckpoint(row pgx.CollectableRow) (c audit.Checkpoint, err error) {
	var hash []byte
	err = row.Scan(&c.WorkspaceID, &c.Seq, &hash, &c.At, &c.KeyID, &c.Signature)
	copy(c.Hash[:], hash) // the table holds 32 bytes and nothing else
	c.At = c.At.UTC()
	return c, err
}

// Newest returns the newest checkpoint. Before the first there is none: not found.
func (l Log) Newest(ctx context.Context) (audit.Checkpoint, error) {
	found, err := query(ctx, l, scanCheckpoint, `
		SELECT `+checkpointFields+` FROM audit_checkpoints c WHERE c.workspace_id = $1 ORDER BY c.seq DESC LIMIT 1`)
	if err == nil && len(found) == 0 {
		err = &corp.Error{Kind: corp.KindNotFound, Code: "no_checkpoint", Message: "Nothing of this log has been sealed yet.", Hint: "Its first checkpoint comes within seconds after its first event."}
	}
	if err != nil {
		return audit.Checkpoint{}, err
	}
	return found[0], nil
}

// Erase deletes the personal data beside the events whose actor this is, in all
// logs, and beside those of nobody that name the person's address; it returns of how many. The events stay, and so does the chain.
func (db DB) Erase(ctx context.Context, whose corp.Actor) (int, error) {
	if whose == "" || whose == corp.ActorSystem || whose == corp.ActorUnknown {
		return 0, corp.Invalid("actor", "Nobody's personal data was named.", "Give the id of a person or a key.")
	}
	person, _ := corp.ParseID[corp.UserID](string(whose)) // a key has no address
	erased, err := door.QuerySystem(ctx, db.door.System("erase personal data"), pgx.RowTo[int64], `SELECT erase_audit($1, $2)`, whose, person)
	if err != nil {
		return 0, err
	}
	return int(erased[0]), nil
}
