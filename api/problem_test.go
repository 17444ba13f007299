package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/genericcorp/corp"
)

func TestEveryKindHasItsStatusAndNoCauseIsSent(t *testing.T) {
	t.Parallel()
	const secret = "constraint tasks_pkey of table tasks"
	for kind, status := range map[corp.Kind]int{
		corp.KindInvalid: 422, corp.KindUnauthenticated: 401, corp.KindForbidden: 403, corp.KindNotFound: 404, corp.KindConflict: 409,
		corp.KindLeaseLost: 409, corp.KindLimit: 402, corp.KindUnavailable: 503, corp.KindInternal: 500, "of the future": 500,
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			x := &exchange{id: "req_1"}
			cause := &corp.Error{Kind: kind, Message: "A sentence.", Hint: "Do this.", Field: "f", Err: errors.New(secret)}
			w := httptest.NewRecorder()
			x.write(w, httptest.NewRequest(http.MethodGet, "/", nil), fmt.Errorf("submit task: %w", cause))
			if w.Code != status || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
			if strings.Contains(w.Body.String(), secret) || strings.Contains(w.Body.String(), "submit task") {
				t.Errorf("the cause was sent: %s", w.Body)
			}
			if !strings.Contains(x.err.Error(), secret) {
				t.Errorf("the cause is not kept for the log: %v", x.err)
			}
			var p problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if p.Code == "" || p.Title == "" || p.Status != status || p.RequestID != "req_1" || p.Type != "about:blank" {
				t.Errorf("%+v", p)
			}
			if status != 500 && (p.Detail != "A sentence." || p.Hint != "Do this." || p.Field != "f" || p.Kind != kind) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestAnErrorOfNoKindIsOurFault(t *testing.T) {
	t.Parallel()
	x := &exchange{}
	if p := x.problem(t.Context(), errors.New("SELECT secrets")); p.Status != 500 || strings.Contains(p.Detail, "SELECT") || p.Hint == "" {
		t.Errorf("%+v", p)
	}
	if p := x.problem(t.Context(), fmt.Errorf("ask: %w", context.DeadlineExceeded)); p.Status != 503 {
		t.Errorf("%+v", p)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if p := x.problem(gone, fmt.Errorf("ask: %w", context.Canceled)); p.Status != 503 {
		t.Errorf("%+v", p)
	}
}

func TestARequestIDIsHarmlessInALog(t *testing.T) {
	t.Parallel()
	for _, kept := range []string{"req_12345678", "0af7651916cd43dd8448eb211c80319c", "a.b-c_d1"} {
		if got := requestID(kept); got != kept {
			t.Errorf("%q became %q", kept, got)
		}
	}
	for _, replaced := range []string{"", "short", "a\nb level=error", strings.Repeat("x", 65), "with space", "semi;colon", "日本語日本語日本語", "<script>alert(1)</script>"} {
		if got := requestID(replaced); got == replaced || !strings.HasPrefix(got, "req_") {
			t.Errorf("%q was kept as %q", replaced, got)
		}
	}
	if first, second := requestID(""), requestID(""); first == second {
		t.Error("two requests have one name")
	}
}

func TestOnlyThisMachineItselfIsLocal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr, header string
		want         bool
	}{
		{"127.0.0.1:1", "", true},
		{"[::1]:1", "", true},
		{"127.9.9.9:1", "", true},
		{"10.0.0.1:1", "", false},
		{"[2001:db8::1]:1", "", false},
		{"", "", false},
		{"127.0.0.1", "", false},
		{"127.0.0.1:1", "X-Forwarded-For", false},
		{"127.0.0.1:1", "Forwarded", false},
		{"127.0.0.1:1", "Via", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.RemoteAddr = c.addr
		if c.header != "" {
			r.Header.Set(c.header, "203.0.113.9")
		}
		if got := local(r); got != c.want {
			t.Errorf("%s %s: %v", c.addr, c.header, got)
		}
	}
}
