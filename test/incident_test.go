package test

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/genericcorp/corp"
)

// fails runs a command that is refused, with these words.
func (s *server) fails(text string, args ...string) {
	s.t.Helper()
	if r := s.corp(args...); r.code == 0 || !strings.Contains(r.out+r.err, text) {
		s.t.Errorf("corp %v: exit %d, want a refusal with %q:\n%s%s", args, r.code, text, r.out, r.err)
	}
}

// logged is how often the installation's audit log has an operation.
func (s *server) logged(operation string) int {
	s.t.Helper()
	var events []corp.AuditEvent
	if err := json.Unmarshal([]byte(s.must("--context", "local", "audit", "list", "--installation", "--operation", operation, "-o", "json")), &events); err != nil {
		s.t.Fatal(err)
	}
	return len(events)
}

// What docs/security/incidents.md tells an operator to do, through the binary.
func TestAnOperatorContainsAnIncidentOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := start(t, "--sign-up", "open", "--no-runner")
	ada := s.visitor()
	ada.send(http.MethodPost, "/sign-up", "email", "ada@example.com", "name", "Ada")
	_, token := s.letter("ada@example.com")
	ada.send(http.MethodPost, "/verify", "token", token, "name", "Ada", "password", "tulip-anvil-marsh")
	if r := s.login(ada, "--context", "ada"); r.code != 0 {
		t.Fatalf("corp login: exit %d\n%s%s", r.code, r.out, r.err)
	}
	s.says("You own it", "workspace", "create", "engines")
	s.says("default", "agent", "list")
	operator := func(args ...string) []string { return append([]string{"--context", "local"}, args...) }

	s.fails("operator", "--context", "ada", "workspace", "suspend", "engines")
	s.says("engines is suspended", operator("workspace", "suspend", "engines")...)
	s.says("engines is suspended", operator("workspace", "suspend", "engines")...)
	wait(t, "the workspace to be refused", func() bool { return strings.Contains(s.corp("agent", "list").err, "suspended this workspace") })
	s.says("suspended", "workspace", "list")
	s.says("suspended", operator("workspace", "list")...)
	if page := ada.send(http.MethodGet, "/account"); !strings.Contains(page, "suspended by the operator") {
		t.Errorf("the account page does not say that the workspace is suspended:\n%s", page)
	}
	s.says("in use again", operator("workspace", "resume", "engines")...)
	wait(t, "the workspace to be in use", func() bool { return s.corp("agent", "list").code == 0 })

	leaked := strings.Fields(s.must("key", "create", "leaked"))
	key := leaked[len(leaked)-1]
	s.says("leaked", "--key", key, "--server", "http://"+s.listen, "whoami")
	s.fails("no such key", operator("key", "revoke", "--installation", "gc_live_none")...)
	s.says("Key leaked (member", operator("key", "revoke", "--installation", key[:12]+"..."+key[len(key)-4:])...)
	wait(t, "the key to be refused", func() bool { return s.corp("--key", key, "--server", "http://"+s.listen, "whoami").code != 0 })
	s.fails("Add --installation", operator("key", "revoke", "--this-one", key[:12])...)

	s.says("Another key signs", operator("server", "rotate-signing-keys")...)
	s.says("default", "agent", "list") // with a new token
	s.says("may sign in again", operator("person", "enable", "ada@example.com")...)
	s.says("2 sessions have ended", operator("person", "sign-out", "ada@example.com")...) // a browser's and a command line's
	s.fails("ign in", "agent", "list")
	s.fails("--all", operator("person", "sign-out")...)
	s.says("0 sessions have ended", operator("person", "sign-out", "--all")...)
	s.says("is kept out", operator("person", "disable", "Ada@example.com")...)
	s.says("may sign in again", operator("person", "enable", "ada@example.com")...)
	ada.send(http.MethodPost, "/sign-in", "email", "ada@example.com", "password", "tulip-anvil-marsh")

	s.says("There was none to revoke", operator("key", "revoke-operator")...)
	s.says("(operator, gc_op_", operator("key", "revoke-operator", "--this-one")...)
	wait(t, "the operator's key to be refused", func() bool { return s.corp(operator("mail", "list")...).code != 0 })
	s.kill(syscall.SIGTERM)
	s.up()
	for operation, want := range map[string]int{"revokeAnyKey": 1, "rotateSigningKeys": 1, "enablePerson": 2, "disablePerson": 1, "signOutPeople": 2, "revokeOperatorKeys": 2} {
		if n := s.logged(operation); n != want {
			t.Errorf("the log has %d events of %s, want %d", n, operation, want)
		}
	}
	if n, back := s.logged("suspendWorkspace"), s.logged("resumeWorkspace"); n != 2 || back != 1 {
		t.Errorf("the log has %d suspensions and %d resumptions", n, back)
	}
}

// After the operator's own key was revoked the next start makes another; the key of the
// runner that the last start left behind ends all the same.
func TestAnIncidentLeavesNoRunnersKeyBehind(t *testing.T) {
	t.Parallel()
	s := start(t)
	runner := func() string { l, _ := s.context(); return l.Runner }
	wait(t, "the runner's key", func() bool { return runner() != "" })
	last := runner()
	s.must("--context", "local", "key", "revoke-operator", "--this-one")
	s.kill(syscall.SIGTERM)
	s.up()
	wait(t, "the next runner's key", func() bool { return runner() != last })
	if out := s.must("--context", "local", "key", "revoke-operator", "--runners"); strings.Contains(out, last) {
		t.Errorf("the key of the runner that is gone was still good:\n%s", out)
	}
}
