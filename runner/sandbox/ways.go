package sandbox

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/genericcorp/corp"
)

const (
	// askAgain is the least time between two questions for other ways.
	askAgain = time.Second
	// misses is how many probes in a row a gateway may leave unanswered.
	misses = 2
)

// Ways are the URLs under which gateways can be reached, the one in use first.
// All sandboxes of a runner share them. It is safe for concurrent use.
type Ways struct {
	lost      func() // called when none can be reached; may Set others
	transport http.RoundTripper

	mu    sync.Mutex
	list  []*way
	asked time.Time
}

// way is one gateway and the calls that are under way through it.
type way struct {
	url    *url.URL
	open   int
	missed int             // probes in a row
	stay   context.Context //nolint:containedctx // ends when the gateway is given up, for the calls that wait there
	cut    context.CancelFunc
}

// NewWays makes an empty list. lost is called, at most once a second, when no
// gateway of the list can be reached; nil does nothing.
func NewWays(lost func()) *Ways { return &Ways{lost: lost, transport: newTransport()} }

// Set replaces the list. The gateway in use stays so if it is in the new list.
// Each must be an absolute http or https URL; another one is an invalid error.
func (w *Ways) Set(texts []string) error {
	list := make([]*way, 0, len(texts))
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return corp.Invalid("gateway", "The gateway's URL is not an absolute http or https URL.", "Write it like http://127.0.0.1:7401; set the server's gateway-url.")
		}
		list = append(list, &way{url: u})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, fresh := range list {
		if at := slices.IndexFunc(w.list, func(old *way) bool { return old.url.String() == fresh.url.String() }); at >= 0 {
			list[i] = w.list[at]
		} else {
			fresh.renew()
		}
	}
	if len(w.list) > 0 {
		if i := slices.Index(list, w.list[0]); i > 0 {
			list = slices.Concat(list[i:], list[:i])
		}
	}
	w.list = list
	return nil
}

func (a *way) renew() { a.stay, a.cut = context.WithCancel(context.Background()) }

func (w *Ways) all() []*way {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.list
}

// failed puts the next one first, unless somebody has done so already. The caller
// holds mu.
func (w *Ways) failed(a *way) {
	if len(w.list) > 1 && w.list[0] == a {
		w.list = slices.Concat(w.list[1:], w.list[:1])
	}
}

// others asks for other ways, and says whether there may be some now.
func (w *Ways) others() bool {
	w.mu.Lock()
	due := w.lost != nil && time.Since(w.asked) >= askAgain
	if due {
		w.asked = time.Now()
	}
	w.mu.Unlock()
	if due {
		w.lost()
	}
	return due
}

// Watch probes the gateways that calls wait for, so often, until ctx ends. One
// that is silent is given up and its calls are cut: a machine that was paused
// takes connections and never answers. Where there is no other, one is asked for
// first: a call is not cut for nothing.
func (w *Ways) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var probes sync.WaitGroup
		for _, a := range w.busy() {
			probes.Go(func() {
				if w.silent(a, w.answers(ctx, a, every)) {
					w.giveUp(a)
				}
			})
		}
		probes.Wait()
	}
}

func (w *Ways) busy() (found []*way) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.list {
		if a.open > 0 {
			found = append(found, a)
		}
	}
	return found
}

// answers says whether a gateway answers at all, whatever it says.
func (w *Ways) answers(ctx context.Context, a *way, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url.JoinPath("health").String(), http.NoBody)
	if err != nil {
		return false
	}
	resp, err := w.transport.RoundTrip(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil
}

// silent says whether a gateway has missed so many probes in a row that it counts
// as silent.
func (w *Ways) silent(a *way, answered bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	a.missed++
	if answered {
		a.missed = 0
	}
	return a.missed >= misses
}

// giveUp cuts the calls through a gateway, if there is another one to send the next
// ones to.
func (w *Ways) giveUp(a *way) {
	if w.alone(a) {
		w.others()
	}
	if w.alone(a) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a.missed = 0
	w.failed(a)
	a.cut()
	a.renew()
}

// alone says whether it is the only gateway known.
func (w *Ways) alone(a *way) bool {
	list := w.all()
	return len(list) == 1 && list[0] == a
}
