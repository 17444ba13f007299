package api

import (
	"context"
	"time"

	"github.com/genericcorp/corp/limit"
)

// streamRest is for how many seconds' messages a stream may send at once after a
// rest, or at its beginning: what somebody reads again should not trickle.
const streamRest = 20

// pacer spreads the messages of one stream. What is too much comes later: the
// stream reads after its own cursor, so it is behind and loses nothing.
type pacer struct {
	bucket *limit.Memory // nil: as fast as they come
	ask    []limit.Ask
}

func newPacer(perSecond int) pacer {
	if perSecond == 0 {
		return pacer{}
	}
	p := limit.Policy{Name: "messages", Quota: int64(perSecond), Window: time.Second, Burst: int64(perSecond) * streamRest}
	return pacer{limit.NewMemory(nil, 1), []limit.Ask{{Key: "stream", Policy: p, Cost: 1}}}
}

// due returns how long the next message must wait; 0 is now, and counts it.
func (p pacer) due(ctx context.Context) (time.Duration, error) {
	if p.bucket == nil {
		return 0, nil
	}
	states, err := p.bucket.Take(ctx, p.ask)
	if err != nil {
		return 0, err
	}
	return states[0].RetryAfter, nil
}

// turn waits for the next message's turn. What was written until then is sent
// first, and a reader who may read no more is found out meanwhile.
func (f *follower) turn(ctx context.Context) error {
	for {
		wait, err := f.pace.due(ctx)
		if err != nil || wait == 0 || !f.out.flush() {
			return err // a reader who left shows in the frames
		}
		if err := f.admit(ctx); err != nil {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}
