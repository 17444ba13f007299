package runner_test

import (
	"context"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// forge serves a bare repository by git's own HTTP program. Reading is free,
// pushing needs the password.
type forge struct {
	url, dir string
}

func newForge(t *testing.T) forge {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "x.git")
	git(t, root, "clone", "-q", "--bare", newRepository(t), dir)
	git(t, dir, "config", "http.receivepack", "true")
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{Path: path, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=u"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		push := strings.Contains(r.URL.Path+r.URL.RawQuery, "git-receive-pack")
		if user, password, _ := r.BasicAuth(); push && (user != "u" || password != "secret") {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return forge{server.URL + "/x.git", dir}
}

// repository stores the forge with a credential.
func (d *desk) repository(f forge, password string) func(*corp.TaskSpec) {
	d.t.Helper()
	ask := client.RepositoryRequest{RepositorySpec: corp.RepositorySpec{Name: "forge-" + password + "-" + filepath.Base(filepath.Dir(f.dir)), URL: f.url}}
	ask.Credential = &corp.GitCredential{Username: "u", Password: password}
	made, err := d.client.CreateRepository(d.t.Context(), ask)
	if err != nil {
		d.t.Fatal(err)
	}
	return func(s *corp.TaskSpec) { s.SourceID, s.BaseCommit, s.RepositoryID = nil, "", &made.ID }
}

func byURL(f forge) func(*corp.TaskSpec) {
	return func(s *corp.TaskSpec) { s.SourceID, s.BaseCommit, s.RepositoryURL = nil, "", f.url }
}

func TestABranchGoesToTheRemoteWhenTheCredentialAllowsIt(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	s := d.settings()
	s.Sandbox = "bubblewrap"
	d.start(s)
	f := newForge(t)
	after, run := d.final(d.submit("env\nwrite new.txt x", d.repository(f, "secret"), check("test -f new.txt")))
	if after.State != corp.TaskSucceeded || !run.Pushed || run.ResultID != nil || run.PatchID == nil {
		t.Fatalf("the task is %s (%s); pushed %v", after.State, after.Detail, run.Pushed)
	}
	if got := git(t, f.dir, "rev-parse", "refs/heads/"+run.Branch); got != run.Commit {
		t.Errorf("the remote has %s, the run says %s", got, run.Commit)
	}
	message := git(t, f.dir, "log", "-1", "--format=%an|%s|%b", run.Commit)
	if !strings.Contains(message, "Generic Corp default|env|") || !strings.Contains(message, "Corp-Task: "+after.ID.String()) {
		t.Errorf("the commit says %q", message)
	}
	if _, text := d.transcript(run.ID); strings.Contains(text, "secret") {
		t.Error("the agent saw the repository's credential")
	}
}

func TestWhatCannotBePushedIsKeptAsABundle(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.start(d.settings())
	f := newForge(t)
	t.Run("without a credential it is a success", func(t *testing.T) {
		t.Parallel()
		d := *d
		d.t = t
		after, run := d.final(d.submit("write new.txt x", byURL(f)))
		if after.State != corp.TaskSucceeded || run.Pushed || run.ResultID == nil {
			t.Errorf("the task is %s (%s); pushed %v, kept %v", after.State, after.Detail, run.Pushed, run.ResultID)
		}
	})
	t.Run("with a credential that is refused it is a failed delivery", func(t *testing.T) {
		t.Parallel()
		d := *d
		d.t = t
		_, run := d.final(d.submit("write new.txt x", d.repository(f, "wrong"), attempts(1)))
		if run.State != corp.RunFailed || run.Reason != corp.ReasonDelivery || run.ResultID == nil || strings.Contains(run.Detail, "wrong") {
			t.Errorf("the run is %s, %s (%s), kept %v", run.State, run.Reason, run.Detail, run.ResultID)
		}
	})
	t.Run("what the agent did not finish is not pushed", func(t *testing.T) {
		t.Parallel()
		d := *d
		d.t = t
		_, run := d.final(d.submit("write new.txt x\nreason step_limit It went in circles.", d.repository(f, "secret")))
		if run.State != corp.RunFailed || run.Pushed || run.ResultID == nil {
			t.Errorf("the run is %s, pushed %v, kept %v", run.State, run.Pushed, run.ResultID)
		}
		if refs := git(t, f.dir, "for-each-ref", "refs/heads/"+run.Branch); refs != "" {
			t.Errorf("the remote has %s", refs)
		}
	})
}

func TestWhatFailedItsCheckIsPushedToLookAtAndReplacedByTheNextTry(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.start(d.settings())
	f := newForge(t)
	mark := filepath.Join(t.TempDir(), "mark")
	task, run := d.final(d.submit("pid\nwrite new.txt x", d.repository(f, "secret"), check("test -e "+mark)))
	if run.State != corp.RunFailed || run.Reason != corp.ReasonCheckFailed || !run.Pushed {
		t.Fatalf("the run is %s, %s, pushed %v: %s", run.State, run.Reason, run.Pushed, run.Detail)
	}
	if got := git(t, f.dir, "rev-parse", "refs/heads/"+run.Branch); got != run.Commit {
		t.Errorf("the remote has %s, the run says %s", got, run.Commit)
	}
	write(t, mark)
	again, err := d.client.RetryTask(t.Context(), task.ID)
	if err != nil {
		t.Fatal(err)
	}
	after, second := d.final(again)
	if after.State != corp.TaskSucceeded || !second.Pushed || second.Attempt != 2 {
		t.Fatalf("the second try is %s, pushed %v, attempt %d: %s", after.State, second.Pushed, second.Attempt, after.Detail)
	}
	if got := git(t, f.dir, "rev-parse", "refs/heads/"+second.Branch); got != second.Commit || got == run.Commit {
		t.Errorf("the remote has %s, the runs said %s and %s", got, run.Commit, second.Commit)
	}
}

func TestABaseThatIsNotThereSaysSo(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.start(d.settings())
	f := newForge(t)
	for name, edit := range map[string]func(*corp.TaskSpec){
		"no such branch": func(s *corp.TaskSpec) { byURL(f)(s); s.Base = "nowhere" },
		"no such commit": func(s *corp.TaskSpec) { byURL(f)(s); s.Base = strings.Repeat("a", 40) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := *d
			d.t = t
			if after, run := d.final(d.submit("write new.txt x", edit)); after.State != corp.TaskFailed || run.Reason != corp.ReasonBase || run.Detail == "" {
				t.Errorf("the task is %s, its run %s: %s", after.State, run.Reason, run.Detail)
			}
		})
	}
}

// The runner is a process in a mount name space of its own, with a small file
// system as its work folder.
func TestAFullDiskEndsTheRunWithASentenceAndTheNextOneWorks(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	s := d.settings()
	s.Tmpfs = true
	d.launch(s, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	})
	_, run := d.final(d.submit("fill", attempts(1)))
	if run.State != corp.RunFailed || run.Reason != corp.ReasonDiskFull || !strings.Contains(run.Detail, "no space left") {
		t.Errorf("the run is %s, %s: %s", run.State, run.Reason, run.Detail)
	}
	if after, run := d.final(d.submit("write new.txt x")); after.State != corp.TaskSucceeded {
		t.Errorf("the next task is %s: %s", after.State, run.Detail)
	}
}

func TestAnAgentReachesTheGatewayWithItsRunKeyFromWithinTheSandbox(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"bubblewrap", "none"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			s := d.settings()
			s.Sandbox = level
			d.start(s)
			if _, err := d.client.CreateAgent(t.Context(), corp.AgentSpec{Name: "careful", Model: pgtest.Model, Instructions: "Be careful."}); err != nil {
				t.Fatal(err)
			}
			_, run := d.final(d.submit("call /v1/messages\ninstructions\nwrite new.txt x", func(s *corp.TaskSpec) { s.Agent = "careful" }))
			_, text := d.transcript(run.ID)
			if !strings.Contains(text, "Be careful.") {
				t.Errorf("the agent was not told its instructions: %q", text)
			}
			if !strings.Contains(text, "model /v1/messages "+corp.KeyPrefixRun) {
				t.Errorf("the agent's call was answered with %q", text)
			}
		})
	}
}

func TestWhatADeadRunnerLeftBehindIsRemovedAtTheNextStart(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	s := d.settings()
	victim := d.launch(s, nil)
	task := d.submit("pid\nhang", attempts(1))
	agent := d.agentPID(task.RunID)
	left := filepath.Join(s.WorkDir, task.RunID.String())
	if _, err := os.Stat(left); err != nil {
		t.Fatal(err)
	}
	keep := filepath.Join(s.WorkDir, "notes.txt")
	write(t, keep)
	if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.dies(agent, 20*time.Second)
	d.start(s)
	pgtest.Eventually(t, 20*time.Second, "the leftovers to go", func(context.Context) bool {
		_, err := os.Stat(left)
		return os.IsNotExist(err)
	})
	if _, err := os.Stat(keep); err != nil {
		t.Errorf("it removed what is not its own: %v", err)
	}
	if after, _ := d.final(task); after.State != corp.TaskDead {
		t.Errorf("the task is %s", after.State)
	}
}
