package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/identity"
)

// Pages are what people see in a browser, served beside the operations: the edge,
// the limits, the log and the audit log are the same for both.
type Pages struct {
	List []Page
	// Problem answers what went wrong before a page was asked, or after it.
	Problem func(v Visit, err error) Reply
}

// Page is one route of them.
type Page struct {
	Route     string // "POST /sign-in"
	Operation string // whose event in the audit log a success is; empty for what changes nothing
	// Serve does what the page is for. Its error is one that the reply shows: it is
	// for the logs. Whatever it changed is undone by nobody when the reply is not sent.
	Serve func(ctx context.Context, v Visit) (Reply, error)
}

// Visit is a request for a page.
type Visit struct {
	Request *http.Request // with its form read
	Who     corp.Identity // the zero identity: nobody is signed in
	From    identity.Caller
	ID      string // of the request, for people who tell of an error
}

// Reply writes the answer.
type Reply func(w http.ResponseWriter)

// pagePolicy lets a page of ours have our style, and send forms to us; nothing
// else, and no script.
const pagePolicy = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

func (p Pages) has(pattern string) bool {
	return slices.ContainsFunc(p.List, func(one Page) bool { return one.Route == pattern })
}

// maxForm is what a form may have, in bytes.
const maxForm = 64 << 10

// servePages adds the pages to the routes.
func (a *API) servePages(mux *http.ServeMux) {
	for _, p := range a.Pages.List {
		mux.HandleFunc(p.Route, func(w http.ResponseWriter, r *http.Request) {
			x := exchangeOf(r.Context())
			x.agent = r.UserAgent()
			v := Visit{Request: r, From: comesOf(r.Context()), ID: x.id}
			reply, err := a.visit(w, x, p, &v) //nolint:contextcheck // the request has it
			if x.err = err; reply == nil {
				reply = a.Pages.Problem(v, pause(err))
			}
			w.Header().Set("Content-Security-Policy", pagePolicy)
			reply(w)
		})
	}
}

// visit is what admit is to operations, and asks the page. Without a reply there is
// an error.
func (a *API) visit(w http.ResponseWriter, x *exchange, p Page, v *Visit) (Reply, error) {
	r := v.Request
	if x.slug != "" { // people sign in under one name, and choose the workspace then
		return nil, corp.NotFound("page")
	}
	changes := r.Method == http.MethodPost
	if err := a.recogniseVisitor(r.Context(), x); err != nil {
		return nil, err
	}
	v.Who = x.who
	op := &huma.Operation{OperationID: p.Operation, Method: http.MethodPost, Metadata: map[string]any{"action": visitorAction(x.who)}}
	if changes || p.Operation != "" {
		if err := a.limitVisit(r.Context(), x, limitedAs(p.Operation, x.who), op); err != nil {
			return nil, err
		}
	}
	if changes {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	}
	if err := r.ParseForm(); err != nil || changes && !formTyped(r) {
		return nil, corp.Invalid("form", "The form did not arrive whole.", "Go back and send it again.")
	}
	if changes && !x.who.Session.IsZero() { // the form may have taken its time
		if err := a.recogniseVisitor(r.Context(), x); err != nil {
			return nil, err
		}
		v.Who = x.who
	}
	if p.Operation == "" {
		return p.Serve(r.Context(), *v)
	}
	reply, err := audited(r.Context(), a, x, op, func(ctx context.Context) (reply Reply, err error) {
		if reply, err = p.Serve(ctx, *v); err == nil && x.hash != "" {
			a.auth.forget(x.hash) // what it changed shows on the next page
		}
		return reply, err
	})
	if p.Operation == "signIn" && codeOf(err) == identity.CodeWrong {
		a.auditRefusal(r.Context(), p.Operation, r.PostForm.Get("email"))
	}
	return reply, err
}

// recogniseVisitor notes who a browser is signed in as: a cookie alone says so, and
// one that is over is as good as none.
func (a *API) recogniseVisitor(ctx context.Context, x *exchange) error {
	if x.cookie == "" {
		return nil
	}
	who, hash, err := a.identify(ctx, presented{cookie: x.cookie, address: x.address})
	switch {
	case err == nil:
		x.who, x.hash = who, hash
	case corp.KindOf(err) == corp.KindUnauthenticated:
		x.who, x.hash = corp.Identity{}, ""
		if hash != "" {
			a.refusedCredential(ctx, x)
		}
		err = nil
	}
	return err
}

func visitorAction(who corp.Identity) corp.Action {
	if who.Session.IsZero() {
		return public
	}
	return person
}

// limitedAs is what a page counts as. What strangers may do counts for whoever does it
// against the address: else being signed in would be a way around that.
func limitedAs(id string, who corp.Identity) corp.Action {
	i := slices.IndexFunc(operations, func(op operation) bool { return op.id == id })
	if i >= 0 && operations[i].action == public {
		return public
	}
	return visitorAction(who)
}

// limitVisit asks the limits that an operation of the same kind would.
func (a *API) limitVisit(ctx context.Context, x *exchange, as corp.Action, op *huma.Operation) error {
	asks, err := a.limitsOf(ctx, x, as, op)
	if err != nil || len(asks) == 0 {
		return err
	}
	_, err = a.limits.take(ctx, asks)
	return err
}

func formTyped(r *http.Request) bool {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded")
}

// Told is what the reader of a page may know of an error.
type Told struct {
	Status     int
	Kind       corp.Kind
	Code       string
	Message    string
	Field      string
	Hint       string
	RetryAfter string // of the header of that name; empty when nobody knows
}

// Explain says what may be told of an error.
func (v Visit) Explain(err error) Told {
	p := exchangeOf(v.Request.Context()).problem(v.Request.Context(), pause(err))
	hint := p.Hint
	if p.Kind == corp.KindInternal || p.Kind == corp.KindUnavailable {
		hint += " (request_id " + v.ID + ")"
	}
	return Told{Status: p.Status, Kind: p.Kind, Code: p.Code, Message: p.Detail, Field: p.Field, Hint: hint, RetryAfter: p.retryAfter}
}
