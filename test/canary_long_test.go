//go:build isolation

package test

import "time"

// What make test-isolation does.
const (
	residents     = 10
	residentsStay = time.Minute
)
