package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/gateway"
)

// chatProvider makes a vendor account that speaks Chat Completions. An empty key
// is that of a server which takes none.
func (w *world) chatProvider(name, url, vendor, key string) {
	w.t.Helper()
	id := corp.NewID[corp.ProviderID]()
	_, err := w.env.DB.In(w.ws).CreateProvider(w.t.Context(), corp.ActorSystem, id,
		corp.ProviderSpec{Name: name, Dialect: corp.DialectOpenAI, BaseURL: url, Vendor: vendor},
		w.ring.Seal([]byte(key), w.ws.String(), "provider", id.String()))
	if err != nil {
		w.t.Fatal(err)
	}
}

// newChatWorld is a world whose vendor also speaks Chat Completions, as chat.
func newChatWorld(tb testing.TB, vendor http.Handler, change ...func(*gateway.Config)) *world {
	tb.Helper()
	w := newWorld(tb, vendor, change...)
	w.chatProvider("chat", w.vendor+"/v1", "openai", vendorKey)
	return w
}

func (a *agent) chatRequest(ctx context.Context, body string) *http.Request {
	a.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+a.key)
	r.Header.Set("Content-Type", "application/json")
	return r
}

func (a *agent) chat(body string) reply { return a.do(a.chatRequest(a.t.Context(), body)) }

// asking is a request's body with one prompt and some more fields.
func asking(model, prompt string, more ...string) string {
	return `{"model":"` + model + `",` + strings.Join(append(more, ""), ",") + `"messages":[{"role":"user","content":"` + prompt + `"}]}`
}

const streams = `"stream":true`

const gptIn, gptRead, gptOut = 2500, 1250, 10000 // nanodollars a token of gpt-4o

func gpt(u corp.Usage) corp.Nanodollars {
	return corp.Nanodollars((u.FreshInput+u.CacheWriteShort)*gptIn + u.CacheRead*gptRead + u.Output*gptOut)
}

// greedyChat is greedy in the other dialect. It obeys the caps that obeys names,
// and answers as long as it likes without one.
type greedyChat struct {
	mu     sync.Mutex
	billed corp.Nanodollars
	calls  int
	cuts   bool
	obeys  []string
}

func (g *greedyChat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var asked struct {
		Old     int64 `json:"max_tokens"`
		New     int64 `json:"max_completion_tokens"`
		N       int64
		Stream  bool
		Options struct {
			Usage bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	limit := int64(16_384)
	for _, name := range g.obeys {
		if n := map[string]int64{"max_tokens": asked.Old, "max_completion_tokens": asked.New}[name]; n > 0 {
			limit = n
		}
	}
	left := int64(len(body))
	var u corp.Usage
	for _, part := range []*int64{&u.CacheRead, &u.CacheWriteShort, &u.FreshInput} {
		*part = rand.Int64N(left + 1)
		left -= *part
	}
	u.Output = max(1, asked.N) * (limit - rand.Int64N(limit/2+1))
	g.mu.Lock()
	g.billed += gpt(u)
	g.calls++
	g.mu.Unlock()
	g.answer(w, u, asked.Stream, asked.Options.Usage)
}

func (g *greedyChat) answer(w http.ResponseWriter, u corp.Usage, stream, tells bool) {
	cut := g.cuts && rand.IntN(5) == 0
	usage := fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d,"cache_write_tokens":%d}}`,
		u.Input(), u.Output, u.Total(), u.CacheRead, u.CacheWriteShort)
	if !stream {
		if cut {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"model":"gpt-4o","choices":[{"finish_reason":"stop"}],"usage":%s}`, usage)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: {\"model\":\"gpt-4o\",\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\n")
	_ = http.NewResponseController(w).Flush()
	if cut {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, "data: {\"model\":\"gpt-4o\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n")
	if tells {
		_, _ = fmt.Fprintf(w, "data: {\"model\":\"gpt-4o\",\"choices\":[],\"usage\":%s}\n\n", usage)
	}
	_, _ = io.WriteString(w, "data: [DONE]\n\n")
}

func (g *greedyChat) books() (corp.Nanodollars, int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.billed, g.calls
}
