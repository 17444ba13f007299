package api

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres"
)

// LeasedInput is what the runner protocol's requests about a run have in common.
type LeasedInput struct {
	Run corp.RunID `path:"run"`
}

// LeaseHeaders prove a lease where the body is bytes.
type LeaseHeaders struct {
	Secret string `header:"Corp-Lease" required:"true" maxLength:"200" doc:"The lease's secret."`
	Epoch  int64  `header:"Corp-Epoch" required:"true" minimum:"1"`
}

func (h LeaseHeaders) lease(run corp.RunID) corp.Lease {
	return corp.Lease{RunID: run, Epoch: h.Epoch, Secret: h.Secret}
}

type ackInput struct {
	LeasedInput
	Body corp.Lease
}

type releaseInput struct {
	LeasedInput
	Body struct {
		corp.Lease
		Detail string `json:"detail,omitempty" maxLength:"4000" doc:"Why, for people."`
	} `nameHint:"Release"`
}

type reportEntriesInput struct {
	LeasedInput
	Body corp.EntryBatch
}

type entriesAnswer struct {
	Next int64 `json:"next" doc:"The first index that the server does not have."`
}

type finishInput struct {
	LeasedInput
	Body corp.Finish
}

type sourceInput struct {
	LeasedInput
	LeaseHeaders
}

type uploadResultInput struct {
	LeasedInput
	LeaseHeaders
	Upload
	Kind string `query:"kind" required:"true" enum:"result,patch"`
}

// holder proves a lease and returns the door to the run's workspace. A lease of
// another workspace, of an older epoch or of no run at all is lost: the runner's
// next step is the same. The run may have ended: a finish can be repeated.
func (a *API) holder(ctx context.Context, who corp.Identity, run corp.RunID, lease corp.Lease) (postgres.WorkspaceDB, corp.WorkspaceID, error) {
	proof, err := a.prove(ctx, who, run, lease, a.proofs)
	return a.DB.In(proof.Workspace), proof.Workspace, err
}

// worker is holder for what only a run under way may do: read its source, store
// its result.
func (a *API) worker(ctx context.Context, who corp.Identity, run corp.RunID, lease corp.Lease) (postgres.WorkspaceDB, corp.WorkspaceID, error) {
	proof, err := a.prove(ctx, who, run, lease, nil)
	if err == nil && !proof.State.Leased() {
		err = corp.LeaseLost()
	}
	return a.DB.In(proof.Workspace), proof.Workspace, err
}

// prove returns whose run a lease's secret is for. The book may be nil.
func (a *API) prove(ctx context.Context, who corp.Identity, run corp.RunID, lease corp.Lease, book *proofBook) (postgres.LeaseIdentity, error) {
	x := exchangeOf(ctx)
	x.run = run
	if lease.RunID != run {
		return postgres.LeaseIdentity{}, corp.Invalid("run_id", "The lease is for another run than the address.", "Send the request to the lease's own run.")
	}
	if prefix, ok := corp.SecretPrefix(lease.Secret); !ok || prefix != corp.KeyPrefixLease {
		return postgres.LeaseIdentity{}, corp.LeaseLost()
	}
	hash := a.Ring.Hash(lease.Secret)
	proof, known := book.get(run, hash)
	if !known {
		var err error
		if proof, err = a.DB.Auth().Lease(ctx, run, hash); err != nil {
			return postgres.LeaseIdentity{}, err
		}
		book.put(run, hash, proof)
	}
	if proof.Epoch != lease.Epoch || !who.Workspace.IsZero() && who.Workspace != proof.Workspace {
		return postgres.LeaseIdentity{}, corp.LeaseLost()
	}
	x.ws = proof.Workspace
	return proof, nil
}

// maxProofs bounds the memory that leases can take.
const maxProofs = 50_000

// proofBook remembers what secrets of leases prove. It is never out of date: a
// secret belongs to one run and one epoch for ever. Whether the lease still
// stands is asked of the run's row by whatever is then done.
type proofBook struct {
	mu    sync.Mutex
	known map[corp.RunID]proved
}

type proved struct {
	hash  string
	proof postgres.LeaseIdentity
}

func newProofBook() *proofBook { return &proofBook{known: map[corp.RunID]proved{}} }

func (b *proofBook) get(run corp.RunID, hash []byte) (postgres.LeaseIdentity, bool) {
	if b == nil {
		return postgres.LeaseIdentity{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.known[run]
	return p.proof, ok && p.hash == string(hash)
}

func (b *proofBook) put(run corp.RunID, hash []byte, proof postgres.LeaseIdentity) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) >= maxProofs {
		clear(b.known) // they are asked for again
	}
	b.known[run] = proved{string(hash), proof}
}

func (a *API) ackRun(ctx context.Context, who corp.Identity, in *ackInput) (*nothing, error) {
	db, _, err := a.holder(ctx, who, in.Run, in.Body)
	if err != nil {
		return nil, err
	}
	return nil, db.AckRun(ctx, in.Run, in.Body.Epoch)
}

func (a *API) releaseRun(ctx context.Context, who corp.Identity, in *releaseInput) (*nothing, error) {
	db, _, err := a.holder(ctx, who, in.Run, in.Body.Lease)
	if err != nil {
		return nil, err
	}
	return nil, db.ReleaseRun(ctx, in.Run, in.Body.Epoch, in.Body.Detail)
}

func (a *API) reportEntries(ctx context.Context, who corp.Identity, in *reportEntriesInput) (*body[entriesAnswer], error) {
	db, _, err := a.holder(ctx, who, in.Run, in.Body.Lease)
	if err != nil {
		return nil, err
	}
	entries := in.Body.Entries
	for i := range entries {
		if err := cleanEntry(&entries[i], i, in.Run, in.Body.Epoch); err != nil {
			return nil, err
		}
	}
	next, err := db.AppendEntries(ctx, in.Run, in.Body.Epoch, entries)
	return answer(entriesAnswer{next}, err)
}

// cleanEntry makes what an agent printed fit to be stored: it may hold anything.
func cleanEntry(e *corp.Entry, i int, run corp.RunID, epoch int64) error {
	field := func(name string) string { return "entries[" + itoa(i) + "]." + name }
	if e.RunID != run && !e.RunID.IsZero() {
		return corp.Invalid(field("run_id"), "The entry is of another run than its batch.", "Send a batch for each run.")
	}
	if len(e.Text) > corp.MaxEntryText {
		return corp.Invalid(field("text"), "The entry's text is longer than "+itoa(corp.MaxEntryText)+" bytes.", "Cut it, or send several entries.")
	}
	if e.Index < 0 {
		return corp.Invalid(field("index"), "An index is not negative.", "Count from 0.")
	}
	if e.Kind == "" || len(e.Kind) > 40 || !plainText(string(e.Kind)) {
		return corp.Invalid(field("kind"), "That is not a kind of entry.", "Use raw for what has no kind of its own.")
	}
	e.RunID, e.Epoch = run, epoch
	e.Text = strings.ReplaceAll(strings.ToValidUTF8(e.Text, "\uFFFD"), "\x00", "\uFFFD")
	if e.At.IsZero() || e.At.After(time.Now().Add(time.Hour)) {
		e.At = time.Now() // a runner's clock may be anything
	}
	e.At = e.At.UTC()
	return nil
}

func (a *API) finishRun(ctx context.Context, who corp.Identity, in *finishInput) (*body[corp.Run], error) {
	db, ws, err := a.holder(ctx, who, in.Run, in.Body.Lease)
	if err != nil {
		return nil, err
	}
	for _, id := range []*corp.BlobID{in.Body.Outcome.ResultID, in.Body.Outcome.PatchID} {
		if id == nil {
			continue
		}
		if _, err := db.Blob(ctx, *id); err != nil {
			return nil, err
		}
	}
	if a.BeforeFinish != nil {
		a.BeforeFinish(ctx, in.Run)
	}
	run, err := db.FinishRun(ctx, in.Run, in.Body.Epoch, in.Body.Outcome)
	if err != nil {
		return nil, err
	}
	if a.OnFinish != nil {
		a.OnFinish(ws, in.Run)
	}
	return &body[corp.Run]{run}, nil
}

func (a *API) downloadSource(ctx context.Context, who corp.Identity, in *sourceInput) (*huma.StreamResponse, error) {
	db, ws, err := a.worker(ctx, who, in.Run, in.lease(in.Run))
	if err != nil {
		return nil, err
	}
	run, err := db.Run(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	task, err := db.Task(ctx, run.TaskID)
	if err != nil {
		return nil, err
	}
	if task.SourceID == nil {
		return nil, &corp.Error{Kind: corp.KindNotFound, Code: "no_source", Message: "This run starts from a URL and not from an uploaded source.", Hint: "Clone the repository of the offer."}
	}
	who.Workspace = ws
	return a.sendBlob(ctx, who, *task.SourceID, "application/octet-stream", task.SourceID.String())
}

func (a *API) uploadResult(ctx context.Context, who corp.Identity, in *uploadResultInput) (*body[corp.Blob], error) {
	_, ws, err := a.worker(ctx, who, in.Run, in.lease(in.Run))
	if err != nil {
		return nil, err
	}
	who.Workspace, who.Actor = ws, corp.Actor(in.Run.String()) // the run made it, whoever carried it out
	return answer(a.keep(ctx, who, in.Kind, in.bytes))
}
