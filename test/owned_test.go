package test

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/embedded"
)

// gives runs a command with what is on its standard input.
func (s *server) gives(input string, args ...string) (said string, failed bool) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), binary, append([]string{"--data", s.data}, args...)...)
	cmd.Env, cmd.Stdin = cleanEnv(s.data), strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err != nil
}

// age makes every proof that was given too old.
func age(t *testing.T, db *embedded.Server) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.SuperURL("corp"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), `UPDATE sessions SET auth_at = now() - interval '11 minutes'`); err != nil {
		t.Fatal(err)
	}
}

// An owner hands a workspace over, and its next owner deletes and restores it, on the
// command line. Control: with the wrong password, with an old proof, without being
// sure, and with a key nothing of it happens.
func TestOwnersHandOverDeleteAndRestoreOnTheCommandLine(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	s := startOn(t, db, "--sign-up", "open", "--no-runner")
	ada, grace := s.visitor(), s.visitor()
	ada.send(http.MethodPost, "/sign-up", "email", "ada@example.com", "name", "Ada")
	_, token := s.letter("ada@example.com")
	ada.send(http.MethodPost, "/verify", "token", token, "name", "Ada", "password", "tulip-anvil-marsh")
	if r := s.login(ada, "--context", "ada"); r.code != 0 {
		t.Fatalf("corp login: exit %d\n%s%s", r.code, r.out, r.err)
	}
	s.says("You own it", "workspace", "create", "engines")
	s.says("default", "agent", "list")
	s.must("invite", "grace@example.com", "--role", "member")
	_, token = s.letter("grace@example.com")
	grace.send(http.MethodPost, "/invitation/new", "token", token, "name", "Grace", "password", "copper-window-seven")
	if r := s.login(grace, "--context", "grace"); r.code != 0 {
		t.Fatalf("corp login: exit %d\n%s%s", r.code, r.out, r.err)
	}
	heir := s.memberNamed("Grace")

	refused := func(want, input string, args ...string) {
		t.Helper()
		if said, failed := s.gives(input, args...); !failed || !strings.Contains(said, want) {
			t.Errorf("corp %v: failed %t, want %q:\n%s", args, failed, want, said)
		}
	}
	refused("its owners' to do", "", "--context", "grace", "workspace", "hand-over", heir.String())
	refused("owners' to do", "", "--context", "grace", "workspace", "delete", "--yes", "engines")
	age(t, db)
	refused("--password -", "", "--context", "ada", "workspace", "hand-over", heir.String())
	refused("is not right", "wrong-anvil-marsh\n", "--context", "ada", "workspace", "hand-over", heir.String(), "--password", "-")
	refused("seen by others", "", "--context", "ada", "workspace", "hand-over", heir.String(), "--password", "tulip-anvil-marsh")
	refused("no password", "", "--context", "ada", "workspace", "hand-over", heir.String(), "--password", "-")
	refused("Nobody here has the address", "", "--context", "ada", "workspace", "hand-over", "nobody@example.com")
	said, failed := s.gives("tulip-anvil-marsh\n", "--context", "ada", "workspace", "hand-over", "Grace@example.com", "engines", "--password", "-")
	if failed || !strings.Contains(said, "you are an admin") {
		t.Fatalf("hand over: %s", said)
	}
	s.says("admin", "--context", "ada", "whoami")
	s.says("owner", "--context", "grace", "whoami")

	key := s.must("--context", "grace", "key", "create", "mine", "--role", "owner")
	key = strings.TrimSpace(key)
	refused("key works in its own", "", "--server", "http://"+s.listen, "--key", key[strings.LastIndex(key, "\n")+1:], "workspace", "delete", "--yes", "engines")
	refused("sure", "copper-window-seven\n", "--context", "grace", "workspace", "delete", "--password", "-")
	refused("sure", "copper-window-seven\n", "--context", "grace", "workspace", "delete", "--yes", "others", "--password", "-")
	s.says("engines", "--context", "ada", "whoami")
	said, failed = s.gives("copper-window-seven\n", "--context", "grace", "workspace", "delete", "--yes", "engines", "--password", "-")
	if failed || !strings.Contains(said, "corp workspace restore engines") {
		t.Fatalf("delete: %s", said)
	}
	for _, to := range []string{"ada@example.com", "grace@example.com"} {
		s.hasMail(to)
	}
	wait(t, "the deletion to reach a session that worked there", func() bool { return s.corp("--context", "ada", "agent", "list").code != 0 })
	refused("no such workspace", "", "--context", "ada", "workspace", "restore", "engines")
	s.says("deleted", "--context", "grace", "workspace", "list")
	s.says("in use again", "--context", "grace", "workspace", "restore", "engines")
	refused("not being deleted", "", "--context", "grace", "workspace", "restore", "engines")
	s.says("You work in engines", "--context", "grace", "workspace", "use", "engines")
	wait(t, "the agents to be there again", func() bool {
		return strings.Contains(s.corp("--context", "grace", "agent", "list").out, "default")
	})
}

// memberNamed is the id of a member.
func (s *server) memberNamed(name string) corp.UserID {
	s.t.Helper()
	var members []corp.Member
	if err := json.Unmarshal([]byte(s.must("--context", "ada", "member", "list", "-o", "json")), &members); err != nil {
		s.t.Fatal(err)
	}
	for _, m := range members {
		if m.Name == name {
			return m.UserID
		}
	}
	s.t.Fatalf("no member %s among %+v", name, members)
	return corp.UserID{}
}

// hasMail looks for a mail about the workspace without a link.
func (s *server) hasMail(to string) {
	s.t.Helper()
	var mails []corp.Mail
	if err := json.Unmarshal([]byte(s.must("--context", "local", "mail", "list", "-o", "json")), &mails); err != nil {
		s.t.Fatal(err)
	}
	for _, m := range mails {
		if m.To == to && strings.Contains(s.must("--context", "local", "mail", "show", m.ID.String()), "engines") {
			return
		}
	}
	s.t.Errorf("nobody told %s", to)
}
