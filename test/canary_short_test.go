//go:build !isolation

package test

import "time"

// What a test of every day has time for.
const (
	residents     = 3
	residentsStay = 2 * time.Second
)
