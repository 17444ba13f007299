package gateway

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/seal"
)

// A call that the database will never take (of a workspace that it does not have)
// neither keeps the server from starting nor is thrown away.
func TestCallThatCannotBeRecordedIsPutAside(t *testing.T) {
	t.Parallel()
	env := pgtest.New(t)
	ws := env.Workspace(t)
	budget := corp.Dollar
	task := env.Submit(t, ws, corp.TaskSpec{Budget: &budget})
	env.Running(t, ws, task.RunID)
	server := corp.NewID[corp.ServerID]()
	// Another workspace, about whose calls the journal is not in doubt.
	beside := env.Workspace(t)
	other := env.Submit(t, beside, corp.TaskSpec{Budget: &budget})
	env.Running(t, beside, other.RunID)
	if _, err := env.DB.In(beside).GrantAllowance(t.Context(), server, other.ID, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	grants, err := env.DB.In(ws).GrantAllowance(t.Context(), server, task.ID, 1000, 1000)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "journal")
	j, err := createJournal(path, header{Version: journalVersion, Boot: bootID(), Server: server})
	if err != nil {
		t.Fatal(err)
	}
	good, foreign := journalLine(300), journalLine(7)
	good.Settled, good.Workspace = true, ws
	good.Record.TaskID, good.Record.RunID, good.Record.AgentID = task.ID, task.RunID, task.AgentID
	good.Record.Charges = []postgres.Charge{{AllowanceID: grants[0].AllowanceID, BudgetID: grants[0].BudgetID}}
	foreign.Settled = true
	bad := good
	bad.Record.ID, bad.Record.Cost = corp.NewID[corp.CallID](), -1
	for _, l := range []line{foreign, good, bad} {
		if err := j.write(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.f.Close(); err != nil { // as after kill -9
		t.Fatal(err)
	}
	ring, err := seal.New(bytes.Repeat([]byte{7}, seal.SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{DB: env.DB, Ring: ring, Server: corp.NewID[corp.ServerID](), JournalPath: path, Times: Times{Shutdown: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls, err := env.DB.In(ws).Calls(t.Context(), postgres.CallFilter{Task: task.ID}, corp.Page{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	var sum corp.Nanodollars
	for _, c := range calls.Items {
		sum += c.Cost
	}
	// The call that is missing may have cost all that was held beside the one that is not.
	if len(calls.Items) != 2 || sum != 1000 {
		t.Errorf("%d calls for %v: %+v", len(calls.Items), sum, calls.Items)
	}
	if list, err := env.DB.In(beside).Budgets(t.Context(), other.ID); err != nil || list[0].Granted != 0 || list[0].Spent != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	aside, err := filepath.Glob(path + ".refused-*")
	if err != nil || len(aside) != 1 {
		t.Fatalf("%v, %v", aside, err)
	}
	if kept := mustRead(t, aside[0]); !kept.whole || kept.Server != server || len(kept.lines) != 2 {
		t.Errorf("%+v", kept)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
