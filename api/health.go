package api

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/genericcorp/corp"
)

// healthBody says that the process lives.
type healthBody struct {
	OK      bool   `json:"ok"`
	Version string `json:"version"`
}

// readyBody mirrors client.Readiness.
type readyBody struct {
	Ready bool        `json:"ready"`
	Parts []readyPart `json:"parts"`
}

// readyPart mirrors client.ReadinessPart.
type readyPart struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

type readyOutput struct {
	Status int
	Body   readyBody
}

func (a *API) health(context.Context, corp.Identity, *nothing) (*body[healthBody], error) {
	return &body[healthBody]{healthBody{true, a.Version}}, nil
}

// readyParts answers 200 when the server can do its work and 503 when it cannot.
func (a *API) readyParts(ctx context.Context, _ corp.Identity, _ *nothing) (*readyOutput, error) {
	out := &readyOutput{Status: http.StatusOK, Body: a.ready.now(ctx)}
	if a.stopping() {
		out.Body = readyBody{Parts: append(slices.Clone(out.Body.Parts), readyPart{Name: "server", Detail: "This server is stopping."})}
	}
	if !out.Body.Ready {
		out.Status = http.StatusServiceUnavailable
	}
	return out, nil
}

// These keep probes, which need no key, from becoming a load on the database. A
// server that is starting is ready at any moment, so that a no is soon asked again.
const (
	readyTTL    = time.Second
	notReadyTTL = 50 * time.Millisecond
)

// readiness remembers the last check for a while.
type readiness struct {
	check func(context.Context) readyBody

	mu   sync.Mutex
	last readyBody
	at   time.Time
}

func newReadiness(check func(context.Context) readyBody) *readiness {
	return &readiness{check: check}
}

func (r *readiness) now(ctx context.Context) readyBody {
	r.mu.Lock()
	defer r.mu.Unlock()
	ttl := notReadyTTL
	if r.last.Ready {
		ttl = readyTTL
	}
	if r.at.IsZero() || time.Since(r.at) > ttl {
		// Detached: the next caller would inherit the answer of one who gave up.
		r.last, r.at = r.check(context.WithoutCancel(ctx)), time.Now()
	}
	return r.last
}
