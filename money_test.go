package corp

import (
	"math"
	"math/big"
	"testing"
	"testing/quick"
)

func TestCostIsTheExactSumRoundedUpOnce(t *testing.T) {
	t.Parallel()
	exact := func(fresh, read, short, long, out uint32, pi, pr, ps, pl, po uint32) bool {
		u := Usage{int64(fresh), int64(read), int64(short), int64(long), int64(out)}
		p := Price{Input: Picodollars(pi), CacheRead: Picodollars(pr), CacheWriteShort: Picodollars(ps), CacheWriteLong: Picodollars(pl), Output: Picodollars(po)}
		sum := new(big.Int)
		for _, pair := range [][2]uint32{{fresh, pi}, {read, pr}, {short, ps}, {long, pl}, {out, po}} {
			sum.Add(sum, new(big.Int).Mul(big.NewInt(int64(pair[0])), big.NewInt(int64(pair[1]))))
		}
		want, rest := new(big.Int).DivMod(sum, big.NewInt(1000), new(big.Int))
		if rest.Sign() > 0 {
			want.Add(want, big.NewInt(1))
		}
		if !want.IsInt64() {
			return p.Cost(u) == math.MaxInt64
		}
		return int64(p.Cost(u)) == want.Int64()
	}
	if err := quick.Check(exact, &quick.Config{MaxCount: 20_000}); err != nil {
		t.Error(err)
	}
}

func TestAbsurdUsageNeitherWrapsNorEarns(t *testing.T) {
	t.Parallel()
	p := Price{Input: math.MaxInt64, Output: math.MaxInt64}
	if got := p.Cost(Usage{FreshInput: math.MaxInt64, Output: math.MaxInt64}); got != math.MaxInt64 {
		t.Errorf("an absurd cost is %d, want the largest amount", got)
	}
	if got := p.Cost(Usage{FreshInput: -5, Output: math.MinInt64}); got != 0 {
		t.Errorf("negative counts cost %d, want 0", got)
	}
	if got := AddMoney(math.MaxInt64, 1); got != math.MaxInt64 {
		t.Errorf("a sum wrapped round to %d", got)
	}
}

func TestBoundCoversEveryCallThatFitsIt(t *testing.T) {
	t.Parallel()
	covers := func(body, outputCap uint16, parts [4]uint8, prices [5]uint32, window uint16) bool {
		p := Price{
			Input: Picodollars(prices[0]), CacheRead: Picodollars(prices[1]), CacheWriteShort: Picodollars(prices[2]),
			CacheWriteLong: Picodollars(prices[3]), Output: Picodollars(prices[4]), ContextWindow: int64(window),
		}
		left := int64(body)
		if window > 0 {
			left = min(left, int64(window))
		}
		var counts [4]int64
		for i := range counts {
			counts[i] = left * int64(parts[i]) / 1024
		}
		u := Usage{counts[0], counts[1], counts[2], counts[3], int64(outputCap)}
		return p.Cost(u) <= p.Bound(int64(body), int64(outputCap))
	}
	if err := quick.Check(covers, &quick.Config{MaxCount: 20_000}); err != nil {
		t.Error(err)
	}
}

func TestAffordableOutputNeverCostsMoreThanIsFree(t *testing.T) {
	t.Parallel()
	fits := func(free uint32, body uint16, in, out uint32) bool {
		p := Price{Input: Picodollars(in), Output: Picodollars(out)}
		n := p.AffordableOutput(Nanodollars(free), int64(body))
		if n < 0 {
			return p.InputBound(int64(body))+1 > Nanodollars(free)
		}
		return p.Bound(int64(body), min(n, 1<<30)) <= Nanodollars(free) || out == 0
	}
	if err := quick.Check(fits, &quick.Config{MaxCount: 20_000}); err != nil {
		t.Error(err)
	}
}

func TestDollarsAreReadExactlyAndWrittenPlainly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Nanodollars{"0.50": 500_000_000, "$2": 2 * Dollar, " 0.000000001 ": 1, "0": 0, "12.345678901": 12_345_678_901} {
		got, err := ParseDollars(text)
		if err != nil || got != want {
			t.Errorf("%q is read as %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1e9", "0.0000000001", "1/3", "0x10", "ten", "99999999999999999999", "1_0", "+1", "NaN", "Inf"} {
		if got, err := ParseDollars(text); KindOf(err) != KindInvalid {
			t.Errorf("%q is read as %d, %v; want an invalid error", text, got, err)
		}
	}
	for n, want := range map[Nanodollars]string{0: "$0.00", 100_000_000: "$0.10", 3100: "$0.0000031", -Dollar: "-$1.00", 1: "$0.000000001"} {
		if n.String() != want {
			t.Errorf("%d is written %s, want %s", int64(n), n, want)
		}
	}
}
