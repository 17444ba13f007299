package postgres_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// wiretap stands between the doors and the database and writes down who said what
// kind of message of what length.
type wiretap struct {
	mu   sync.Mutex
	said map[int]*spoken // by connection
}

// spoken is what each side said, each in its order: they talk at the same time.
type spoken struct{ Asked, Answered []string }

func (w *wiretap) note(connection int, who, line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.said == nil {
		w.said = map[int]*spoken{}
	}
	if w.said[connection] == nil {
		w.said[connection] = &spoken{}
	}
	if said := w.said[connection]; who == ">" {
		said.Asked = append(said.Asked, line)
	} else {
		said.Answered = append(said.Answered, line)
	}
}

// since forgets what was said and returns it, of the connection on which the most
// was: on another one notices are given, which depend on no answer.
func (w *wiretap) since() (most spoken) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, said := range w.said {
		if len(said.Asked) > len(most.Asked) {
			most = *said
		}
	}
	w.said = nil
	return most
}

// tap returns a connection string that leads through the tap.
func (w *wiretap) tap(t *testing.T, to string) string {
	t.Helper()
	u, err := url.Parse(to)
	ok(t, err)
	q := u.Query()
	file := ".s.PGSQL." + q.Get("port")
	target := filepath.Join(q.Get("host"), file)
	dir, err := os.MkdirTemp("", "tap-") //nolint:usetesting // a socket's path must be short
	ok(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, file))
	ok(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for n := 0; ; n++ {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(t.Context(), "unix", target)
			if err != nil {
				_ = client.Close()
				return
			}
			go w.pass(n, server, client, ">")
			go w.pass(n, client, server, "<")
		}
	}()
	q.Set("host", dir)
	u.RawQuery = q.Encode()
	return u.String()
}

// pass copies messages and notes them. What is said first by a client has no kind.
func (w *wiretap) pass(connection int, to io.WriteCloser, from io.ReadCloser, who string) {
	defer func() { _, _ = to.Close(), from.Close() }()
	head := make([]byte, 5)
	for first := who == ">"; ; first = false {
		at := head
		if first {
			head[0], at = ' ', head[1:]
		}
		if _, err := io.ReadFull(from, at); err != nil {
			return
		}
		body := make([]byte, max(0, int(binary.BigEndian.Uint32(head[1:]))-4))
		if _, err := io.ReadFull(from, body); err != nil {
			return
		}
		if head[0] != 'S' || who == ">" { // a parameter's status may come at any time
			w.note(connection, who, fmt.Sprintf("%c %d %s", head[0], len(body), statement(head[0], who, body)))
		}
		if _, err := to.Write(append(slices.Clone(at), body...)); err != nil {
			return
		}
	}
}

// statement is what a message of a client's is about: the text that it prepares, or
// the name of what it carries out.
func statement(kind byte, who string, body []byte) string {
	if who == "<" || kind != 'P' && kind != 'B' && kind != 'Q' {
		return ""
	}
	parts := strings.SplitN(string(body), "\x00", 3)
	return strings.Join(parts[:min(2, len(parts))], " ")
}

// What the database is asked about a foreign thing and about one that is not there is
// the same, statement for statement, and what it answers has the same length, message
// for message: there is nothing that could take longer.
// Attack case 34. Control: asked about what is its own, the conversation is another one.
func TestAboutAForeignThingTheDatabaseIsAskedAndAnswersAsAboutAMissingOne(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	v := newVictim(t, env)
	w := &wiretap{}
	db := must(postgres.Open(t.Context(), postgres.Config{AppURL: w.tap(t, env.AppURL), SystemURL: env.SystemURL, MaxConns: 1}))(t)
	t.Cleanup(db.Close)
	missing := v
	missing.task.ID, missing.task.RunID, missing.task.AgentID = corp.NewID[corp.TaskID](), corp.NewID[corp.RunID](), corp.NewID[corp.AgentID]()
	missing.repository, missing.provider, missing.blob, missing.key = corp.NewID[corp.RepositoryID](), corp.NewID[corp.ProviderID](), corp.NewID[corp.BlobID](), corp.NewID[corp.APIKeyID]()
	missing.schedule, missing.server, missing.allowance, missing.runner, missing.batch = corp.NewID[corp.ScheduleID](), corp.NewID[corp.ServerID](), corp.NewID[corp.AllowanceID](), corp.NewID[corp.RunnerID](), corp.NewID[corp.BatchID]()
	missing.lease.RunID, missing.lease.RunnerID = missing.task.RunID, corp.NewID[corp.RunnerID]()
	talk := func(of victim) (spoken, []string) {
		ws := env.Workspace(t) // each begins with an empty workspace
		w.since()
		done := everyMethod(t.Context(), db.In(ws), of)
		var outcomes []string
		for _, name := range slices.Sorted(maps.Keys(done)) {
			outcomes = append(outcomes, fmt.Sprintf("%s: %s", name, corp.KindOf(done[name])))
		}
		return w.since(), outcomes
	}
	talk(missing) // every statement is prepared once
	a, refusedA := talk(missing)
	b, refusedB := talk(v)
	if len(a.Asked) < 500 || len(a.Answered) < 500 {
		t.Fatalf("only %d messages and %d answers were heard", len(a.Asked), len(a.Answered))
	}
	if diff := cmp.Diff(refusedA, refusedB); diff != "" {
		t.Errorf("the outcomes differ:\n%s", diff)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("the conversations differ:\n%s", diff)
	}
	w.since()
	_, err := db.In(v.ws).Task(t.Context(), v.task.ID)
	ok(t, err)
	own := w.since()
	_, err = db.In(v.ws).Task(t.Context(), missing.task.ID)
	wantKind(t, err, corp.KindNotFound)
	if cmp.Equal(own, w.since()) {
		t.Error("positive control: about its own thing nothing else is said")
	}
	t.Logf("%d messages and %d answers, the same for a foreign and a missing id", len(a.Asked), len(a.Answered))
}
