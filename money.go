package corp

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// Nanodollars is an amount of money: 1e-9 US dollars. Money is never a float.
// The range is about nine thousand million dollars either way.
type Nanodollars int64

// Picodollars is a price per token: 1e-12 US dollars, which is what price lists
// call microdollars per million tokens.
type Picodollars int64

// Dollar is one US dollar.
const Dollar Nanodollars = 1_000_000_000

// maxNanodollars is where an absurd sum stops: a wrong price must never wrap
// round to a negative cost.
const maxNanodollars = Nanodollars(math.MaxInt64)

// String writes the amount in dollars with as many decimals as it has, and at
// least two: "$0.10", "$0.0000031".
func (n Nanodollars) String() string {
	sign, v := "", n
	if v < 0 {
		sign, v = "-", -v
	}
	frac := strings.TrimRight(fmt.Sprintf("%09d", v%Dollar), "0")
	for len(frac) < 2 {
		frac += "0"
	}
	return fmt.Sprintf("%s$%d.%s", sign, v/Dollar, frac)
}

// ParseDollars reads "0.50", "$0.50" or "2": dollars with at most nine decimals.
func ParseDollars(s string) (Nanodollars, error) {
	text := strings.TrimPrefix(strings.TrimSpace(s), "$")
	bad := Invalid("budget", fmt.Sprintf("%q is not an amount of dollars.", s), "Write it like 0.50, with at most nine decimals.")
	if text == "" || strings.ContainsAny(text, "eE/_+xXpP") {
		return 0, bad
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, bad
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(Dollar)))
	if !r.IsInt() || !r.Num().IsInt64() || r.Sign() < 0 {
		return 0, bad
	}
	return Nanodollars(r.Num().Int64()), nil
}

// AddMoney adds amounts and stops at the largest one instead of wrapping.
func AddMoney(amounts ...Nanodollars) Nanodollars {
	var sum Nanodollars
	for _, a := range amounts {
		if a > 0 && sum > maxNanodollars-a {
			return maxNanodollars
		}
		sum += a
	}
	return sum
}
