package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/genericcorp/corp"
)

// passedOnHeader marks a request that another server passes on. It is never
// passed on again: two servers that each take the other for the leader answer
// that nobody leads, instead of asking in circles.
const passedOnHeader = "Corp-Passed-On" //nolint:gosec // the name of a header

// callerHeader says from where the caller of a request came that is passed on, for
// keys of some networks only. Nobody without the installation's secret can write it.
const callerHeader = "Corp-Caller"

// caller is what that header says of a request.
func (a *API) caller(address netip.Addr, with presented) string {
	text := address.String()
	return text + " " + hex.EncodeToString(a.Ring.Hash("passed on "+text+" "+cmp.Or(with.header, with.cookie)))
}

// passedFrom is where a request that was passed on came from; where it was not, or
// that is not proved, it is where the connection comes from.
func (a *API) passedFrom(r *http.Request, x *exchange) netip.Addr {
	claim := r.Header.Get(callerHeader)
	text, _, _ := strings.Cut(claim, " ")
	address, err := netip.ParseAddr(text)
	if !x.passedOn || err != nil || subtle.ConstantTimeCompare([]byte(claim), []byte(a.caller(address, x.presented))) != 1 {
		return x.address
	}
	return address
}

const (
	leaderTTL    = 500 * time.Millisecond // how long what was read about the leader is believed
	leaderAnswer = 64 << 20               // the most that an answer of the leader may hold, in bytes
	leaderGrace  = 15 * time.Second       // beyond a poll's own wait
	codeStopping = "stopping"
	notLeading   = "not_leading"
)

// ledRequest is a request that only the leader can answer, as it is sent to it.
type ledRequest struct {
	method, path string
	runner       corp.RunnerID // zero: none speaks
	body         any           // nil: none
}

// led is an answer of this server, or one of the leader as it came: a newer
// leader may say what this build does not know.
type led[T any] struct {
	own T
	raw json.RawMessage
}

// MarshalJSON writes whichever it is.
func (l led[T]) MarshalJSON() ([]byte, error) {
	if l.raw != nil {
		return l.raw, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(l.own)
	return b.Bytes(), err
}

// Schema describes both, for huma.
func (led[T]) Schema(r huma.Registry) *huma.Schema { return r.Schema(reflect.TypeFor[T](), true, "") }

// errMoved says that the lead went elsewhere while the leader was being asked.
var errMoved = errors.New("the lead has moved")

// lead answers a request that only the leader can answer: by itself, or through
// the leader. When the lead moves meanwhile it is answered by the new leader,
// once; after that the caller is told to ask again.
func lead[T any](ctx context.Context, a *API, req ledRequest, own func(context.Context) (T, error)) (*body[led[T]], error) {
	ctx, done := a.whileServing(ctx)
	defer done()
	for try := 0; ; try++ {
		got, err := own(ctx)
		if err == nil {
			return &body[led[T]]{led[T]{own: got}}, nil
		}
		if codeOf(err) != notLeading || exchangeOf(ctx).passedOn {
			return nil, a.orStopping(ctx, err)
		}
		raw, err := a.passOn(ctx, req)
		if err == nil {
			return &body[led[T]]{led[T]{raw: raw}}, nil
		}
		if !errors.Is(err, errMoved) || try > 0 {
			return nil, a.orStopping(ctx, err)
		}
	}
}

// orStopping says that the server stops, where that is why something failed.
func (a *API) orStopping(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStopping) {
		return stopping()
	}
	if errors.Is(err, errMoved) {
		return nobodyLeads(err)
	}
	return err
}

func nobodyLeads(cause error) error {
	return &corp.Error{Kind: corp.KindUnavailable, Code: notLeading, Message: "No server hands out work at the moment.", Hint: "Ask again in a moment: another server is about to take over.", Err: cause}
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*corp.Error](err); ok {
		return e.Code
	}
	return ""
}

// passOn asks the leader, with the caller's own credential: the leader checks it
// again. It returns the answer as it came, the leader's refusal, or errMoved.
func (a *API) passOn(ctx context.Context, req ledRequest) (json.RawMessage, error) {
	at, err := a.leaders.now(ctx)
	if err != nil {
		return nil, err
	}
	if at.address == "" {
		return nil, nobodyLeads(nil)
	}
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(a.Times.PollWait+leaderGrace, func() { cancel(context.DeadlineExceeded) })
	defer limit.Stop()
	go a.watchLead(asking, at, cancel)
	raw, err := a.askLeader(asking, at, req)
	switch {
	case err == nil:
		return raw, nil
	case errors.Is(context.Cause(asking), errMoved):
		return nil, errMoved
	case ctx.Err() != nil:
		return nil, err
	case codeOf(err) == notLeading, codeOf(err) == codeStopping:
		a.leaders.forget(at)
		return nil, fmt.Errorf("%w: %w", errMoved, err)
	case corp.KindOf(err) != corp.KindInternal:
		return nil, err // the leader's own word
	}
	a.leaders.forget(at)
	a.Logger.WarnContext(ctx, "the leader did not answer", slog.String("address", at.address), slog.String("request_id", exchangeOf(ctx).id), slog.Any("error", err))
	if now, look := a.leaders.now(ctx); look == nil && now != at || a.Dispatcher.Leading() {
		return nil, errMoved
	}
	return nil, nobodyLeads(err)
}

// watchLead gives up on a leader that is not the leader any more: one that was
// paused takes connections and never answers.
func (a *API) watchLead(ctx context.Context, at leader, moved func(error)) {
	tick := time.NewTicker(leaderTTL)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := a.leaders.now(ctx)
		if a.Dispatcher.Leading() || err == nil && now.address != "" && now != at {
			moved(errMoved)
			return
		}
	}
}

// askLeader sends the request with nothing but what the leader needs to answer it.
func (a *API) askLeader(ctx context.Context, at leader, req ledRequest) (json.RawMessage, error) {
	x := exchangeOf(ctx)
	var payload io.Reader = http.NoBody
	if req.body != nil {
		text, err := json.Marshal(req.body)
		if err != nil {
			return nil, fmt.Errorf("write the request to the leader: %w", err)
		}
		payload = bytes.NewReader(text)
	}
	out, err := http.NewRequestWithContext(ctx, req.method, strings.TrimRight(at.address, "/")+req.path, payload)
	if err != nil {
		return nil, fmt.Errorf("address the leader: %w", err)
	}
	out.Header.Set("Accept", "application/json")
	if x.header != "" {
		out.Header.Set("Authorization", x.header)
	} else { // a browser's
		out.AddCookie(&http.Cookie{Name: a.Cookie, Value: x.cookie}) //nolint:gosec // G124: it is sent, not set
	}
	out.Header.Set("X-Request-ID", x.id)
	out.Header.Set(passedOnHeader, a.Server.String())
	if x.address.IsValid() {
		out.Header.Set(callerHeader, a.caller(x.address, x.presented))
	}
	if req.body != nil {
		out.Header.Set("Content-Type", "application/json")
	}
	if !req.runner.IsZero() {
		out.Header.Set("Corp-Runner", req.runner.String())
	}
	resp, err := a.peers.RoundTrip(out) // no client: a redirect would carry the key elsewhere
	if err != nil {
		return nil, fmt.Errorf("ask the leader: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, leaderAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the leader's answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK && len(text) <= leaderAnswer && json.Valid(text) {
		return text, nil
	}
	var p problem
	if err := json.Unmarshal(text, &p); err != nil || p.Kind == "" || statusOf(p.Kind) == http.StatusInternalServerError {
		return nil, fmt.Errorf("the leader's answer of status %d cannot be used", resp.StatusCode)
	}
	return nil, &corp.Error{Kind: p.Kind, Code: p.Code, Message: p.Detail, Field: p.Field, Hint: p.Hint}
}

func newPeers(wait time.Duration) http.RoundTripper {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: wait + leaderGrace, IdleConnTimeout: 90 * time.Second,
		MaxIdleConnsPerHost: 256, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}
}

// leader is who led when the database was asked; no address means nobody.
type leader struct {
	address string
	term    int64
}

// leaderBook remembers the leader for leaderTTL, so that many polls ask once.
type leaderBook struct {
	read func(context.Context) (string, int64, error)

	mu    sync.Mutex
	known leader
	until time.Time
}

func (b *leaderBook) now(ctx context.Context) (leader, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Now().Before(b.until) {
		return b.known, nil
	}
	// Detached: the next caller would inherit the error of one who gave up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	address, term, err := b.read(ctx)
	if err != nil {
		return leader{}, err
	}
	b.known, b.until = leader{address, term}, time.Now().Add(leaderTTL)
	return b.known, nil
}

// forget makes the next caller ask again, if this is still what is believed.
func (b *leaderBook) forget(old leader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known == old {
		b.until = time.Time{}
	}
}
