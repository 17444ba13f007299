package test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp/postgres/embedded"
	"github.com/genericcorp/corp/stage"
)

// An external PostgreSQL takes the same migrations and the same safety checks as
// the one inside.
func TestExternalPostgresIsMigratedCheckedAndUsed(t *testing.T) {
	t.Parallel()
	db, err := embedded.Start(t.Context(), embedded.Config{Dir: folder(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	app, system, admin := "CORP_POSTGRES_URL="+db.AppURL(), "CORP_POSTGRES_SYSTEM_URL="+db.SystemURL(), "CORP_POSTGRES_ADMIN_URL="+db.SuperURL("corp")

	if out, code := corpUp(t, app, system); code == 0 || !strings.Contains(out, "corp migrate") {
		t.Errorf("before the migration: exit %d\n%s", code, out)
	}
	migrate := exec.Command(binary, "migrate")
	migrate.Env = append(cleanEnv(t.TempDir()), app, system, admin)
	for range 2 { // the second time there is nothing to do
		again := *migrate
		if out, err := again.CombinedOutput(); err != nil {
			t.Fatalf("migrate: %v\n%s", err, out)
		}
	}
	if out, code := corpUp(t, "CORP_POSTGRES_URL="+db.SuperURL("corp"), system); code == 0 || !strings.Contains(out, "superuser") {
		t.Errorf("with a superuser: exit %d\n%s", code, out)
	}
	s := &server{t: t, data: folder(t), repos: folder(t), listen: freeAddress(t), gateway: freeAddress(t), log: new(stage.Log), env: []string{app, system}}
	s.up()
	t.Cleanup(func() { s.kill(15) })
	v := newVendor(t, strings.ReplaceAll(worker, "between: 100ms", "between: 1ms"))
	s.with(v)
	if o, r := s.run("--repo", s.repository(map[string]string{"a": "a"}), "Work"); r.code != 0 {
		t.Errorf("exit %d, %+v\n%s", r.code, o, r.err)
	}
	if !strings.Contains(s.log.String(), "external") {
		t.Errorf("the server does not say which PostgreSQL it uses:\n%s", s.log)
	}
	// A second one on the same folder is refused before it touches anything in it.
	if out, code := corpUpIn(t, s.data, app, system); code == 0 || !strings.Contains(out, "in use by another process") {
		t.Errorf("on the folder of another: exit %d\n%s", code, out)
	}
	if l, err := s.context(); err != nil || !strings.HasSuffix(l.Server, s.listen) {
		t.Errorf("the first server's command line is signed in at %q: %v", l.Server, err)
	}
	if list := s.must("server", "list"); strings.Count(list, "http://") != 2 { // its own two addresses
		t.Errorf("it joined the servers:\n%s", list)
	}
}

// corpUp starts a server that is expected to refuse, and returns what it said.
func corpUp(t *testing.T, env ...string) (string, int) {
	t.Helper()
	return corpUpIn(t, folder(t), env...)
}

func corpUpIn(t *testing.T, data string, env ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(binary, "up", "--data", data, "--listen", freeAddress(t), "--gateway-listen", freeAddress(t), "--no-runner")
	cmd.Env = append(cleanEnv(t.TempDir()), env...)
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, _ := cmd.CombinedOutput() // its exit code says how it ended
	return string(out), cmd.ProcessState.ExitCode()
}
