package postgres_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
)

// The runner is told how its agent's model is spoken to and how much it holds.
func TestAnOfferSaysWhatIsKnownOfItsModel(t *testing.T) {
	t.Parallel()
	env, ws, db := door(t)
	ctx := t.Context()
	vendor := "vendor-" + ws.String()
	day := func(n int) time.Time { return time.Now().UTC().AddDate(0, 0, n).Truncate(time.Second) }
	must(env.DB.System("test").SeedPrices(ctx, []corp.Price{
		{Vendor: vendor, Model: "sells/m", EffectiveFrom: day(-30), ContextWindow: 100, MaxOutput: 10, Source: "test"},
		{Vendor: vendor, Model: "sells/m", EffectiveFrom: day(-2), ContextWindow: 200, MaxOutput: 20, Source: "test"},
		{Vendor: vendor, Model: "sells/m", EffectiveFrom: day(2), ContextWindow: 300, MaxOutput: 30, Source: "test"},
		{Vendor: vendor, Model: "soon", EffectiveFrom: day(9), ContextWindow: 900, Source: "test"},
		{Vendor: vendor, Model: "soon", EffectiveFrom: day(5), ContextWindow: 500, Source: "test"},
	}))(t)
	must(db.CreateProvider(ctx, actor, corp.NewID[corp.ProviderID](), corp.ProviderSpec{Name: "mine", Dialect: "anthropic", BaseURL: "https://x.example.com", Vendor: vendor}, []byte("k")))(t)
	for model, want := range map[string]corp.ModelFacts{
		"mine/sells/m":  {Dialect: "anthropic", ContextWindow: 200, MaxOutput: 20},
		"mine/soon":     {Dialect: "anthropic", ContextWindow: 500},
		"mine/unpriced": {Dialect: "anthropic"},
		"nobody/m":      {},
	} {
		agent := must(db.CreateAgent(ctx, actor, corp.AgentSpec{Name: corp.NewSecret("a")[:20], Runtime: corp.RuntimeBuiltin, Model: model}))(t)
		lease := env.Running(t, ws, env.Submit(t, ws, corp.TaskSpec{Agent: agent.ID.String()}).RunID)
		offer, _, err := db.OfferFor(ctx, lease.RunID, lease.Epoch)
		ok(t, err)
		if diff := cmp.Diff(want, offer.Model); diff != "" {
			t.Errorf("%s: %s", model, diff)
		}
	}
}
