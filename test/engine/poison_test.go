//go:build engine

package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
)

// Invariant 19: a row that cannot be carried out, or cannot even be read, is its
// own trouble: whatever else waits is served.
func TestAPoisonedRowHurtsOnlyItself(t *testing.T) {
	t.Parallel()
	s := newSite(t, plan{servers: 2})
	w, other := s.tenant("unlimited"), s.tenant("unlimited")
	r := hold(t, 19, "poisoned rows beside good ones", "good ones done within 10s")
	for name, poison := range map[string]func() []corp.TaskID{
		"a credential that cannot be opened": func() []corp.TaskID { return s.poisonCredential(w) },
		"labels that no runner has, absent":  func() []corp.TaskID { return s.poisonRuns(w, `labels = ARRAY[NULL]::text[]`) },
		"a runtime nobody knows":             func() []corp.TaskID { return s.poisonRuns(w, `runtime = 'no such'`) },
		"an agent's version that is gone":    func() []corp.TaskID { return s.poisonTasks(w, `retry_base_ms = 9223372036854775807`) },
		"a time beyond all calendars":        func() []corp.TaskID { return s.poisonRuns(w, `not_before = 'infinity'`) },
		"a time before all calendars":        func() []corp.TaskID { return s.poisonRuns(w, `created_at = '-infinity'`) },
		"a prompt of odd characters": func() []corp.TaskID {
			spec := work("ms=1")
			spec.Prompt = "ms=1&x=" + strings.Repeat("\u202e\ufffd\U0001F4A9\\u0000%", 5000)
			return w.submitMany(1, spec)
		},
	} {
		d := newDiary()
		bad := poison()
		good := append(w.submitMany(4, work("ms=5")), other.submitMany(4, work("ms=5"))...)
		stop := s.crew("brave", s.poolKey, 4, d)
		began := time.Now()
		done := func() bool {
			return value[int](s.oracle, `SELECT count(*)::int FROM tasks WHERE id = ANY($1) AND state = 'succeeded'`, good) == len(good)
		}
		for !done() && time.Since(began) < 15*time.Second {
			window(t, 20*time.Millisecond)
		}
		r.took(time.Since(began), 10*time.Second, name)
		t.Logf("%s: %v", name, time.Since(began))
		for _, id := range bad { // put right what was broken, so that it can be ended
			s.oracle.exec(`UPDATE runs SET labels = '{}', not_before = NULL, created_at = now() WHERE task_id = $1 AND state = 'queued'`, id)
			w.cancel(id)
		}
		s.awaitFinal(patience, bad...)
		stop()
	}
}

// poisonRuns submits tasks that nobody takes up yet, and breaks their runs, unless
// the database refuses such rows.
func (s *site) poisonRuns(w *tenant, set string) []corp.TaskID {
	s.t.Helper()
	ids := w.submitMany(2, work("ms=1"))
	_, err := s.oracle.pool.Exec(s.t.Context(), `UPDATE runs SET `+set+` WHERE task_id = ANY($1)`, ids)
	if broken, ok := errors.AsType[*pgconn.PgError](err); ok && broken.Code == "23514" {
		s.t.Logf("%s: refused by the database", set)
	} else if err != nil {
		s.t.Fatal(err)
	}
	return ids
}

func (s *site) poisonTasks(w *tenant, set string) []corp.TaskID {
	s.t.Helper()
	spec := work("ms=1&end=failed&reason=agent_failed&until=1")
	ids := w.submitMany(2, spec)
	s.oracle.exec(`UPDATE tasks SET `+set+` WHERE id = ANY($1)`, ids)
	return ids
}

// poisonCredential makes tasks of a repository whose stored credential is noise.
func (s *site) poisonCredential(w *tenant) []corp.TaskID {
	s.t.Helper()
	repo, err := w.clients[0].CreateRepository(context.Background(), client.RepositoryRequest{
		RepositorySpec: corp.RepositorySpec{Name: "noise", URL: nowhere}, Credential: &corp.GitCredential{Username: "x", Password: "y"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.oracle.exec(`UPDATE repositories SET credential = '\x00ff00ff' WHERE id = $1`, repo.ID)
	return w.submitMany(2, corp.TaskSpec{Prompt: "ms=1", RepositoryID: &repo.ID})
}
