package pgerr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/genericcorp/corp"
)

func TestAnErrorOfPostgreSQLBecomesOneOfOurs(t *testing.T) {
	t.Parallel()
	code := func(code, message, constraint string) error {
		return fmt.Errorf("somewhere: %w", &pgconn.PgError{Code: code, Message: message, ConstraintName: constraint})
	}
	own := corp.NotFound("task")
	for name, c := range map[string]struct {
		err  error
		kind corp.Kind
		says string
	}{
		"nothing":              {nil, "", ""},
		"ours":                 {fmt.Errorf("x: %w", own), corp.KindNotFound, "task"},
		"a name in use":        {code("23505", "", "agents_name"), corp.KindConflict, "There is an agent of this name already."},
		"a slug in use":        {code("23505", "", "workspaces_slug_key"), corp.KindConflict, "workspace"},
		"another unique":       {code("23505", "", "x"), corp.KindConflict, "exists already"},
		"a missing blob":       {code("23503", "", "runs_workspace_id_result_id_fkey"), corp.KindNotFound, "There is no such file."},
		"a missing repository": {code("23503", "", "tasks_workspace_id_repository_id_fkey"), corp.KindNotFound, "There is no such repository."},
		"a missing something":  {code("23503", "", "x"), corp.KindNotFound, "There is no such object."},
		"a foreign row":        {code("42501", `new row violates row-level security policy for table "tasks"`, ""), corp.KindNotFound, "no such"},
		"a missing privilege":  {code("42501", "permission denied for table tasks", ""), corp.KindInternal, ""},
		"a check":              {code("23514", "", "tasks_check"), corp.KindInvalid, ""},
		"bytes":                {code("22021", "", ""), corp.KindInvalid, ""},
		"a deadlock":           {code("40P01", "", ""), corp.KindUnavailable, ""},
		"a lock":               {code("55P03", "", ""), corp.KindUnavailable, ""},
		"too many":             {code("53300", "", ""), corp.KindUnavailable, ""},
		"shutting down":        {code("57P01", "", ""), corp.KindUnavailable, ""},
		"syntax":               {code("42601", "", ""), corp.KindInternal, ""},
		"no partition":         {code("23514", `no partition of relation "calls" found for row`, ""), corp.KindInternal, ""},
		"broken off":           {io.ErrUnexpectedEOF, corp.KindUnavailable, ""},
		"the network":          {&net.OpError{Op: "read", Err: errors.New("reset")}, corp.KindUnavailable, ""},
		"closed":               {errors.New("conn closed"), corp.KindUnavailable, ""},
		"a mistake":            {errors.New("cannot scan"), corp.KindInternal, ""},
	} {
		err := Translate(t.Context(), c.err)
		if corp.KindOf(err) != c.kind {
			t.Errorf("%s: %v is %q, want %q", name, err, corp.KindOf(err), c.kind)
		}
		if err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.says)
		}
		if err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: %v has lost its cause", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Translate(ctx, errors.New("conn closed")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's end", err)
	}
}
