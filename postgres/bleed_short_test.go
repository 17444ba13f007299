//go:build !isolation

package postgres_test

// bleedOperations is what a test of every day has time for.
const bleedOperations = 4_000
