package sandbox

import (
	"fmt"
	"sync"
)

// Capped is a writer that keeps the first and the last bytes of what is
// written and counts the rest, so that a process that prints without end costs
// a bounded amount of memory. It is safe for concurrent use; Write never fails.
type Capped struct {
	mu      sync.Mutex
	head    []byte
	headCap int
	tail    []byte // a ring once it is full
	tailCap int
	next    int // where the ring's next byte goes
	total   int64
}

// NewCapped returns a writer that keeps the first head and the last tail bytes.
func NewCapped(head, tail int) *Capped {
	return &Capped{headCap: max(head, 0), tailCap: max(tail, 0)}
}

// Write keeps what fits and counts the rest.
func (c *Capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(p)
	c.total += int64(n)
	if room := c.headCap - len(c.head); room > 0 {
		k := min(room, len(p))
		c.head = append(c.head, p[:k]...)
		p = p[k:]
	}
	c.keepTail(p)
	return n, nil
}

func (c *Capped) keepTail(p []byte) {
	if len(p) > c.tailCap {
		p = p[len(p)-c.tailCap:]
	}
	if room := c.tailCap - len(c.tail); room > 0 {
		k := min(room, len(p))
		c.tail = append(c.tail, p[:k]...)
		p = p[k:]
	}
	for len(p) > 0 {
		k := copy(c.tail[c.next:], p)
		c.next = (c.next + k) % c.tailCap
		p = p[k:]
	}
}

// Total returns how many bytes were written in all.
func (c *Capped) Total() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// Omitted returns how many bytes in the middle were not kept.
func (c *Capped) Omitted() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.omitted()
}

func (c *Capped) omitted() int64 {
	return c.total - int64(len(c.head)) - int64(len(c.tail))
}

// String returns what was kept. Where bytes were left out, a line of its own
// says how many. The text may end in half a character; callers that need valid
// UTF-8 use strings.ToValidUTF8.
func (c *Capped) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	tail := string(c.tail[c.next:]) + string(c.tail[:c.next])
	if left := c.omitted(); left > 0 {
		return fmt.Sprintf("%s\n[%d bytes left out]\n%s", c.head, left, tail)
	}
	return string(c.head) + tail
}

// Head returns a copy of the first bytes that were kept.
func (c *Capped) Head() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.head...)
}
