package api

import (
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/limit"
	"github.com/genericcorp/corp/seal"
)

// BenchmarkLimitsOfARequest is what limits add to a person's request, in memory:
// the address, then four at once, and the headers of the answer.
func BenchmarkLimitsOfARequest(b *testing.B) {
	ring, err := seal.New(make([]byte, seal.SecretSize))
	if err != nil {
		b.Fatal(err)
	}
	l, err := newLimiter(nil, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	a := &API{Config: Config{Ring: ring}, limits: l}
	plan := corp.Plan{RequestsPerHour: 1_000_000_000, RequestBurst: 1_000_000}
	who := corp.Identity{Workspace: corp.NewID[corp.WorkspaceID](), User: corp.NewID[corp.UserID]()}
	anywhere := limit.Policy{Name: "address", Quota: 3_000_000_000, Window: time.Hour, Burst: 1_000_000_000}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.take(b.Context(), []limit.Ask{{Key: "{192.0.2.1/32}:address", Policy: anywhere, Cost: 1}, {Key: "{192.0.2.1/32}:refused", Policy: perRefused}}); err != nil {
			b.Fatal(err)
		}
		states, err := l.take(b.Context(), planAsks(plan, who, "key_1", classRead, 1))
		if err != nil {
			b.Fatal(err)
		}
		_ = a.limitHeaders(states)
	}
}
