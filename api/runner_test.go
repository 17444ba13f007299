package api

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/client"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func TestARunGoesFromPollToFinish(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	source := must[corp.Blob](t)(o.owner().UploadSource(t.Context(), strings.NewReader("a bundle")))
	task := must[corp.Task](t)(o.owner().SubmitTask(t.Context(), corp.TaskSpec{Prompt: "Fix it.", SourceID: &source.ID, BaseCommit: strings.Repeat("a", 40)}, ""))
	offer := o.leased(t, task)
	if offer.RunID != task.RunID || offer.Epoch != 1 || offer.RunKey == "" || offer.Secret == "" || offer.Spec.Prompt != "Fix it." || offer.Agent.Name != "default" {
		t.Errorf("offer %+v", offer)
	}
	r := o.runner()
	if err := r.Ack(t.Context(), offer.Lease); err != nil {
		t.Fatal(err)
	}
	if err := r.Ack(t.Context(), offer.Lease); err != nil {
		t.Errorf("a repeated acknowledgement: %v", err)
	}
	bundle := must[io.ReadCloser](t)(r.Source(t.Context(), offer.Lease))
	if b, err := io.ReadAll(bundle); err != nil || string(b) != "a bundle" {
		t.Errorf("source %q, %v", b, err)
	}
	batch := corp.EntryBatch{Lease: offer.Lease, Entries: []corp.Entry{
		{Index: 0, At: time.Now(), Kind: corp.EntryMessage, Text: "zero\x00byte", Data: []byte(`{"b":1,"a":{"c":[1,2]}}`)},
		{Index: 1, At: time.Now(), Kind: corp.EntryAction, Text: strings.Repeat("x", corp.MaxEntryText)},
	}}
	for range 2 {
		if next := must[int64](t)(r.ReportEntries(t.Context(), batch)); next != 2 {
			t.Errorf("next is %d", next)
		}
	}
	if next := must[int64](t)(r.ReportEntries(t.Context(), corp.EntryBatch{Lease: offer.Lease})); next != 2 {
		t.Errorf("an empty batch says that next is %d", next)
	}
	entries := must[[]corp.Entry](t)(o.owner().Entries(t.Context(), offer.RunID, -1, 0))
	if len(entries) != 2 || entries[0].Text != "zero\uFFFDbyte" || string(entries[0].Data) != `{"b":1,"a":{"c":[1,2]}}` {
		t.Errorf("entries %+v", entries)
	}
	patch := must[corp.Blob](t)(r.UploadResult(t.Context(), offer.Lease, corp.BlobPatch, strings.NewReader(somePatch)))
	finish := corp.Finish{Lease: offer.Lease, Outcome: corp.Outcome{State: corp.RunSucceeded, Reason: corp.ReasonCompleted, PatchID: &patch.ID}}
	run := must[corp.Run](t)(r.Finish(t.Context(), finish))
	again := must[corp.Run](t)(r.Finish(t.Context(), finish))
	if diff := cmp.Diff(run, again); diff != "" || run.State != corp.RunSucceeded {
		t.Errorf("a repeated finish differs: %s", diff)
	}
	if _, told := o.finished.Load(run.ID); !told {
		t.Error("OnFinish was not called")
	}
	if got := must[corp.Task](t)(o.owner().Task(t.Context(), task.ID)); got.State != corp.TaskSucceeded {
		t.Errorf("the task is %s", got.State)
	}
	diff := must[io.ReadCloser](t)(o.as(corp.RoleViewer).Patch(t.Context(), run.ID))
	if b, err := io.ReadAll(diff); err != nil || string(b) != somePatch {
		t.Errorf("patch %q, %v", b, err)
	}
}

// Attack case 7. Control: the run goes on under its own lease.
func TestALeaseThatIsNotYoursIsLost(t *testing.T) {
	t.Parallel()
	h := shared(t)
	mine, theirs := h.office(t), h.office(t)
	offer := mine.running(t)
	wrong := offer.Lease
	wrong.Secret = corp.NewSecret(corp.KeyPrefixLease)
	older := offer.Lease
	older.Epoch--
	for name, c := range map[string]struct {
		who   *office
		lease corp.Lease
	}{"another workspace's runner with the whole lease": {theirs, offer.Lease}, "a wrong secret": {mine, wrong}, "another epoch": {mine, older}, "no secret": {mine, corp.Lease{RunID: offer.RunID, Epoch: 1}}} {
		t.Run(name, func(t *testing.T) {
			r := c.who.runner()
			attempts := map[string]error{
				"ack": r.Ack(t.Context(), c.lease), "release": r.Release(t.Context(), c.lease, ""),
			}
			_, attempts["entries"] = r.ReportEntries(t.Context(), corp.EntryBatch{Lease: c.lease, Entries: []corp.Entry{{Kind: corp.EntryNote}}})
			_, attempts["finish"] = r.Finish(t.Context(), corp.Finish{Lease: c.lease, Outcome: corp.Outcome{State: corp.RunFailed, Reason: corp.ReasonInternal}})
			_, attempts["upload"] = r.UploadResult(t.Context(), c.lease, corp.BlobPatch, strings.NewReader("x"))
			_, attempts["source"] = r.Source(t.Context(), c.lease)
			for what, err := range attempts {
				kind := corp.KindOf(err)
				if kind != corp.KindLeaseLost && (kind != corp.KindInvalid || c.lease.Secret != "" && c.lease.Epoch > 0) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	if run := must[corp.Run](t)(mine.owner().Run(t.Context(), offer.RunID)); run.State != corp.RunRunning {
		t.Errorf("the run is %s", run.State)
	}
}

func TestABeatSaysWhatBecameOfEachLease(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	runner := o.register(t, o.keys[corp.RoleRunner])
	task, other := o.submit(t), o.submit(t)
	offers := map[corp.TaskID]corp.Offer{}
	for seq := int64(1); len(offers) < 2; seq++ {
		got := must[corp.PollAnswer](t)(o.runner().Poll(t.Context(), runner, corp.Poll{Seq: seq, Free: 2, WaitMS: 5000}))
		for _, offer := range got.Offers {
			offers[offer.TaskID] = offer
			if err := o.runner().Ack(t.Context(), offer.Lease); err != nil {
				t.Fatal(err)
			}
		}
	}
	must[corp.Task](t)(o.owner().CancelTask(t.Context(), task.ID))
	stranger := corp.Lease{RunID: corp.NewID[corp.RunID](), Epoch: 1, Secret: corp.NewSecret(corp.KeyPrefixLease)}
	answer := must[corp.BeatAnswer](t)(o.runner().Beat(t.Context(), runner, corp.Beat{Leases: []corp.Lease{offers[task.ID].Lease, offers[other.ID].Lease, stranger}}))
	said := map[corp.RunID]corp.Verdict{}
	for _, v := range answer.Verdicts {
		said[v.RunID] = v
	}
	if v := said[task.RunID]; v.Say != corp.VerdictStop || v.Reason != corp.ReasonCancelled || v.GraceMS == 0 {
		t.Errorf("the cancelled run: %+v", v)
	}
	if v := said[other.RunID]; v.Say != corp.VerdictOK {
		t.Errorf("the other run: %+v", v)
	}
	if v := said[stranger.RunID]; v.Say != corp.VerdictLost {
		t.Errorf("a run that is not its own: %+v", v)
	}
}

func TestARunnerIsKnownByTheKeyItRegisteredWith(t *testing.T) {
	t.Parallel()
	h := shared(t)
	mine, theirs := h.office(t), h.office(t)
	runner := mine.register(t, mine.keys[corp.RoleRunner])
	for name, c := range map[string]struct {
		key    string
		runner corp.RunnerID
	}{"another workspace's key": {theirs.keys[corp.RoleRunner], runner}, "the pool's key": {h.pool, runner}, "nobody": {mine.keys[corp.RoleRunner], corp.NewID[corp.RunnerID]()}} {
		_, err := h.with(c.key).Poll(t.Context(), c.runner, corp.Poll{Seq: 1})
		_, beat := h.with(c.key).Beat(t.Context(), c.runner, corp.Beat{Leases: []corp.Lease{}})
		if corp.KindOf(err) != corp.KindNotFound || corp.KindOf(beat) != corp.KindNotFound {
			t.Errorf("%s: %v, %v", name, err, beat)
		}
	}
	r := corp.Registration{Protocols: []int{99}, Name: "x", Instance: "12345678", Slots: 1, Runtimes: []string{"builtin"}, Sandbox: "none"}
	if _, err := mine.runner().Register(t.Context(), r); corp.KindOf(err) != corp.KindInvalid {
		t.Errorf("a protocol of the future: %v", err)
	}
	r.Protocols = []int{1, 99}
	first, second := must[corp.Registered](t)(mine.runner().Register(t.Context(), r)), must[corp.Registered](t)(mine.runner().Register(t.Context(), r))
	if first.RunnerID != second.RunnerID || first.Protocol != 1 || first.TTLMS != 30_000 || first.GatewayURL != "http://gateway.invalid" {
		t.Errorf("%+v and %+v", first, second)
	}
}

func TestAReleasedRunIsOfferedAgainAndUsesNoAttempt(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	offer := o.running(t)
	if err := o.runner().Release(t.Context(), offer.Lease, "draining"); err != nil {
		t.Fatal(err)
	}
	task := must[corp.Task](t)(o.owner().Task(t.Context(), offer.TaskID))
	again := o.leased(t, task)
	if again.RunID != offer.RunID || again.Epoch != offer.Epoch+1 || again.Attempt != offer.Attempt || again.Secret == offer.Secret {
		t.Errorf("%+v after %+v", again, offer)
	}
	if err := o.runner().Ack(t.Context(), offer.Lease); corp.KindOf(err) != corp.KindLeaseLost {
		t.Errorf("the old lease: %v", err)
	}
}

// Work that is handed out after a wait is handed to nobody by what was known before it:
// the notice of a key's end may come after the work. Control: while the key is good.
func TestWorkIsHandedOutByWhatTheDatabaseSaysOfTheKey(t *testing.T) {
	t.Parallel()
	o := shared(t).office(t)
	key, id := o.key(t, corp.RoleRunner)
	ctx := context.WithValue(t.Context(), exchangeKey{}, &exchange{presented: presented{header: "Bearer " + key}})
	if err := o.api.mayStill(ctx, corp.RunnerLease); err != nil {
		t.Fatal(err)
	}
	who, name, err := o.api.identify(ctx, exchangeOf(ctx).presented)
	if err != nil {
		t.Fatal(err)
	}
	must[corp.APIKey](t)(o.owner().RevokeAPIKey(t.Context(), id))
	late := &API{Config: o.api.Config, auth: newAuthenticator(o.api.auth.lookUp)} // where the notice has not come
	late.auth.remember(name, verdict{who: who, until: time.Now().Add(time.Hour)}, 0)
	if err := late.mayStill(ctx, corp.RunnerLease); corp.KindOf(err) != corp.KindUnauthenticated {
		t.Errorf("with a key that was revoked: %v", err)
	}
}

// What waits with a revoked key is not answered with work, at the leader and at a
// server that passes it on.
// Attack case 15. Control: with a key that is good a poll gets its run, in TestARunGoesFromPollToFinish.
func TestAPollOfARevokedKeyGetsNoWork(t *testing.T) {
	t.Parallel()
	leading, following := two(t)
	for name, at := range map[string]*office{"the leader": leading, "another server": following} {
		o := leading.office(t)
		key, id := o.key(t, corp.RoleRunner)
		runner := o.register(t, key)
		type answer struct {
			got corp.PollAnswer
			err error
		}
		answers := make(chan answer, 1)
		go func() {
			got, err := client.New(at.url, key, client.Options{}).Poll(t.Context(), runner, corp.Poll{Seq: 1, Free: 1, WaitMS: 30_000})
			answers <- answer{got, err}
		}()
		pgtest.Eventually(t, 10*time.Second, "the poll to wait", func(context.Context) bool {
			return pgtest.Value[int](t, o.env, `SELECT count(*)::int FROM runners WHERE id = $1 AND free = 1`, runner) == 1
		})
		must[corp.APIKey](t)(o.owner().RevokeAPIKey(t.Context(), id))
		o.submit(t)
		if a := <-answers; corp.KindOf(a.err) != corp.KindUnauthenticated || len(a.got.Offers) > 0 {
			t.Errorf("at %s: %v, and %d runs", name, a.err, len(a.got.Offers))
		}
	}
}
