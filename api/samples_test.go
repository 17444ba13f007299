package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/mail"
	"github.com/genericcorp/corp/postgres/people"
)

// sample is one good request of an operation, made anew for each use: it names
// objects of the office that are there for it alone.
type sample struct {
	path   map[string]string
	query  url.Values
	header map[string]string
	body   any
	bytes  string // instead of body
	status int    // of its answer to who may; 0 means the operation's own
}

// send sends the sample, with each text of swap replaced wherever it stands.
func (s sample) send(t *testing.T, h *house, op operation, key string, swap map[string]string) reply {
	t.Helper()
	method, target, _ := strings.Cut(op.route, " ")
	for name, value := range s.path {
		target = strings.ReplaceAll(target, "{"+name+"}", url.PathEscape(value))
	}
	if strings.Contains(target, "{") {
		t.Fatalf("%s: the sample does not fill %s", op.id, target)
	}
	if len(s.query) > 0 {
		target += "?" + s.query.Encode()
	}
	body := s.bytes
	if s.body != nil {
		b, err := json.Marshal(s.body)
		if err != nil {
			t.Fatal(err)
		}
		body = string(b)
	}
	header := map[string]string{}
	for name, value := range s.header {
		header[name] = replaced(value, swap)
	}
	return h.do(t, key, method, replaced(target, swap), header, replaced(body, swap))
}

func replaced(text string, swap map[string]string) string {
	for from, to := range swap {
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

// samples makes good requests for each operation. A new operation needs a line
// here; without one the tests that walk the table fail.
//
//nolint:thelper // a table of makers, of one line each
var samples = map[string]func(t *testing.T, o *office, key string) []sample{
	"health":       plain,
	"ready":        plain,
	"whoami":       plain,
	"stream":       streamSamples,
	"getWorkspace": plain,
	"getLimits":    plain,
	"updateWorkspace": func(*testing.T, *office, string) []sample {
		return one(sample{body: corp.WorkspaceUpdate{Name: new("Renamed")}})
	},
	"listWorkspaces": plain,
	"createWorkspace": func(*testing.T, *office, string) []sample {
		return one(sample{body: workspaceRequest{Slug: unique("ws")}})
	},
	"suspendWorkspace": workspaceSample,
	"resumeWorkspace":  workspaceSample,
	"disablePerson":    personSample,
	"enablePerson":     personSample,
	"signOutPeople":    personSample,
	"rotateSigningKeys": func(*testing.T, *office, string) []sample { // at once, all that the tests are signed in with would end
		return one(sample{body: map[string]bool{"gently": true}})
	},
	"revokeAnyKey": func(t *testing.T, o *office, _ string) []sample {
		_, id := o.key(t, corp.RoleViewer)
		return one(sample{body: map[string]string{"key": id.String()}})
	},
	"revokeOperatorKeys": func(*testing.T, *office, string) []sample {
		return one(sample{body: map[string]string{"role": string(corp.RoleOperator), "name": unique("nobody's")}})
	},
	"listAgents": plain,
	"createAgent": func(*testing.T, *office, string) []sample {
		return one(sample{body: agentRequest{someAgent(), new(3)}})
	},
	"getAgent": func(t *testing.T, o *office, _ string) []sample { return one(sample{path: o.agentPath(t)}) },
	"updateAgent": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: o.agentPath(t), body: agentRequest{someAgent(), new(2)}})
	},
	"limitAgent": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: o.agentPath(t), body: limitRequest{4}})
	},
	"archiveAgent": func(t *testing.T, o *office, _ string) []sample { return one(sample{path: o.agentPath(t)}) },

	"listRepositories": plain,
	"createRepository": func(*testing.T, *office, string) []sample { return one(sample{body: someRepository()}) },
	"getRepository": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: map[string]string{"repository": o.repository(t).String()}})
	},
	"limitRepository": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: map[string]string{"repository": o.repository(t).String()}, body: limitRequest{4}})
	},
	"archiveRepository": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: map[string]string{"repository": o.repository(t).String()}})
	},

	"listProviders":  plain,
	"createProvider": func(*testing.T, *office, string) []sample { return one(sample{body: someProvider()}) },
	"updateProvider": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: map[string]string{"provider": o.provider(t).String()}, body: someProvider()})
	},
	"archiveProvider": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: map[string]string{"provider": o.provider(t).String()}})
	},

	"listPrices": func(*testing.T, *office, string) []sample {
		return one(sample{query: url.Values{"vendor": {"nobody"}}})
	},
	"addPrice": func(*testing.T, *office, string) []sample {
		return one(sample{body: corp.PriceSpec{Vendor: "local", Model: unique("model")}})
	},

	"uploadSource": func(*testing.T, *office, string) []sample { return one(sample{bytes: "a bundle"}) },
	"downloadBlob": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: map[string]string{"blob": o.source(t).String()}})
	},

	"listTasks": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{query: url.Values{"state": {"queued"}, "agent": {o.agentOf(t).ID.String()}, "schedule": {o.schedule(t).String()}, "parent": {o.submit(t).ID.String()}, "batch": {o.batch(t).String()}, "reason": {"retry"}}})
	},
	"submitTask": submitSamples,
	"submitBatch": func(t *testing.T, o *office, _ string) []sample {
		source, repository, before := o.source(t), o.repository(t), o.submit(t).ID
		return one(sample{body: corp.BatchSpec{Tasks: []corp.BatchTask{
			{Ref: "a", TaskSpec: corp.TaskSpec{Prompt: "x", SourceID: &source, BaseCommit: strings.Repeat("a", 40), Agent: o.agentOf(t).ID.String()}},
			{TaskSpec: corp.TaskSpec{Prompt: "x", RepositoryID: &repository, ParentID: new(o.submit(t).ID), After: []corp.Dependency{{Ref: "a"}, {TaskID: before}}}},
		}}})
	},
	"getBatch":    batchSample,
	"cancelBatch": batchSample,
	"getTaskTree": taskSample,
	"redriveTask": func(t *testing.T, o *office, _ string) []sample {
		offer := o.running(t)
		must[corp.Run](t)(o.runner().Finish(t.Context(), corp.Finish{Lease: offer.Lease, Outcome: corp.Outcome{State: corp.RunFailed, Reason: corp.ReasonCheckFailed}}))
		return one(sample{path: map[string]string{"task": offer.TaskID.String()}})
	},
	"redriveTasks": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{body: corp.RedriveSpec{State: corp.TaskDead, Agent: o.agentOf(t).ID.String(), BatchID: new(o.batch(t)), ScheduleID: new(o.schedule(t))}})
	},
	"getTask":     taskSample,
	"getTaskWait": taskSample,
	"cancelTask":  taskSample,
	"retryTask": func(t *testing.T, o *office, _ string) []sample {
		task := o.submit(t)
		must[corp.Task](t)(o.owner().CancelTask(t.Context(), task.ID))
		return one(sample{path: map[string]string{"task": task.ID.String()}})
	},
	"listSchedules":  plain,
	"createSchedule": scheduleSamples,
	"getSchedule":    scheduleSample,
	"updateSchedule": func(t *testing.T, o *office, _ string) []sample {
		made := []sample{{body: corp.ScheduleUpdate{Paused: new(true)}}}
		for _, s := range submitSamples(t, o, "") {
			made = append(made, sample{body: corp.ScheduleUpdate{Task: new(s.body.(corp.TaskSpec))}})
		}
		for i := range made {
			made[i].path = o.schedulePath(t)
		}
		return made
	},
	"archiveSchedule": scheduleSample,
	"triggerSchedule": scheduleSample,

	"listRuns": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{query: url.Values{"task": {o.submit(t).ID.String()}}})
	},
	"getRun":      runSample,
	"listEntries": runSample,
	"downloadPatch": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: map[string]string{"run": o.done(t).ID.String()}})
	},
	"listCalls": func(t *testing.T, o *office, _ string) []sample {
		task := o.submit(t)
		return one(sample{query: url.Values{"task": {task.ID.String()}, "run": {task.RunID.String()}}})
	},
	"getUsage": func(*testing.T, *office, string) []sample {
		return one(sample{query: url.Values{"by": {"day"}, "from": {"2026-01-01T00:00:00Z"}}})
	},
	"listAPIKeys": plain,
	"createAPIKey": func(*testing.T, *office, string) []sample {
		return one(sample{body: apiKeyRequest{Name: "x", Role: corp.RoleViewer}})
	},
	"rotateAPIKey": func(t *testing.T, o *office, key string) []sample {
		return one(sample{path: map[string]string{"key": o.keyOf(t, key).String()}, body: map[string]int{"overlap_seconds": 60}})
	},
	"revokeAPIKey": func(t *testing.T, o *office, key string) []sample {
		return one(sample{path: map[string]string{"key": o.keyOf(t, key).String()}})
	},
	"listMembers": plain,
	"updateMember": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: map[string]string{"user": o.member(t, corp.RoleViewer).String()}, body: map[string]string{"role": "member"}})
	},
	"removeMember": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: map[string]string{"user": o.member(t, corp.RoleViewer).String()}})
	},
	"listInvitations": plain,
	"createInvitation": func(*testing.T, *office, string) []sample {
		return one(sample{body: invitationRequest{Email: unique("guest") + "@example.com", Role: corp.RoleViewer}})
	},
	"revokeInvitation": func(t *testing.T, o *office, _ string) []sample {
		made, err := o.api.People.In(o.ws).Invite(t.Context(), "test", unique("guest")+"@example.com", corp.RoleViewer, o.ring.Hash(unique("secret")), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return one(sample{path: map[string]string{"invitation": made.ID.String()}})
	},
	"listAudit": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{query: url.Values{"actor": {o.agentOf(t).ID.String()}, "operation": {"createAgent"}, "result": {"done"}, "from": {"2026-01-01T00:00:00Z"}, "to": {"2036-01-01T00:00:00Z"}}})
	},
	"exportAudit":               plain,
	"getAuditCheckpoint":        plain,
	"listInstallationAudit":     plain,
	"exportInstallationAudit":   plain,
	"getInstallationCheckpoint": plain,
	"eraseAudit": func(*testing.T, *office, string) []sample {
		return one(sample{body: map[string]string{"actor": corp.NewID[corp.UserID]().String()}})
	},
	"listRunners": plain,
	"listServers": plain,
	"listMails":   plain,
	"getMail": func(t *testing.T, o *office, _ string) []sample {
		return one(sample{path: map[string]string{"mail": o.mail(t).String()}})
	},
	"listEvents": func(*testing.T, *office, string) []sample { return one(sample{query: url.Values{"after": {"0"}}}) },

	"registerRunner": func(*testing.T, *office, string) []sample { return one(sample{body: someRegistration()}) },
	"pollRunner": func(t *testing.T, o *office, key string) []sample {
		return one(sample{header: o.runnerHeader(t, key), body: corp.Poll{Seq: 1}})
	},
	"beatRunner": func(t *testing.T, o *office, key string) []sample {
		return one(sample{header: o.runnerHeader(t, key), body: corp.Beat{Leases: []corp.Lease{o.running(t).Lease}}})
	},
	"ackRun": func(t *testing.T, o *office, _ string) []sample {
		offer := o.leased(t)
		return one(sample{path: leasedPath(offer), body: offer.Lease})
	},
	"releaseRun": func(t *testing.T, o *office, _ string) []sample {
		offer := o.running(t)
		return one(sample{path: leasedPath(offer), body: offer.Lease})
	},
	"reportEntries": func(t *testing.T, o *office, _ string) []sample {
		offer := o.running(t)
		return one(sample{path: leasedPath(offer), body: corp.EntryBatch{Lease: offer.Lease, Entries: []corp.Entry{{RunID: offer.RunID, Kind: corp.EntryNote}}}})
	},
	"saveSteps": func(t *testing.T, o *office, _ string) []sample {
		offer := o.running(t)
		return one(sample{path: leasedPath(offer), body: corp.StepBatch{Lease: offer.Lease, Journal: 1, Steps: []corp.Step{{Key: "00001", Output: json.RawMessage(`{}`)}}}})
	},
	"listSteps": func(t *testing.T, o *office, _ string) []sample {
		offer := o.running(t)
		return one(sample{path: leasedPath(offer), header: leasedHeader(offer), query: url.Values{"after": {"00001"}}})
	},
	"finishRun":      finishSample,
	"downloadSource": sourceSample,
	"uploadResult": func(t *testing.T, o *office, _ string) []sample {
		offer := o.running(t)
		return one(sample{path: leasedPath(offer), header: leasedHeader(offer), query: url.Values{"kind": {"patch"}}, bytes: somePatch})
	},
}

// mail has something written to somebody.
func (o *office) mail(t *testing.T) corp.MailID {
	t.Helper()
	m := must[people.Mail](t)(mail.Seal(o.ring, mail.Letter{Kind: "verify", To: "ada@example.org", Subject: "An account", Text: "https://corp.example.com/" + canary}))
	if err := people.New(o.env.DB.Door()).PostMail(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m.ID
}

func batchSample(t *testing.T, o *office, _ string) []sample {
	t.Helper()
	return one(sample{path: map[string]string{"batch": o.batch(t).String()}})
}

func (o *office) batch(t *testing.T) corp.BatchID {
	t.Helper()
	spec := corp.BatchSpec{Tasks: []corp.BatchTask{{TaskSpec: corp.TaskSpec{Prompt: "x", RepositoryURL: someURL}}}}
	return must[corp.Batch](t)(o.owner().SubmitBatch(t.Context(), spec, "")).ID
}

func one(s sample) []sample { return []sample{s} }

func plain(*testing.T, *office, string) []sample { return one(sample{}) }

func unique(prefix string) string { return prefix + "-" + strings.ToLower(corp.NewSecret("")[:12]) }

func taskSample(t *testing.T, o *office, _ string) []sample {
	t.Helper()
	return one(sample{path: map[string]string{"task": o.submit(t).ID.String()}})
}

func runSample(t *testing.T, o *office, _ string) []sample {
	t.Helper()
	return one(sample{path: map[string]string{"run": o.submit(t).RunID.String()}})
}

func submitSamples(t *testing.T, o *office, _ string) []sample {
	t.Helper()
	source, repository := o.source(t), o.repository(t)
	parent, before := o.submit(t), o.submit(t)
	return []sample{
		{body: corp.TaskSpec{Prompt: "x", RepositoryURL: someURL, ParentID: &parent.ID, After: []corp.Dependency{{TaskID: before.ID}}}},
		{body: corp.TaskSpec{Prompt: "x", SourceID: &source, BaseCommit: strings.Repeat("a", 40)}},
		{body: corp.TaskSpec{Prompt: "x", RepositoryID: &repository, Agent: o.agentOf(t).ID.String()}, header: map[string]string{"Idempotency-Key": unique("k")}},
	}
}

func scheduleSamples(t *testing.T, o *office, _ string) (made []sample) {
	t.Helper()
	for _, s := range submitSamples(t, o, "") {
		made = append(made, sample{body: corp.ScheduleSpec{Name: unique("schedule"), Cron: "@monthly", Task: s.body.(corp.TaskSpec)}})
	}
	return made
}

func scheduleSample(t *testing.T, o *office, _ string) []sample {
	t.Helper()
	return one(sample{path: o.schedulePath(t)})
}

func streamSamples(t *testing.T, o *office, _ string) []sample {
	t.Helper()
	task := o.submit(t)
	must[corp.Task](t)(o.owner().CancelTask(t.Context(), task.ID))
	return []sample{
		{query: url.Values{"task": {task.ID.String()}, "until": {"final"}}},
		{query: url.Values{"run": {task.RunID.String()}, "until": {"final"}}},
	}
}

func finishSample(t *testing.T, o *office, _ string) []sample {
	t.Helper()
	offer := o.running(t)
	patch := must[corp.Blob](t)(o.runner().UploadResult(t.Context(), offer.Lease, corp.BlobPatch, strings.NewReader("p"))).ID
	result := must[corp.Blob](t)(o.runner().UploadResult(t.Context(), offer.Lease, corp.BlobResult, strings.NewReader("r"))).ID
	return one(sample{path: leasedPath(offer), body: corp.Finish{Lease: offer.Lease, Outcome: corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted, PatchID: &patch, ResultID: &result}}})
}

func sourceSample(t *testing.T, o *office, _ string) []sample {
	t.Helper()
	source := o.source(t)
	task := must[corp.Task](t)(o.owner().SubmitTask(t.Context(), corp.TaskSpec{Prompt: "x", SourceID: &source, BaseCommit: strings.Repeat("a", 40)}, ""))
	offer := o.running(t, task)
	return one(sample{path: leasedPath(offer), header: leasedHeader(offer)})
}

func someAgent() corp.AgentSpec {
	return corp.AgentSpec{Name: unique("agent"), Model: "anthropic/claude-sonnet-4-5", Instructions: canary}
}

func someRepository() repositoryRequest {
	return repositoryRequest{RepositorySpec: corp.RepositorySpec{Name: unique("repo"), URL: someURL}, Credential: &corp.GitCredential{Username: "u", Password: canary}}
}

func someProvider() providerRequest {
	return providerRequest{ProviderSpec: corp.ProviderSpec{Name: unique("provider"), Dialect: corp.DialectAnthropic, BaseURL: "https://vendor.invalid"}, Key: canary}
}

func someRegistration() corp.Registration {
	return corp.Registration{Protocols: []int{1}, Name: "r", Instance: unique("instance"), Slots: 1, Runtimes: []string{"builtin"}, Sandbox: "none"}
}

func (o *office) agentOf(t *testing.T) corp.Agent {
	t.Helper()
	return must[corp.Agent](t)(o.owner().CreateAgent(t.Context(), someAgent()))
}

func (o *office) agentPath(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{"agent": o.agentOf(t).ID.String()}
}

func (o *office) repository(t *testing.T) corp.RepositoryID {
	t.Helper()
	reply := o.do(t, o.keys[corp.RoleOwner], http.MethodPost, "/v1/repositories", nil, asJSON(t, someRepository()))
	return made[corp.Repository](t, reply).ID
}

func (o *office) provider(t *testing.T) corp.ProviderID {
	t.Helper()
	reply := o.do(t, o.keys[corp.RoleOwner], http.MethodPost, "/v1/providers", nil, asJSON(t, someProvider()))
	return made[corp.Provider](t, reply).ID
}

func (o *office) source(t *testing.T) corp.BlobID {
	t.Helper()
	return must[corp.Blob](t)(o.owner().UploadSource(t.Context(), strings.NewReader("a bundle"))).ID
}

func (o *office) schedule(t *testing.T) corp.ScheduleID {
	t.Helper()
	return must[corp.Schedule](t)(o.owner().CreateSchedule(t.Context(), corp.ScheduleSpec{
		Name: unique("schedule"), Cron: "@monthly", Task: corp.TaskSpec{Prompt: canary, RepositoryURL: someURL},
	})).ID
}

func (o *office) schedulePath(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{"schedule": o.schedule(t).String()}
}

func (o *office) runnerHeader(t *testing.T, key string) map[string]string {
	t.Helper()
	return map[string]string{"Corp-Runner": o.register(t, key).String()}
}

func leasedPath(offer corp.Offer) map[string]string {
	return map[string]string{"run": offer.RunID.String()}
}

func leasedHeader(offer corp.Offer) map[string]string {
	return map[string]string{"Corp-Lease": offer.Secret, "Corp-Epoch": strconv.FormatInt(offer.Epoch, 10)}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func made[T any](t *testing.T, r reply) (v T) {
	t.Helper()
	if r.status/100 != 2 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEveryOperationHasASample(t *testing.T) {
	t.Parallel()
	for _, op := range operations {
		if samples[op.id] == nil {
			t.Errorf("%s: add a sample, so that the tests walk it", op.id)
		}
	}
	for id := range samples {
		if !slices.ContainsFunc(operations, func(op operation) bool { return op.id == id }) {
			t.Errorf("there is a sample of %s, which is no operation", id)
		}
	}
}

// success is the status that the operation answers with when all is well.
func (op operation) success() int {
	if op.status != 0 {
		return op.status
	}
	return http.StatusOK
}

func (op operation) String() string { return fmt.Sprintf("%s (%s)", op.id, op.route) }
