//go:build isolation

package postgres_test

// bleedOperations is what make test-isolation does, under the race detector.
const bleedOperations = 100_000
