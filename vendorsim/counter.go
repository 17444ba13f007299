package vendorsim

import (
	"crypto/sha256"
	"sync"
)

// maxCounters bounds the counters kept; the oldest conversation is forgotten
// first, and would meet its faults again.
const maxCounters = 1 << 17

// counterKey names one fault of one rule, for one conversation or for all.
type counterKey struct {
	rule         [2]int
	fault        int
	conversation [sha256.Size]byte
}

// counters count how often each fault has struck; safe for concurrent use.
type counters struct {
	mu    sync.Mutex
	used  map[counterKey]int
	order []counterKey
}

// take returns the fault that strikes now, nil if none does or all are used up.
func (t *counters) take(h *hit, c *conversation, apiKey string) *fault {
	if len(h.rule.faults) == 0 {
		return nil
	}
	key := counterKey{rule: h.index}
	if h.scenario.perConv {
		key.conversation = c.hash(apiKey)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range h.rule.faults {
		f := &h.rule.faults[i]
		key.fault = i
		if f.times == 0 {
			return f
		}
		n, known := t.used[key]
		if n >= f.times {
			continue
		}
		if !known {
			t.remember(key)
		}
		t.used[key] = n + 1
		return f
	}
	return nil
}

func (t *counters) remember(key counterKey) {
	if t.used == nil {
		t.used = map[counterKey]int{}
	}
	if len(t.order) == maxCounters {
		delete(t.used, t.order[0])
		t.order = t.order[1:]
	}
	t.order = append(t.order, key)
}

// hash identifies a conversation by how it begins and whose key it uses.
func (c *conversation) hash(apiKey string) [sha256.Size]byte {
	text := append([]byte(apiKey), 0)
	if len(c.messages) > 0 {
		for i := range c.messages[0].blocks {
			b := &c.messages[0].blocks[i]
			text = append(append(append(append(text, b.kind...), 0), b.text...), 0)
		}
	}
	return sha256.Sum256(text)
}
