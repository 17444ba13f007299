package gateway

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// buffer holds a request's body. It is used again, so it must not be let go
// while the transport may still be reading: each reader holds it too.
type buffer struct {
	b    []byte
	held atomic.Int32
}

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 64<<10)} }}

// maxKept is the largest buffer worth keeping, in bytes.
const maxKept = 4 << 20

func newBuffer() *buffer {
	b, _ := buffers.Get().(*buffer)
	b.b = b.b[:0]
	b.held.Store(1)
	return b
}

// release lets the buffer go when nobody else holds it.
func (b *buffer) release() {
	if b.held.Add(-1) == 0 && cap(b.b) <= maxKept {
		buffers.Put(b)
	}
}

// fill reads a body of the size that was announced, or of any size up to the limit.
func (b *buffer) fill(r io.Reader, announced int64) (tooLarge bool, err error) {
	if announced > maxBody {
		return true, nil
	}
	if n := int(announced); n > cap(b.b) {
		b.b = make([]byte, 0, n+1) // one more, so that the end is seen without growing
	}
	for {
		if len(b.b) == cap(b.b) {
			b.b = append(b.b, 0)[:len(b.b)]
		}
		n, err := r.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		if len(b.b) > maxBody {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// reader returns a request body over pieces that lie in the buffer.
func (b *buffer) reader(pieces [][]byte) io.ReadCloser {
	b.held.Add(1)
	return &bodyReader{pieces: slices.Clone(pieces), from: b}
}

type bodyReader struct {
	pieces [][]byte
	from   *buffer
	once   sync.Once
}

// Read copies from as many pieces as fit.
func (r *bodyReader) Read(p []byte) (n int, err error) {
	for len(r.pieces) > 0 && n < len(p) {
		took := copy(p[n:], r.pieces[0])
		n += took
		if r.pieces[0] = r.pieces[0][took:]; len(r.pieces[0]) == 0 {
			r.pieces = r.pieces[1:]
		}
	}
	if n == 0 && len(r.pieces) == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close lets the buffer go. The transport calls it when it will read no more.
func (r *bodyReader) Close() error {
	r.once.Do(r.from.release)
	return nil
}

// relays are what answers pass through.
var relays = sync.Pool{New: func() any { return new([32 << 10]byte) }}
