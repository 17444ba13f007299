package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/audit"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/postgres/door"
	"github.com/genericcorp/corp/postgres/trail"
)

// unaudited is the closed list of operations that change something and write no
// audit event, with the reason. All others do; reading does not.
var unaudited = map[string]string{
	"pollRunner":    "it asks for work; what is handed out is an event of the run",
	"beatRunner":    "it renews leases, every few seconds",
	"ackRun":        "its record is the run's events",
	"releaseRun":    "its record is the run's events",
	"reportEntries": "it is the run's transcript itself",
	"saveSteps":     "it is the run's journal itself",
	"finishRun":     "its record is the run's events and the ledger",
	"uploadResult":  "its record is the run, which names the file",
}

// auditedReads are the operations that read the audit log as a whole, or what lets
// its reader in: that is written into it. And a browser that an issuer sends back can
// only read, by which somebody is signed in.
var auditedReads = map[string]bool{"exportAudit": true, "exportInstallationAudit": true, "getMail": true, "finishElsewhere": true}

// audits says whether a success of the operation is an event of the audit log.
func audits(op huma.Operation) bool {
	if op.Method == http.MethodGet {
		return auditedReads[op.OperationID]
	}
	return unaudited[op.OperationID] == ""
}

// witness notes what the audit log says of a request besides who made it.
func (x *exchange) witness(hctx huma.Context) {
	x.agent = hctx.Header("User-Agent")
	_, path, _ := strings.Cut(x.pattern, " ")
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok { // the first: what lies beneath it is named by the transaction
			x.target = hctx.Param(strings.TrimSuffix(name, "}"))
			return
		}
	}
}

// home is whose event an operation is: that of who makes it, but for a workspace that is
// only about to be, which the installation's log names.
func (x *exchange) home(op *huma.Operation) corp.WorkspaceID {
	if op.OperationID == "foundWorkspace" {
		return corp.WorkspaceID{}
	}
	return x.who.Workspace
}

// auditEvent is what is known of an operation before it is done.
func (x *exchange) auditEvent(op *huma.Operation) corp.AuditEvent {
	action, _ := op.Metadata["action"].(corp.Action)
	e := corp.AuditEvent{
		Actor: x.who.Actor, Via: x.who.Via, Operation: op.OperationID, Action: action, Target: x.target, RequestID: x.id,
		Personal: &corp.AuditPersonal{UserAgent: x.agent},
	}
	switch {
	case action == person && e.Target == "": // about themselves
		e.Target = string(x.who.Actor)
	case action == public:
		e.Actor = corp.ActorUnknown // until they turn out to be somebody
	}
	if x.address.IsValid() {
		e.Personal.Address = x.address.String()
	}
	return e
}

// audited does an operation and sees to its event: the transaction that changes
// something writes it, and a success without one is written by itself. A handler
// that refuses for lack of rights is recorded like a role that lacks them.
func audited[O any](ctx context.Context, a *API, x *exchange, op *huma.Operation, do func(context.Context) (O, error)) (O, error) {
	if !audits(*op) {
		out, err := do(ctx)
		return out, a.auditDenial(ctx, x, op, err)
	}
	p := door.NewPending(x.auditEvent(op)).In(x.home(op))
	out, err := do(door.WithAudit(ctx, p))
	if err == nil && !p.Written() {
		err = a.logOf(x.who.Workspace).WritePending(ctx, p)
	}
	return out, a.auditDenial(ctx, x, op, err)
}

// auditDenial records that an operation was refused for lack of rights, and
// returns the error. What cannot be recorded is logged: the refusal stands.
func (a *API) auditDenial(ctx context.Context, x *exchange, op *huma.Operation, err error) error {
	if err == nil || corp.KindOf(err) != corp.KindForbidden {
		return err
	}
	untold, due := a.denials.due(cmp.Or(x.hash, limit.NetworkKey(x.address, "denied")), time.Now())
	if !due {
		return err
	}
	e := x.auditEvent(op)
	e.Result = corp.AuditDenied
	p := door.NewPending(e)
	if untold > 0 {
		door.Describe(door.WithAudit(ctx, p), "", map[string]int{"denials_not_recorded": untold})
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditPatience)
	defer cancel()
	if failed := a.logOf(x.who.Workspace).WritePending(ctx, p); failed != nil {
		a.Logger.ErrorContext(ctx, "a denial was not written into the audit log", "request_id", x.id, "actor", string(x.who.Actor), "error", failed)
	}
	return err
}

// auditPatience is how long a refused request waits for its record.
const auditPatience = 5 * time.Second

// denialsPerSecond are recorded of one credential, of a network without one, and of sign-ins
// to one account; the rest is counted.
const denialsPerSecond = 10

// denials counts the refusals of each of those.
type denials struct {
	mu    sync.Mutex
	known map[string]*denied
}

type denied struct {
	second   int64
	recorded int
	untold   int // since the last one that was recorded
}

func newDenials() *denials { return &denials{known: map[string]*denied{}} }

// due says whether a refusal is to be recorded, and how many before it were not.
func (d *denials) due(whose string, now time.Time) (untold int, due bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.known[whose]
	if of == nil {
		if len(d.known) >= maxIdentities {
			clear(d.known)
		}
		of = &denied{}
		d.known[whose] = of
	}
	if second := now.Unix(); second != of.second {
		of.second, of.recorded = second, 0
	}
	if of.recorded >= denialsPerSecond {
		of.untold++
		return 0, false
	}
	of.recorded++
	untold, of.untold = of.untold, 0
	return untold, true
}

// AuditInput narrows the audit log.
type AuditInput struct {
	PageInput
	Actor     corp.Actor `query:"actor" maxLength:"200" doc:"Who did it: the id of a person, a key or a run."`
	Operation string     `query:"operation" maxLength:"100"`
	Result    string     `query:"result" enum:"done,denied"`
	From      time.Time  `query:"from" doc:"The first moment."`
	To        time.Time  `query:"to" doc:"The first moment after."`
}

// checkpointBody mirrors client.Checkpoint.
type checkpointBody struct {
	WorkspaceID corp.WorkspaceID `json:"workspace_id,omitzero" doc:"Left out: the installation's."`
	Seq         int64            `json:"seq" doc:"How many events the chain has; 0 when nothing is sealed yet."`
	Hash        string           `json:"hash" doc:"Of the last of them, in hexadecimal."`
	At          time.Time        `json:"at"`
	KeyID       string           `json:"key_id"`
	Signature   []byte           `json:"signature"`
	PublicKey   string           `json:"public_key" doc:"Of the server, in base64: keep it where the server's operator cannot change it."`
}

func (in *AuditInput) filter() trail.Filter {
	return trail.Filter{Actor: in.Actor, Operation: in.Operation, Result: corp.AuditResult(in.Result), From: in.From, To: in.To}
}

func (a *API) audit(ctx context.Context, who corp.Identity, in *AuditInput) (*body[corp.List[corp.AuditEvent]], error) {
	return answerList(a.logOf(who.Workspace).Events(ctx, in.filter(), in.page()))
}

func (a *API) auditCheckpoint(ctx context.Context, who corp.Identity, _ *nothing) (*body[checkpointBody], error) {
	c, err := a.logOf(who.Workspace).Newest(ctx)
	if corp.KindOf(err) == corp.KindNotFound { // nothing is sealed yet; the public key is worth having all the same
		return &body[checkpointBody]{checkpointBody{WorkspaceID: who.Workspace, PublicKey: audit.PublicKeyText(a.auditKey)}}, nil
	}
	return answer(checkpointBody{c.WorkspaceID, c.Seq, c.Hash.String(), c.At, c.KeyID, c.Signature, audit.PublicKeyText(a.auditKey)}, err)
}

func (a *API) exportAudit(_ context.Context, who corp.Identity, _ *nothing) (*huma.StreamResponse, error) {
	return a.streamAudit(who.Workspace), nil //nolint:contextcheck // the stream has the request's context
}

// streamAudit answers with a whole log, however long it is.
func (a *API) streamAudit(ws corp.WorkspaceID) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		x := exchangeOf(hctx.Context())
		hctx.SetHeader("Content-Type", "application/jsonl")
		hctx.SetHeader("Content-Disposition", `attachment; filename="audit.jsonl"`)
		to := patient{hctx.BodyWriter().Write, func() error { return x.control.SetWriteDeadline(time.Now().Add(transferStall)) }}
		defer func() { _ = x.control.SetWriteDeadline(time.Time{}) }() // the next request on this connection has its own time
		if err := a.logOf(ws).Export(hctx.Context(), to, a.auditKey); err != nil {
			// Cutting the connection tells the reader that the log is not whole.
			x.err = err
			panic(http.ErrAbortHandler)
		}
	}}
}

// patient gives each write its own time.
type patient struct {
	write  func([]byte) (int, error)
	extend func() error
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.extend(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.write(b)
}

type eraseAuditInput struct {
	Body struct {
		Actor corp.Actor `json:"actor" minLength:"1" maxLength:"200" doc:"The id of the person or key whose addresses are erased."`
	}
}

// erased mirrors client.Erased.
type erased struct {
	Events int `json:"events" doc:"How many events had personal data."`
}

func (a *API) eraseAudit(ctx context.Context, _ corp.Identity, in *eraseAuditInput) (*body[erased], error) {
	door.Describe(ctx, string(in.Body.Actor), nil)
	n, err := a.erasePersonal(ctx, in.Body.Actor)
	return answer(erased{n}, err)
}
