package runner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/api"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/gateway"
	"github.com/genericcorp/corp/gateway/pricebook"
	"github.com/genericcorp/corp/outbound"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
	"github.com/genericcorp/corp/runner"
	"github.com/genericcorp/corp/runner/builtin"
	"github.com/genericcorp/corp/vendorsim"
)

// builtinRole, in its environment, makes the test binary's agent the built-in one.
const builtinRole = "CORP_TEST_BUILTIN"

func builtinAgent() int {
	told, err := runner.ReadAgentSettings(os.Getenv)
	if err != nil {
		return 2
	}
	return builtin.Main(context.Background(), os.Stdin, os.Stdout, os.Stderr, builtin.Config{
		BaseURL: told.BaseURL, Key: told.Key, Model: told.Model, Dialect: told.Dialect, ContextWindow: told.ContextWindow,
		MaxTokens: told.MaxTokens, MaxTurns: told.MaxTurns, Home: os.Getenv("HOME"), Env: []string{"PATH=" + os.Getenv("PATH")}, Version: "test",
		Patience: builtin.Patience{Tries: 2, Base: time.Millisecond, Cap: 10 * time.Millisecond},
	})
}

// modelGateway is a real gateway on the tests' database.
var modelGateway = sync.OnceValues(func() (string, error) {
	s, err := shared()
	if err != nil {
		return "", err
	}
	prices, err := pricebook.Prices()
	if err != nil {
		return "", err
	}
	ctx := context.Background() // as long as the process
	if _, err := s.env.DB.System("test").SeedPrices(ctx, prices); err != nil {
		return "", err
	}
	dir, err := keep("corp-runner-gateway-")
	if err != nil {
		return "", err
	}
	g, err := gateway.New(gateway.Config{DB: s.env.DB, Ring: s.ring, Server: corp.NewID[corp.ServerID](), JournalPath: filepath.Join(dir, "journal"), Outbound: outbound.Policy{AllowPrivate: true}})
	if err != nil {
		return "", err
	}
	if err := g.Recover(ctx); err != nil {
		return "", err
	}
	go func() { _ = g.Run(ctx) }()
	return httptest.NewServer(g).URL, nil
})

// mill is a desk whose agents are the built-in one: with a gateway, and a
// simulated vendor of its own.
type mill struct {
	*desk
	sim *vendorsim.Server
	url string
}

// millModel is the model that a mill's agent asks.
type millModel struct {
	name     string
	provider corp.ProviderSpec
}

func newMill(t *testing.T, scenario string, change ...func(*millModel)) *mill {
	t.Helper()
	d := newDesk(t)
	address, err := modelGateway()
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := vendorsim.Load(strings.NewReader(scenario))
	if err != nil {
		t.Fatal(err)
	}
	m := &mill{desk: d, sim: vendorsim.New(vendorsim.Options{}, loaded)}
	vendor := httptest.NewServer(m.sim)
	t.Cleanup(vendor.Close)
	a, err := api.New(api.Config{
		DB: d.env.DB, People: people.New(d.env.DB.Door()), Hub: d.hub, Dispatcher: d.leader, Blobs: d.blobs, Ring: d.ring, GatewayURL: func() string { return address },
		Times: times(), Version: "test", Logger: quiet(), Outbound: outbound.Policy{AllowPrivate: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(a.Handler())
	t.Cleanup(front.Close)
	m.url = front.URL
	model := millModel{"claude-sonnet-4-5", corp.ProviderSpec{Name: "sim", Dialect: corp.DialectAnthropic, BaseURL: vendor.URL, Vendor: "anthropic"}}
	for _, c := range change {
		c(&model)
	}
	id := corp.NewID[corp.ProviderID]()
	_, err = d.env.DB.In(d.ws).CreateProvider(t.Context(), corp.ActorSystem, id, model.provider,
		d.ring.Seal([]byte("sk-sim"), d.ws.String(), "provider", id.String()))
	if err == nil {
		_, err = d.env.DB.In(d.ws).CreateAgent(t.Context(), corp.ActorSystem, corp.AgentSpec{Name: "miller", Runtime: corp.RuntimeBuiltin, Model: "sim/" + model.name})
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mill) settings(url string) settings {
	s := m.desk.settings()
	s.URL, s.Builtin = url, true
	return s
}

func byMiller(s *corp.TaskSpec) { s.Agent = "miller" }

// errand is a task of five answers and five tool calls, which shows what was
// done twice.
const errand = `
name: errand
rules:
  - {name: one, match: {tool_results: 0}, reply: {text: I look., tool_calls: [{name: read, input: {path: README.md}}]}}
  - {name: two, match: {tool_results: 1}, reply: {tool_calls: [{name: edit, input: {path: README.md, old: hello, new: "good day"}}]}}
  - {name: three, match: {tool_results: 2}, reply: {tool_calls: [{name: run, input: {command: "echo ran >> log.txt"}}, {name: edit, input: {path: README.md, old: good, new: better}}]}}
  - {name: four, match: {tool_results: 4}, reply: {tool_calls: [{name: write, input: {path: new.txt, content: "made\n"}}]}}
  - {name: five, match: {tool_results: 5}, reply: {text: Done.}}
`

// errandSteps are the keys of the errand's journal.
var errandSteps = []string{"00000", "00001", "00001.000", "00002", "00002.000", "00003", "00003.000", "00003.001", "00004", "00004.000", "00005"}

const errandAnswers = 5

// carried is an errand whose first runner was killed.
type carried struct {
	*mill
	task   corp.Task
	extra  int // calls that may be paid for twice
	killed chan struct{}
}

// kill begins an errand and kills its runner with SIGKILL at its k-th step:
// before the server has it, or before the runner knows that the server has it.
func kill(t *testing.T, k int, stored bool) *carried {
	t.Helper()
	m := newMill(t, errand)
	c := &carried{mill: m, killed: make(chan struct{})}
	w := newWire(t, m.url)
	var victim atomic.Pointer[exec.Cmd]
	var seen atomic.Int32
	strike := func(path string) bool {
		if !strings.HasSuffix(path, "/steps") || int(seen.Add(1)) != k+1 {
			return false
		}
		if err := victim.Load().Process.Kill(); err != nil {
			t.Errorf("kill: %v", err)
		}
		close(c.killed)
		return true
	}
	if stored {
		w.lose = func(path string, body []byte) bool { return len(body) == 0 && strike(path) } // that a step was taken is said with no body
	} else {
		w.hold = func(path string) bool { return strings.HasPrefix(path, http.MethodPost) && strike(path) }
		if !strings.Contains(errandSteps[k], ".") && k > 0 {
			c.extra = 1
		}
	}
	victim.Store(m.launch(m.settings(w.URL), nil))
	c.task = m.submit("Do the errand.", byMiller)
	return c
}

// Invariant 17, end to end: wherever a machine dies, no model call whose answer
// was saved is paid for again, and the result is the same.
func TestARunnerKilledAtAnyStepCostsNoAnswerThatWasSaved(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{true, false} {
		var all []*carried
		for k := range errandSteps {
			all = append(all, kill(t, k, stored))
		}
		for k, c := range all {
			select {
			case <-c.killed:
			case <-time.After(60 * time.Second):
				t.Fatalf("step %s was not reached", errandSteps[k])
			}
			c.start(c.settings(c.url))
		}
		for k, c := range all {
			name := fmt.Sprintf("step %s, stored %t", errandSteps[k], stored)
			task, run := c.final(c.task)
			if task.State != corp.TaskSucceeded || run.Attempt != 2 {
				t.Errorf("%s: the task is %s (%s) after attempt %d: %s", name, task.State, task.Reason, run.Attempt, task.Detail)
				continue
			}
			c.hasErrand(name, run)
			c.paid(name, task.ID, c.extra)
			continues := fmt.Sprintf("Continued after %d saved model answers", answersBefore(k, stored))
			if _, text := c.transcript(run.ID); strings.Contains(text, continues) != (answersBefore(k, stored) > 0 && answersBefore(k, stored) < errandAnswers) {
				t.Errorf("%s: the transcript is\n%s", name, text)
			}
		}
	}
}

// answersBefore is how many answers were saved when the runner was killed.
func answersBefore(k int, stored bool) (n int) {
	if stored {
		k++
	}
	for _, key := range errandSteps[1:max(k, 1)] {
		if !strings.Contains(key, ".") {
			n++
		}
	}
	return n
}

// hasErrand sees that the branch holds each change once.
func (m *mill) hasErrand(name string, run corp.Run) {
	m.t.Helper()
	body, err := m.client.Patch(m.t.Context(), run.ID)
	if err != nil {
		m.t.Errorf("%s: %v", name, err)
		return
	}
	defer func() { _ = body.Close() }()
	patch, err := io.ReadAll(body)
	if err != nil {
		m.t.Errorf("%s: %v", name, err)
	}
	for _, want := range []string{"-hello", "+better day", "+ran", "+made"} {
		if bytes.Count(patch, []byte("\n"+want+"\n")) != 1 {
			m.t.Errorf("%s: the patch has no single %q:\n%s", name, want, patch)
		}
	}
	if run.Diffstat == nil || run.Diffstat.Insertions != 3 || run.Diffstat.Deletions != 1 || run.Diffstat.Files != 3 {
		m.t.Errorf("%s: the change is %+v", name, run.Diffstat)
	}
}

// paid compares the vendor's books with the ledger, and both with what the
// errand costs.
func (m *mill) paid(name string, task corp.TaskID, extra int) {
	m.t.Helper()
	turns, answered := map[int]int{}, 0
	var billed corp.Usage
	for _, c := range m.sim.Books().Calls {
		if c.Status == http.StatusOK {
			turns[c.Turn]++
			answered++
			billed = billed.Add(corp.Usage{FreshInput: c.Usage.Input, CacheRead: c.Usage.CacheRead, CacheWriteShort: c.Usage.CacheWrite5m, CacheWriteLong: c.Usage.CacheWrite1h, Output: c.Usage.Output})
		}
	}
	if answered < errandAnswers || answered > errandAnswers+extra || len(turns) != errandAnswers {
		m.t.Errorf("%s: the vendor answered %d times, by turn %v", name, answered, turns)
	}
	var calls int
	var usage corp.Usage
	pgtest.Eventually(m.t, 20*time.Second, name+": the ledger to hold every call", func(ctx context.Context) bool {
		list, err := m.client.Calls(ctx, client.CallQuery{Task: task}, corp.Page{Limit: corp.MaxPage})
		if err != nil {
			return false
		}
		calls, usage = 0, corp.Usage{}
		for _, c := range list.Items {
			calls, usage = calls+1, usage.Add(c.Usage)
		}
		return calls >= answered
	})
	if calls != answered || usage != billed {
		m.t.Errorf("%s: the ledger has %d calls, %+v; the vendor billed %d, %+v", name, calls, usage, answered, billed)
	}
}

// A drained runner hands its run over with all that was saved.
func TestAReleasedRunGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	for _, k := range []int{1, 4, 8} {
		t.Run(errandSteps[k], func(t *testing.T) {
			t.Parallel()
			m := newMill(t, errand)
			w := newWire(t, m.url)
			var seen atomic.Int32
			reached := make(chan struct{})
			w.lose = func(path string, body []byte) bool {
				if strings.HasSuffix(path, "/steps") && len(body) == 0 && int(seen.Add(1)) == k+1 {
					close(reached)
				}
				return int(seen.Load()) > k && strings.HasSuffix(path, "/steps") && len(body) == 0 // no further: it asks again
			}
			s := m.settings(w.URL)
			s.DrainGrace = time.Millisecond
			stop := m.start(s)
			task := m.submit("Do the errand.", byMiller)
			<-reached
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			m.start(m.settings(m.url))
			after, run := m.final(task)
			if after.State != corp.TaskSucceeded || run.ID != task.RunID || run.Attempt != 1 || run.Epoch != 2 {
				t.Fatalf("the task is %s, attempt %d, epoch %d: %s", after.State, run.Attempt, run.Epoch, after.Detail)
			}
			m.hasErrand(t.Name(), run)
			m.paid(t.Name(), task.ID, 0)
		})
	}
}

// After a vendor that was down the next attempt goes on; after a check that
// failed somebody who tries again wants other work.
func TestAnotherAttemptGoesOnOrStartsAnewByWhyTheLastOneEnded(t *testing.T) {
	t.Parallel()
	down := strings.Replace(errand, "{name: four, match: {tool_results: 4}, reply:", "{name: four, match: {tool_results: 4}, faults: [{kind: status, status: 529, times: 2}], reply:", 1)
	m := newMill(t, down)
	m.start(m.settings(m.url))
	after, run := m.final(m.submit("Do the errand.", byMiller))
	if after.State != corp.TaskSucceeded || run.Attempt != 2 {
		t.Fatalf("the task is %s after attempt %d: %s", after.State, run.Attempt, after.Detail)
	}
	m.hasErrand("after the vendor was down", run)
	answered := 0
	for _, c := range m.sim.Books().Calls {
		if c.Status == http.StatusOK {
			answered++
		}
	}
	if answered != errandAnswers {
		t.Errorf("the vendor answered %d times", answered)
	}

	m = newMill(t, errand)
	m.start(m.settings(m.url))
	failed, _ := m.final(m.submit("Do the errand.", byMiller, check("false")))
	if failed.Reason != corp.ReasonCheckFailed {
		t.Fatalf("the task is %s", failed.Reason)
	}
	if _, err := m.client.RetryTask(t.Context(), failed.ID); err != nil {
		t.Fatal(err)
	}
	failed, _ = m.final(failed)
	if n := len(m.sim.Books().Calls); failed.Attempts != 2 || n != 2*errandAnswers {
		t.Errorf("after attempt %d the vendor was asked %d times", failed.Attempts, n)
	}
}

// What a hostile agent hands out as a step hurts nobody else's run, and not its own.
func TestStepsThatTheServerRefusesStopNoRun(t *testing.T) {
	t.Parallel()
	m := newMill(t, errand)
	front := httptest.NewServer(refuseSteps(t, m.url))
	t.Cleanup(front.Close)
	m.start(m.settings(front.URL))
	after, run := m.final(m.submit("Do the errand.", byMiller))
	if after.State != corp.TaskSucceeded || run.Attempt != 1 {
		t.Errorf("the task is %s after attempt %d: %s", after.State, run.Attempt, after.Detail)
	}
	m.paid(t.Name(), after.ID, 0)
}

// refuseSteps is a server that does not know steps, as an older one.
func refuseSteps(t *testing.T, to string) http.Handler {
	t.Helper()
	w := newWire(t, to)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/steps") {
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(rw).Encode(map[string]any{"status": 404, "kind": "not_found", "title": "Not Found", "detail": "There is no such route."})
			return
		}
		w.Config.Handler.ServeHTTP(rw, r)
	})
}
