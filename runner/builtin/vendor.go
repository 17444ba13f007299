package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/genericcorp/corp"
)

// Patience is how long the agent bears with a vendor that is down or busy.
type Patience struct {
	Tries  int           // of one model call
	Base   time.Duration // of the wait after the first try; it doubles, with full jitter
	Cap    time.Duration // of one wait
	Window time.Duration // from the first try to the start of the last
	Idle   time.Duration // without a byte before an answer counts as cut
}

// DefaultPatience is what a Config with none gets.
var DefaultPatience = Patience{Tries: 8, Base: time.Second, Cap: 30 * time.Second, Window: 3 * time.Minute, Idle: 3 * time.Minute}

func (p Patience) withDefaults() Patience {
	setDefault(&p.Tries, DefaultPatience.Tries)
	setDefault(&p.Base, DefaultPatience.Base)
	setDefault(&p.Cap, DefaultPatience.Cap)
	setDefault(&p.Window, DefaultPatience.Window)
	setDefault(&p.Idle, DefaultPatience.Idle)
	return p
}

// vendor asks the model, through the gateway.
type vendor struct {
	dialect         dialect
	url, key, agent string
	patience        Patience
	client          *http.Client
}

func newVendor(cfg Config, speaks dialect) *vendor {
	return &vendor{
		dialect: speaks, url: strings.TrimRight(cfg.BaseURL, "/") + speaks.path(), key: cfg.Key,
		agent: "corp-builtin/" + cfg.Version, patience: cfg.Patience,
		client: &http.Client{
			// No proxy: the gateway is the one address, and the environment is
			// not ours to read. No redirect: it would carry the key elsewhere.
			Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// ask makes one model call and returns a whole answer, trying again while the
// vendor is down or busy or cuts its streams; again is told before each repeat,
// because what was heard until then is void. It returns a *stop, or the
// context's error.
func (v *vendor) ask(ctx context.Context, request modelRequest, hear hearing, again func(why string)) (answer, error) {
	start := time.Now()
	for try := 1; ; try++ {
		body, err := v.dialect.encode(request)
		if err != nil {
			return answer{}, fmt.Errorf("encode model request: %w", err)
		}
		a, err := v.once(ctx, body, hear)
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			return answer{}, context.Cause(ctx)
		}
		if e, ok := errors.AsType[*vendorError](err); ok && v.dialect.adapt(e) {
			continue
		}
		if !passing(err) {
			return answer{}, stopFor(err, request.Model)
		}
		wait := v.wait(err, try)
		if try >= v.patience.Tries || time.Since(start)+wait > v.patience.Window {
			s := stopFor(err, request.Model)
			if try > 1 {
				s.detail = fmt.Sprintf("%s It was tried %d times.", s.detail, try)
			}
			return answer{}, s
		}
		again(err.Error())
		if err := pause(ctx, wait); err != nil {
			return answer{}, err
		}
	}
}

// wait returns how long to wait before the next try: what the vendor asks for,
// or else full jitter.
func (v *vendor) wait(err error, try int) time.Duration {
	jitter := corp.RetryDelay(try, v.patience.Base, v.patience.Cap, rand.Int64N)
	if e, ok := errors.AsType[*vendorError](err); ok {
		return max(jitter, retryAfter(e.header.Get("Retry-After"), time.Now()))
	}
	return jitter
}

// retryAfter reads the header's two forms, seconds and a date; 0 means neither.
func retryAfter(value string, now time.Time) time.Duration {
	if s, err := strconv.ParseFloat(value, 64); err == nil && s > 0 && s < 1e6 {
		return time.Duration(s * float64(time.Second))
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errIdle = errors.New("nothing arrived for too long")

// once makes one try. A vendor that neither answers nor hangs up is left after
// the idle time.
func (v *vendor) once(ctx context.Context, body []byte, hear hearing) (answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(v.patience.Idle, func() { cancel(fmt.Errorf("%w: %w", errCut, errIdle)) })
	defer watch.Stop()

	request, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("make model request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	v.dialect.authorize(request.Header, v.key)
	request.Header.Set("User-Agent", v.agent)
	response, err := v.client.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("ask the model: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // its reading end; nothing to lose
	in := &watched{r: response.Body, seen: func() { watch.Reset(v.patience.Idle) }}
	if response.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(in, maxErrorBody))
		if err != nil {
			text = nil // the status says enough
		}
		return answer{}, &vendorError{status: response.StatusCode, fault: readFault(text), header: response.Header}
	}
	a, err := v.dialect.read(in, hear)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errIdle) {
		err = cause
	}
	return a, err
}

// watched reports every read that brought something.
type watched struct {
	r    io.Reader
	seen func()
}

// Read reads on.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.seen()
	}
	return n, err
}
