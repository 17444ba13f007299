package client

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genericcorp/corp"
)

func TestARequestThatCameTooEarlyComesAgainWhenItWasToldIfThatIsSoonEnough(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wait string
		want int64
	}{"soon": {"1", 2}, "in an hour": {"3600", 1}, "nobody knows": {"", 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if body, err := io.ReadAll(r.Body); err != nil || len(body) == 0 {
					t.Errorf("the body is %q, %v", body, err)
				}
				if asked.Add(1) > 1 {
					_, _ = io.WriteString(w, `{}`)
					return
				}
				if c.wait != "" {
					w.Header().Set("Retry-After", c.wait)
				}
				w.WriteHeader(http.StatusTooManyRequests)
				_, _ = io.WriteString(w, `{"kind":"limit_reached","code":"rate_limited","detail":"Too many.","request_id":"req_1"}`)
			})
			start := time.Now()
			_, err := New(url, "", Options{Patience: 20 * time.Second}).CreateAgent(t.Context(), corp.AgentSpec{Name: "a"})
			if c.want == 2 && (err != nil || time.Since(start) < time.Second) {
				t.Errorf("after %s: %v", time.Since(start), err)
			}
			if e, ok := errors.AsType[*corp.Error](err); c.want == 1 && (!ok || e.Code != "rate_limited" || e.Err == nil || e.Err.Error() != "request req_1") {
				t.Errorf("%v", err)
			}
			if asked.Load() != c.want {
				t.Errorf("asked %d times, want %d", asked.Load(), c.want)
			}
		})
	}
}
