package builtin

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// keeper keeps the head and the tail of a stream, in memory that does not grow.
type keeper struct {
	head, tail []byte
	headRoom   int
	at         int   // where in tail the next byte goes, once it is full
	left       int64 // bytes that are kept no more
}

func newKeeper(head, tail int) *keeper {
	return &keeper{headRoom: head, tail: make([]byte, 0, tail), head: make([]byte, 0, min(head, 4<<10))}
}

// Write keeps what there is room for, and forgets the oldest of the tail.
func (k *keeper) Write(p []byte) (int, error) {
	n := len(p)
	take := min(k.headRoom-len(k.head), len(p))
	k.head = append(k.head, p[:take]...)
	p = p[take:]
	if over := len(p) - cap(k.tail); over > 0 {
		k.left += int64(over)
		p = p[over:]
	}
	grow := min(cap(k.tail)-len(k.tail), len(p))
	k.tail = append(k.tail, p[:grow]...)
	p = p[grow:]
	k.left += int64(len(p))
	for len(p) > 0 {
		c := copy(k.tail[k.at:], p)
		p = p[c:]
		k.at = (k.at + c) % len(k.tail)
	}
	return n, nil
}

// ReadFrom reads to the end. It returns nil at the end, like io.ReaderFrom.
func (k *keeper) ReadFrom(r io.Reader) (int64, error) {
	buffer := make([]byte, 32<<10)
	var total int64
	for {
		n, err := r.Read(buffer)
		total += int64(n)
		_, _ = k.Write(buffer[:n]) // it never fails
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("read: %w", err)
		}
	}
}

// String returns what was kept, as text that ends with a line end.
func (k *keeper) String() string {
	var b strings.Builder
	b.Write(k.head)
	if k.left > 0 {
		fmt.Fprintf(&b, "\n[… %d bytes left out …]\n", k.left)
	}
	b.Write(k.tail[k.at:])
	b.Write(k.tail[:k.at])
	text := strings.ToValidUTF8(b.String(), "\ufffd")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}
