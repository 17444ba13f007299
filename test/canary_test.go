package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/stage"
)

// canaryWork has an agent say the word and write it into a file.
const canaryWork = `
name: WORD
when: {prompt: WORD}
rules:
  - name: rule-1
    match: {tool_results: 0}
    reply:
      thinking: I think of WORD.
      text: I write WORD.
      tool_calls:
        - {name: write, input: {path: WORD.txt, content: "WORD\n"}}
        - {name: run, input: {command: "echo WORD; cat README.md"}}
  - name: rule-2
    reply: {text: WORD is written.}
`

// resident is a customer with a word that stands in everything they write, and that
// nobody else may ever see.
type resident struct {
	s        *server
	t        *testing.T
	word     string
	vendor   *vendor
	ws       corp.Workspace
	person   *client.Client // signed in
	access   string
	key      string // of their own, an owner's
	api      *client.Client
	repo     string
	named    map[string]string // what fills a path in: ids of their own
	tasks    []corp.TaskID
	streamed stage.Log
	shown    map[string]bool // operations that showed them their word
	answers  int
}

// T2, T3, T6: customers who work at once see only their own, in every text that
// anybody can write, and what each is billed is what their vendor billed.
// Attack case 6. Control: everybody sees their own word in every answer that has their texts.
func TestResidentsSeeOnlyTheirOwnAndAreBilledExactly(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	s := startOn(t, db, "--sign-up", "open", "--slots", "4")
	all := make([]*resident, residents)
	for i := range all {
		word := fmt.Sprintf("canary-%d-%010x", i, rand.Uint64N(1<<40))
		all[i] = &resident{s: s, t: t, word: word, vendor: newVendorAt(t, "/"+word, strings.ReplaceAll(canaryWork, "WORD", word)), shown: map[string]bool{}, named: map[string]string{"issuer": "none"}}
		all[i].settle()
	}
	gets := readOperations(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var streams, work sync.WaitGroup
	end := time.Now().Add(residentsStay)
	for _, u := range all {
		streams.Go(func() { u.listen(ctx) })
		work.Go(func() {
			for first := true; first || time.Now().Before(end); first = false {
				u.round()
				u.readAll(gets, all)
			}
		})
	}
	work.Wait()
	for _, u := range all {
		u.peek(all)
		wait(t, "the stream to tell of the word", func() bool { return strings.Contains(u.streamed.String(), u.word) })
	}
	stop()
	streams.Wait()
	tasks, answers := 0, 0
	for _, u := range all {
		u.clean("the stream", u.streamed.String(), all)
		u.settled(gets)
		tasks, answers = tasks+len(u.tasks), answers+u.answers
	}
	if strings.Contains(s.log.String(), "hidden-") {
		t.Error("the log shows a secret")
	}
	places := checkColumns(t, db, all)
	if !t.Failed() {
		t.Logf("residents: %d customers, %d tasks, %d operations read in %d answers, %d columns of text hold a word: 0 leaks; every ledger is the vendor's to the nanodollar", len(all), tasks, len(gets), answers, places)
	}
}

// settle signs the person up and makes everything that a text can stand in.
func (u *resident) settle() {
	u.t.Helper()
	ctx, base := u.t.Context(), "http://"+u.s.listen
	email := u.word + "@example.com"
	nobody := client.New(base, "", client.Options{})
	u.done(nobody.SignUp(ctx, client.RegisterRequest{Email: email, Name: u.word}))
	_, token := u.s.letter(email)
	in, err := nobody.Verify(ctx, client.NewcomerRequest{Token: token, Name: u.word, Password: "tulip-anvil-marsh", Session: corp.SessionCLI})
	u.done(err)
	u.person = client.New(base, in.Access, client.Options{})
	u.ws, err = u.person.FoundWorkspace(ctx, client.MyWorkspaceRequest{Slug: u.word, Name: "The workspace of " + u.word})
	u.done(err)
	got, err := u.person.WorkIn(ctx, u.ws.ID)
	u.done(err)
	u.access = got.Access
	u.person = client.New(base, u.access, client.Options{})
	key, err := u.person.CreateAPIKey(ctx, client.APIKeyRequest{Name: u.word, Role: corp.RoleOwner})
	u.done(err)
	u.key, u.api = key.Key, client.New(base, key.Key, client.Options{Patience: patience})
	_, err = u.api.Invite(ctx, client.InvitationRequest{Email: "guest-of-" + email, Role: corp.RoleViewer})
	u.done(err)
	runner, err := u.api.CreateAPIKey(ctx, client.APIKeyRequest{Name: "runner of " + u.word, Role: corp.RoleRunner})
	u.done(err)
	_, err = client.New(base, runner.Key, client.Options{}).Register(ctx, corp.Registration{
		Protocols: []int{corp.ProtocolVersion}, Name: u.word, Instance: u.word, Slots: 1, Labels: []string{u.word}, Runtimes: []string{corp.RuntimeBuiltin}, Sandbox: "none", Version: u.word,
	})
	u.done(err)
	u.comeAgain(email)
	u.equip()
}

// comeAgain signs in from a browser that tells its name.
func (u *resident) comeAgain(email string) {
	u.t.Helper()
	body := fmt.Sprintf(`{"email":%q,"password":"tulip-anvil-marsh","session":"cli"}`, email)
	req, err := http.NewRequestWithContext(u.t.Context(), http.MethodPost, "http://"+u.s.listen+"/v1/auth/login", strings.NewReader(body))
	u.done(err)
	req.Header.Set("User-Agent", u.word)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	u.done(err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		u.t.Errorf("%s signs in: %s", u.word, resp.Status)
	}
}

// equip makes a provider, an agent, a repository, a schedule and a batch.
func (u *resident) equip() {
	u.t.Helper()
	ctx := u.t.Context()
	provider, err := u.api.CreateProvider(ctx, client.ProviderRequest{ProviderSpec: corp.ProviderSpec{Name: u.word, Dialect: corp.DialectAnthropic, BaseURL: u.vendor.url, Vendor: "anthropic"}, Key: "hidden-" + u.word})
	u.done(err)
	agent, err := u.api.CreateAgent(ctx, corp.AgentSpec{Name: u.word, Model: provider.Name + "/" + model, Instructions: "You sing of " + u.word})
	u.done(err)
	url := "https://example.com/" + u.word + "/widgets.git"
	repository, err := u.api.CreateRepository(ctx, client.RepositoryRequest{RepositorySpec: corp.RepositorySpec{Name: u.word, URL: url, DefaultBase: u.word}, Credential: &corp.GitCredential{Username: u.word, Password: "hidden-" + u.word}})
	u.done(err)
	later := corp.TaskSpec{Prompt: "Later: " + u.word, Agent: agent.Name, RepositoryID: &repository.ID, Base: u.word, Check: "echo " + u.word, Labels: []string{u.word}}
	schedule, err := u.api.CreateSchedule(ctx, corp.ScheduleSpec{Name: u.word, Cron: "@monthly", Task: later})
	u.done(err)
	later.DelaySeconds, later.RepositoryID, later.RepositoryURL = 86_400, nil, url
	batch, err := u.api.SubmitBatch(ctx, corp.BatchSpec{Tasks: []corp.BatchTask{{Ref: "a", TaskSpec: later}}}, "batch-of-"+u.word)
	u.done(err)
	u.named["provider"], u.named["agent"], u.named["repository"] = provider.ID.String(), agent.Name, repository.ID.String()
	u.named["schedule"], u.named["batch"] = schedule.Name, batch.ID.String()
	u.repo = u.s.repository(map[string]string{"README.md": u.word + "\n", u.word + "/a.txt": "a\n"})
	git(u.t, u.repo, "checkout", "-q", "-b", u.word)
	git(u.t, u.repo, "commit", "-q", "--allow-empty", "-m", "About "+u.word)
}

// round runs one task to its end.
func (u *resident) round() {
	u.t.Helper()
	r := u.s.corp("--server", "http://"+u.s.listen, "--key", u.key, "run", "-o", "json", "--repo", u.repo, "--agent", u.word, "--check", "test -f "+u.word+".txt && echo "+u.word, "Sing of "+u.word)
	var o outcome
	if err := json.Unmarshal([]byte(r.out), &o); err != nil || r.code != 0 || o.State != corp.TaskSucceeded {
		u.t.Errorf("%s: exit %d, %v %+v\n%s", u.word, r.code, err, o, r.err)
		return
	}
	u.tasks = append(u.tasks, o.TaskID)
	task, err := u.api.Task(u.t.Context(), o.TaskID)
	if err != nil {
		u.t.Error(err)
		return
	}
	u.named["task"], u.named["run"] = task.ID.String(), task.RunID.String()
	if task.SourceID != nil {
		u.named["blob"] = task.SourceID.String()
	}
}

// listen follows everything that happens in the workspace.
func (u *resident) listen(ctx context.Context) {
	for update, err := range u.api.Stream(ctx, client.StreamQuery{After: "e:0"}) {
		if err != nil {
			return // the test has ended it, or waits in vain for what is missing
		}
		b, _ := json.Marshal(update)
		_, _ = u.streamed.Write(b)
	}
}

// readAll asks every operation that reads, and looks into every answer.
func (u *resident) readAll(gets []readOperation, all []*resident) {
	u.t.Helper()
	if u.named["run"] == "" {
		return
	}
	for _, op := range gets {
		for _, target := range op.targets(u.named) {
			key := u.key
			if op.person {
				key = u.access
			}
			status, body := u.get(key, target)
			u.answers++
			if status != http.StatusOK {
				u.t.Errorf("%s: GET %s: %d %s", u.word, target, status, body)
			}
			u.clean("GET "+target, body, all)
			if strings.Contains(body, u.word) {
				u.shown[op.id] = true
			}
		}
	}
	for _, args := range [][]string{{"logs", u.named["task"]}, {"diff", u.named["task"]}, {"task", "list"}} {
		r := u.s.corp(append([]string{"--server", "http://" + u.s.listen, "--key", u.key}, args...)...)
		if r.code != 0 || !strings.Contains(r.out, u.word) {
			u.t.Errorf("corp %v: exit %d %s%s", args, r.code, r.out, r.err)
		}
		u.clean("corp "+strings.Join(args, " "), r.out+r.err, all)
	}
}

// peek asks for everybody else's objects.
func (u *resident) peek(all []*resident) {
	u.t.Helper()
	for _, v := range all {
		if v == u {
			continue
		}
		for _, target := range []string{"/v1/tasks/" + v.named["task"], "/v1/runs/" + v.named["run"], "/v1/runs/" + v.named["run"] + "/entries", "/v1/runs/" + v.named["run"] + "/patch", "/v1/blobs/" + v.named["blob"], "/v1/agents/" + v.named["agent"], "/v1/calls?task=" + v.named["task"]} {
			if status, body := u.get(u.key, target); status != http.StatusNotFound || strings.Contains(body, v.ws.ID.String()) {
				u.t.Errorf("%s asks for %s: %d %s", u.word, target, status, body)
			}
		}
	}
}

func (u *resident) get(key, target string) (int, string) {
	u.t.Helper()
	req, err := http.NewRequestWithContext(u.t.Context(), http.MethodGet, "http://"+u.s.listen+target, nil)
	if err != nil {
		u.t.Error(err)
		return 0, ""
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		u.t.Error(err)
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		u.t.Error(err)
	}
	return resp.StatusCode, string(body)
}

// clean fails when a text holds anything of somebody else's.
func (u *resident) clean(where, text string, all []*resident) {
	u.t.Helper()
	if strings.Contains(text, "hidden-") {
		u.t.Errorf("%s sees a secret in %s", u.word, where)
	}
	for _, v := range all {
		if v != u && (strings.Contains(text, v.word) || strings.Contains(text, v.ws.ID.String())) {
			u.t.Errorf("%s sees something of %s in %s: %.2000s", u.word, v.word, where, text)
		}
	}
}

// settled holds what the ledger says to what the vendor billed, and what was shown
// to what should be.
func (u *resident) settled(gets []readOperation) {
	u.t.Helper()
	billed, usage := u.vendor.cost(u.t)
	totals, err := u.api.Usage(u.t.Context(), client.UsageQuery{})
	u.done(err)
	ws, err := u.api.Workspace(u.t.Context())
	u.done(err)
	calls := int64(len(u.vendor.Books().Calls))
	if len(totals) != 1 || totals[0].Calls != calls || calls != 2*int64(len(u.tasks)) || totals[0].Cost != billed || totals[0].Usage != usage || ws.Spent != billed || billed == 0 || u.vendor.Books().Forgotten > 0 {
		u.t.Errorf("%s: %d tasks, %d calls, and the vendor billed %v for %+v; the ledger says %+v, the workspace %v", u.word, len(u.tasks), calls, billed, usage, totals, ws.Spent)
	}
	for _, op := range gets {
		if silent := slices.Contains(withoutTexts, op.id); silent == u.shown[op.id] {
			u.t.Errorf("%s: %s shows their word: %v; see withoutTexts", u.word, op.id, u.shown[op.id])
		}
	}
}

func (u *resident) done(err error) {
	u.t.Helper()
	if err != nil {
		u.t.Fatalf("%s: %v", u.word, err)
	}
}
