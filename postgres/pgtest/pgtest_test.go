package pgtest_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/embedded"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func TestAWorkspaceIsFreshAndHasAnAgent(t *testing.T) {
	t.Parallel()
	env := pgtest.New(t)
	ws := pgtest.Workspace(t)
	agent, err := env.DB.In(ws).Agent(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	if agent.Model != pgtest.Model || agent.Version != 1 {
		t.Errorf("agent %+v", agent)
	}
	task := env.Submit(t, ws, corp.TaskSpec{})
	lease := env.Running(t, ws, task.RunID)
	run, err := env.DB.In(ws).Run(t.Context(), task.RunID)
	if err != nil || run.State != corp.RunRunning || run.Epoch != lease.Epoch {
		t.Errorf("run %+v, %v", run, err)
	}
}

func TestADatabaseOfOnesOwnSharesNothing(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	env.Workspace(t)
	if n := pgtest.Value[int](t, env, `SELECT count(*) FROM workspaces`); n != 1 {
		t.Errorf("%d workspaces, want the one just made", n)
	}
}

func TestTheServerIsOfTheVersionThatWasAskedFor(t *testing.T) {
	t.Parallel()
	want := os.Getenv("CORP_TEST_POSTGRES")
	if want == "" {
		want = strconv.Itoa(embedded.Major)
	}
	if got := pgtest.Value[string](t, pgtest.New(t), `SHOW server_version`); !strings.HasPrefix(got, want+".") {
		t.Errorf("the server is PostgreSQL %s, want %s", got, want)
	}
}
