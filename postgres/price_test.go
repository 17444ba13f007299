package postgres_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/genericcorp/corp"
	"github.com/genericcorp/corp/postgres/pgtest"
)

func TestAnAddedPriceIsListedOnceAndNeverChanged(t *testing.T) {
	t.Parallel()
	env := pgtest.Database(t)
	system, ctx := env.DB.System("test"), t.Context()
	day := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	var added []corp.Price
	for i, model := range []string{"a", "b", "c"} {
		price := must(corp.PriceSpec{Vendor: "local", Model: model, Input: corp.Picodollars(i), Output: 7, EffectiveFrom: new(day.AddDate(0, 0, i)), ContextWindow: 4096}.Price(time.Now()))(t)
		added = append(added, must(system.AddPrice(ctx, price))(t))
		if diff := cmp.Diff(price, added[i]); diff != "" {
			t.Error(diff)
		}
	}
	again := added[0]
	again.ID, again.Input = corp.NewID[corp.PriceID](), 99
	if _, err := system.AddPrice(ctx, again); corp.KindOf(err) != corp.KindConflict {
		t.Errorf("the same vendor, model and date: %v", err)
	}
	var listed []string
	page := corp.Page{Limit: 2}
	for {
		list := must(system.PriceList(ctx, corp.PriceFilter{Vendor: "local"}, page))(t)
		for _, p := range list.Items {
			listed = append(listed, p.Model)
		}
		if page.Cursor = list.NextCursor; page.Cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"c", "b", "a"}, listed); diff != "" {
		t.Error(diff)
	}
	if list := must(system.PriceList(ctx, corp.PriceFilter{Vendor: "local", Model: "b"}, corp.Page{}))(t); len(list.Items) != 1 || list.Items[0].Input != 1 {
		t.Errorf("%+v", list)
	}
}
