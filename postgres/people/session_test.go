package people_test

import (
	"testing"
	"time"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/people"
	"github.com/genericcorp/corp/postgres/pgtest"
)

// Neither its token nor its refresh credential is good then.
func TestASessionEndsWithoutUseAndInAnyCase(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), t.Context()
	for name, over := range map[string]string{
		"not used": `UPDATE sessions SET seen_at = now() - idle_ms * interval '1 millisecond' WHERE id = $1`,
		"too old":  `UPDATE sessions SET expires_at = now() WHERE id = $1`,
	} {
		who, next := join(t, s), hash()
		must(s.BySession(ctx, who.session))(t)
		if _, _, outcome, err := s.Refresh(ctx, who.refresh, next, time.Minute); outcome != people.RefreshRotated || err != nil {
			t.Errorf("%s, before: %s %v", name, outcome, err)
		}
		pgtest.New(t).Exec(t, over, who.session)
		_, err := s.BySession(ctx, who.session)
		wantKind(t, err, corp.KindUnauthenticated, "")
		if _, _, outcome, err := s.Refresh(ctx, next, hash(), time.Minute); outcome != people.RefreshUnknown || err != nil {
			t.Errorf("%s: %s %v", name, outcome, err)
		}
	}
}
