// Package stage is what tests of several packages stand on: a clock that stands
// until it is moved, a log that is read while it is written, a name server that
// answers as it was told. It knows nothing of the product, and nothing of the
// product may import it.
package stage

import (
	"bytes"
	"sync"
)

// Log keeps what is written, and may be read meanwhile. The zero Log is empty.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write keeps p. It never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
