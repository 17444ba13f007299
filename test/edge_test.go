package test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/genericcorp/corp"
)

// asked sends a request under a host name.
func (s *server) asked(host, path string) (int, http.Header) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.listen+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Host = host
	r.Header.Set("Authorization", "Bearer "+s.key())
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, answer.Header
}

func TestAnInstallationWithAPublicURLIsClosedToItsOwnNetwork(t *testing.T) {
	t.Parallel()
	inside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = inside.Close() })
	s := start(t, "--public-url", "https://corp.example.com", "--domain", "example.com", "--no-runner")
	for host, want := range map[string]int{"corp.example.com": 200, s.listen: 200, "default.app.example.com": 200, "other.app.example.com": 404, "evil.example.org": 421, "192.0.2.1": 421} {
		if status, h := s.asked(host, "/v1/workspace"); status != want || h.Get("Strict-Transport-Security") == "" || h.Get("Content-Security-Policy") == "" {
			t.Errorf("as %s: %d, want %d; %v", host, status, want, h)
		}
	}
	for _, args := range [][]string{
		{"provider", "add", "own", "--base-url", "http://" + inside.Addr().String(), "--no-key"},
		{"repository", "add", "own", "http://" + inside.Addr().String() + "/x.git"},
		{"repository", "add", "meta", "https://169.254.169.254/x.git"},
	} {
		if r := s.corp(args...); r.code == 0 || !strings.Contains(r.err, "--allow-private") {
			t.Errorf("corp %v: exit %d: %s%s", args, r.code, r.out, r.err)
		}
	}
	if out := s.must("mail", "list"); !strings.Contains(out, "SUBJECT") && !strings.Contains(strings.ToLower(out), "no") {
		t.Errorf("corp mail list: %s", out)
	}
	if r := s.corp("mail", "show", corp.NewID[corp.MailID]().String()); r.code == 0 || !strings.Contains(r.err, "no such mail") {
		t.Errorf("corp mail show: exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := s.corp("workspace", "create", "www"); r.code == 0 || !strings.Contains(r.err, "kept for the installation") {
		t.Errorf("a reserved name: exit %d: %s%s", r.code, r.out, r.err)
	}
}

// A runner keeps to its own list, whatever the server lets workspaces name.
func TestARunnerReachesNoRemoteThatItsListDoesNotName(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var reached atomic.Int64
	forge := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		http.NotFound(w, nil)
	})}
	go func() { _ = forge.Serve(l) }()
	t.Cleanup(func() { _ = forge.Close() })
	s := start(t, "--no-runner")
	submit := func(label string) corp.Task {
		task, err := s.SubmitTask(t.Context(), corp.TaskSpec{Prompt: "x", RepositoryURL: "http://" + l.Addr().String() + "/x.git", MaxAttempts: 1, Labels: []string{label}}, "")
		if err != nil {
			t.Fatal(err)
		}
		wait(t, "the task to end", func() bool {
			task, err = s.Task(t.Context(), task.ID)
			return err == nil && task.State.Final()
		})
		return task
	}
	s.startRunner("closed", 1, "--label", "closed", "--allow-private", "10.99.0.0/16")
	s.startRunner("told", 1, "--label", "told") // what the server says: a laptop's
	task := submit("closed")
	runs, err := s.Runs(t.Context(), task.ID, corp.Page{})
	if err != nil || len(runs.Items) != 1 || runs.Items[0].Reason != corp.ReasonRepository || !strings.Contains(runs.Items[0].Detail, "not allowed") {
		b, _ := json.Marshal(runs.Items)
		t.Errorf("%v: %s", err, b)
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the forge was reached %d times", n)
	}
	if submit("told"); reached.Load() == 0 {
		t.Error("the other runner did not reach it either; the test proves nothing")
	}
}
