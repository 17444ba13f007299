// Package pgerr turns PostgreSQL's errors into the product's own, and knows their
// codes. It decides nothing about what to do then.
package pgerr

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/genericcorp/corp"
)

// The error codes of PostgreSQL (its manual, appendix A) that mean something to
// us. What fails with one of the exported can be done again.
const (
	CodeSerialization = "40001"
	CodeDeadlock      = "40P01"
	CodeLockTimeout   = "55P03"

	codeUnique       = "23505"
	codeForeignKey   = "23503"
	codeCheck        = "23514"
	codePrivilege    = "42501" // also a row of another workspace
	codeQueryTimeout = "57014"
	codeBadText      = "22021"
	codeBadJSON      = "22P02"
	codeBadEscape    = "22P05"
)

// Translate is the one place where PostgreSQL's errors become ours. Errors of
// ours and the context's pass through.
func Translate(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*corp.Error](err); ok || err == nil {
		return err
	}
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return translateCode(pg, err)
	}
	if unreachable(err) {
		return unavailable(err)
	}
	return Internal(err)
}

func translateCode(pg *pgconn.PgError, err error) error {
	switch {
	case pg.Code == codeUnique:
		return &corp.Error{Kind: corp.KindConflict, Message: taken(pg.ConstraintName), Hint: "Choose another one, or use the one that is there.", Err: err}
	case pg.Code == codeForeignKey:
		e := corp.NotFound(pointedAt(pg.ConstraintName))
		e.Err = err
		return e
	case pg.Code == codePrivilege && strings.Contains(pg.Message, "row-level security"):
		e := corp.NotFound("object")
		e.Err = err
		return e
	case pg.Code == codeBadText, pg.Code == codeBadJSON, pg.Code == codeBadEscape:
		return &corp.Error{Kind: corp.KindInvalid, Message: "The text holds bytes that cannot be stored.", Hint: "Send valid UTF-8 without zero bytes.", Err: err}
	case pg.Code == codeCheck && !MissingPartition(pg):
		return &corp.Error{Kind: corp.KindInvalid, Message: "A value is outside what is allowed.", Hint: "Check the request against the API's description.", Err: err}
	case pg.Code == CodeSerialization, pg.Code == CodeDeadlock, pg.Code == CodeLockTimeout, pg.Code == codeQueryTimeout,
		strings.HasPrefix(pg.Code, "08"), strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "57P"):
		return unavailable(err)
	default:
		return Internal(err)
	}
}

// taken says which name a unique constraint found in use.
func taken(constraint string) string {
	for _, known := range []struct{ prefix, sentence string }{
		{"agents_name", "There is an agent of this name already."},
		{"repositories_name", "There is a repository of this name already."},
		{"providers_name", "There is a provider of this name already."},
		{"schedules_name", "There is a schedule of this name already."},
		{"workspaces_slug", "There is a workspace with this short name already."},
	} {
		if strings.HasPrefix(constraint, known.prefix) {
			return known.sentence
		}
	}
	return "This exists already."
}

// pointedAt says what a foreign key did not find.
func pointedAt(constraint string) string {
	for _, known := range []struct{ part, noun string }{
		{"repository_id", "repository"},
		{"source_id", "file"},
		{"result_id", "file"},
		{"patch_id", "file"},
		{"agent", "agent"},
		{"budget", "budget"},
		{"_plan_", "plan"},
		{"price", "price"},
		{"schedule_id", "schedule"},
		{"run_id", "run"},
		{"task_id", "task"},
	} {
		if strings.Contains(constraint, known.part) {
			return known.noun
		}
	}
	return "object"
}

// MissingPartition says whether a row found no partition. PostgreSQL gives it the
// code of a failed check, but no constraint.
func MissingPartition(pg *pgconn.PgError) bool {
	return pg.Code == codeCheck && pg.ConstraintName == "" && strings.Contains(pg.Message, "partition")
}

func unreachable(err error) bool {
	if pgconn.SafeToRetry(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return true
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) { // of a migration
		return true
	}
	_, ok := errors.AsType[net.Error](err)
	return ok || strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "closed pool")
}

func unavailable(err error) error {
	return &corp.Error{Kind: corp.KindUnavailable, Message: "The database does not answer at the moment.", Hint: "Try again in a few seconds.", Err: err}
}

// Internal says that something is wrong with the product, whose cause is err.
func Internal(err error) error {
	return &corp.Error{Kind: corp.KindInternal, Message: "Something went wrong inside Generic Corp.", Hint: "Tell your operator the request id.", Err: err}
}
