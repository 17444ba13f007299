package stage

import (
	"sync/atomic"
	"time"
)

// Clock is a clock that stands until it is moved, to the microsecond.
type Clock struct{ us atomic.Int64 }

// NewClock makes a clock that stands at the time.
func NewClock(at time.Time) *Clock {
	c := &Clock{}
	c.us.Store(at.UnixMicro())
	return c
}

// Now is the time that the clock shows, in UTC.
func (c *Clock) Now() time.Time { return time.UnixMicro(c.us.Load()).UTC() }

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) { c.us.Add(d.Microseconds()) }
