//go:build engine || soak

package engine

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// seeded is a source of randomness that can be had again: its seed is printed,
// and taken from the environment when it is there.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv(envSeed), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("%s=%d", envSeed, seed)
	return rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test that can be repeated, not a secret
}
