package limit

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Memory counts in this process. Its table is bounded: the key that was used least
// lately is forgotten first, so that however many keys somebody invents, they take
// no more memory. One lock is enough: it is held for less than a microsecond.
type Memory struct {
	now   func() time.Time
	start time.Time
	max   int

	mu     sync.Mutex
	known  map[string]*list.Element
	recent *list.List // of *counter, the one used last in front
}

// counter is what is known of one key: of a limit, or of failures.
type counter struct {
	key      string
	moment   int64 // microseconds since the start: see gcra.go; of failures: the end of the pause
	failures int64
	last     int64 // of the last failure
}

var (
	_ Store   = (*Memory)(nil)
	_ Backoff = (*Memory)(nil)
)

// NewMemory counts at most maxKeys keys, by this clock; nil is the system's, whose
// monotonic reading makes it safe from being set.
func NewMemory(now func() time.Time, maxKeys int) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{now: now, start: now(), max: max(maxKeys, 1), known: map[string]*list.Element{}, recent: list.New()}
}

// elapsed is now in microseconds since the start.
func (m *Memory) elapsed() int64 { return m.now().Sub(m.start).Microseconds() }

// Take takes what is asked of every limit, or of none.
func (m *Memory) Take(_ context.Context, asks []Ask) ([]State, error) {
	live, err := counted(asks)
	if err != nil {
		return nil, err
	}
	aheads := make([]int64, len(live))
	m.mu.Lock()
	now, denied := m.elapsed(), false
	for i, a := range live {
		if c := m.find(a.Key); c != nil {
			aheads[i] = a.Policy.within(c.moment - now)
			c.moment = min(c.moment, now+aheads[i])
		}
		denied = denied || a.over(aheads[i]) > 0
	}
	for i, a := range live {
		if !denied && a.Cost > 0 {
			m.keep(a.Key).moment = now + aheads[i] + a.Cost*a.Policy.interval()
		}
	}
	m.mu.Unlock()
	return answer(asks, func(i int) int64 { return aheads[i] }), nil
}

// Wait returns how long nothing may be tried under this key.
func (m *Memory) Wait(_ context.Context, key string) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.find(pauses + key)
	if c == nil {
		return 0, nil
	}
	return time.Duration(max(c.moment-m.elapsed(), 0)) * time.Microsecond, nil
}

// Fail notes a failure.
func (m *Memory) Fail(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, now := m.keep(pauses+key), m.elapsed()
	if now-c.last >= forgetAfter.Microseconds() {
		c.failures = 0
	}
	c.failures++
	c.last, c.moment = now, now+pause(c.failures).Microseconds()
	return nil
}

// Clear notes a success.
func (m *Memory) Clear(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.known[pauses+key]; ok {
		m.recent.Remove(e)
		delete(m.known, pauses+key)
	}
	return nil
}

// Len returns how many keys are known.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recent.Len()
}

// find returns what is known of a key, which was then used last; nil for nothing.
func (m *Memory) find(key string) *counter {
	e, ok := m.known[key]
	if !ok {
		return nil
	}
	m.recent.MoveToFront(e)
	return e.Value.(*counter) //nolint:forcetypeassert // nothing else is put into the list
}

// keep is find that begins to know the key, and forgets another one for it.
func (m *Memory) keep(key string) *counter {
	if c := m.find(key); c != nil {
		return c
	}
	var c *counter
	if m.recent.Len() >= m.max {
		e := m.recent.Back()
		c = e.Value.(*counter) //nolint:forcetypeassert // nothing else is put into the list
		delete(m.known, c.key)
		*c = counter{key: key}
		m.recent.MoveToFront(e)
		m.known[key] = e
		return c
	}
	c = &counter{key: key}
	m.known[key] = m.recent.PushFront(c)
	return c
}
