package corp

import (
	"testing"
	"time"
)

func TestWhatAnOperatorDoesNotSayOfTheCacheCostsWhatInputCosts(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p, err := PriceSpec{Vendor: "v", Model: "m", Input: 5, Output: 9}.Price(now)
	if err != nil || p.CacheRead != 5 || p.CacheWriteShort != 5 || p.CacheWriteLong != 0 || !p.EffectiveFrom.Equal(now) || p.ID.IsZero() {
		t.Errorf("%+v, %v", p, err)
	}
	free := Picodollars(0)
	p, err = PriceSpec{Vendor: "v", Model: "m", Input: 5, Output: 9, CacheRead: &free, EffectiveFrom: new(now.Add(time.Hour))}.Price(now)
	if err != nil || p.CacheRead != 0 || !p.EffectiveFrom.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []PriceSpec{{Input: -1}, {Output: -1}, {Input: maxPrice + 1}, {CacheWriteLong: new(Picodollars(-1))}} {
		if _, err := bad.Price(now); KindOf(err) != KindInvalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
