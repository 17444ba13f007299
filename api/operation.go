package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
)

// Besides the actions of corp, an operation may be open to everybody, to everybody
// with a valid credential, or to a person who has signed in, about themselves.
const (
	public   corp.Action = "public"
	signedIn corp.Action = "signed in"
	person   corp.Action = "person"
)

// The limits of request bodies, in bytes, and how long one may take to arrive.
const (
	maxBody        = 1 << 20
	maxEntriesBody = 16 << 20
	maxBatchBody   = 32 << 20
	maxBlob        = 2 << 30
	bodyPatience   = 30 * time.Second
)

// operation is one row of the table: a route, who may use it, and its handler.
type operation struct {
	id      string // unique, camel case; generated clients name their methods by it
	route   string // "POST /v1/tasks"
	action  corp.Action
	tag     string
	summary string
	status  int      // of success; 0 means 200
	body    int64    // limit in bytes; 0 means maxBody
	upload  bool     // the body is bytes and not JSON
	serves  []string // media types of the answer, if not JSON
	handle  func(*API, huma.API, huma.Operation)
}

// with makes a handler's type known to the table.
func with[I, O any](handler func(*API, context.Context, corp.Identity, *I) (*O, error)) func(*API, huma.API, huma.Operation) {
	return func(a *API, h huma.API, op huma.Operation) {
		huma.Register(h, op, func(ctx context.Context, in *I) (*O, error) {
			x := exchangeOf(ctx)
			// The time to send the body is over; with it still running, a long poll would be cut off.
			if err := x.control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return nil, x.fail(ctx, fmt.Errorf("lift the read deadline: %w", err))
			}
			if err := a.stillAdmitted(ctx, x, &op); err != nil {
				return nil, x.fail(ctx, err)
			}
			out, err := audited(ctx, a, x, &op, func(ctx context.Context) (*O, error) { return handler(a, ctx, x.who, in) })
			if err != nil {
				return nil, x.fail(ctx, err)
			}
			return out, nil
		})
	}
}

// register puts every operation of the table behind the adapter and returns the
// API's description.
func (a *API) register(adapter huma.Adapter) *huma.OpenAPI {
	h := huma.NewAPI(humaConfig(), adapter)
	h.UseMiddleware(a.admit)
	seen := map[string]bool{}
	for _, op := range operations {
		if seen[op.id] || seen[op.route] {
			panic(fmt.Sprintf("operation %s %q is in the table twice", op.id, op.route))
		}
		seen[op.id], seen[op.route] = true, true
		op.handle(a, h, op.describe())
	}
	return h.OpenAPI()
}

// describe turns a row of the table into what huma registers. It panics when the
// row does not say who may use the operation.
func (op operation) describe() huma.Operation {
	if !slices.Contains([]corp.Action{public, signedIn, person}, op.action) && !slices.ContainsFunc(corp.Roles(), func(r corp.Role) bool { return r.May(op.action) }) {
		panic(fmt.Sprintf("operation %s names the action %q, which no role has", op.id, op.action))
	}
	method, path, _ := strings.Cut(op.route, " ")
	d := huma.Operation{
		OperationID: op.id, Method: method, Path: path, Summary: op.summary, Tags: []string{op.tag},
		DefaultStatus: op.status, MaxBodyBytes: op.body, BodyReadTimeout: bodyPatience,
		Metadata: map[string]any{"action": op.action},
		Errors:   []int{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable},
	}
	if d.MaxBodyBytes == 0 {
		d.MaxBodyBytes = maxBody
	}
	if op.action != public {
		d.Security = []map[string][]string{{"key": {}}}
		d.Errors = append(d.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound)
		d.Extensions = map[string]any{"x-action": string(op.action)}
	}
	if method != http.MethodGet {
		d.Errors = append(d.Errors, http.StatusConflict)
	}
	if op.upload {
		d.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}
	}
	if len(op.serves) > 0 {
		content := map[string]*huma.MediaType{}
		for _, media := range op.serves {
			content[media] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
		}
		d.Responses = map[string]*huma.Response{"200": {Description: http.StatusText(http.StatusOK), Content: content}}
	}
	return d
}

func humaConfig() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	describeIDs(registry)
	format := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: readJSON}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Generic Corp", Version: "1", // of the API; that of the build is in /v1/whoami
				Description: "Orchestrates AI coding agents. The workspace is that of the key. Errors are problems (RFC 9457) with kind, code, field, hint and request_id. See docs/api.md.",
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"key": {Type: "http", Scheme: "bearer", Description: "An API key (gc_live_…), a runner's key (gc_runner_…) or the operator's (gc_op_…)."},
				},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
}

// The settings of huma that it keeps in variables: names of fields are exact,
// lists are never null, and every error it makes by itself is a problem of ours.
func init() {
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
	huma.NewErrorWithContext = refusal
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return refusal(nil, status, message, errs...)
	}
}
