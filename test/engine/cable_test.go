//go:build engine || soak

package engine

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// cable carries connections between a server and PostgreSQL, and can be cut,
// pinched and made deaf. It knows nothing of what it carries.
type cable struct {
	listener net.Listener
	socket   string      // of PostgreSQL
	deaf     atomic.Bool // nothing comes back; what goes there is carried

	mu      sync.Mutex
	cond    *sync.Cond
	pinched bool // nothing moves, nobody is told: half-open
	cut     bool // new connections are refused
	ends    map[net.Conn]struct{}
}

func newCable(t testing.TB, socket string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, socket: socket, ends: map[net.Conn]struct{}{}}
	c.cond = sync.NewCond(&c.mu)
	t.Cleanup(func() {
		_ = l.Close()
		c.pinch(false)
		c.drop()
	})
	go c.serve()
	return c
}

func (c *cable) port() string {
	_, port, _ := net.SplitHostPort(c.listener.Addr().String())
	return port
}

func (c *cable) serve() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		if c.isCut() {
			_ = near.Close()
			continue
		}
		go c.carry(near)
	}
}

func (c *cable) carry(near net.Conn) {
	far, err := net.Dial("unix", c.socket)
	if err != nil {
		_ = near.Close()
		return
	}
	c.hold(near, far)
	var both sync.WaitGroup
	both.Go(func() { c.pump(far, near, nil) })
	both.Go(func() { c.pump(near, far, &c.deaf) })
	both.Wait()
	c.release(near, far)
}

// pump moves bytes until one end is gone; then the other is.
func (c *cable) pump(to, from net.Conn, deaf *atomic.Bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		c.whilePinched()
		if n > 0 && (deaf == nil || !deaf.Load()) {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *cable) whilePinched() {
	c.mu.Lock()
	for c.pinched {
		c.cond.Wait()
	}
	c.mu.Unlock()
}

func (c *cable) hold(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		c.ends[conn] = struct{}{}
	}
}

func (c *cable) release(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		delete(c.ends, conn)
	}
}

func (c *cable) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

// pinch stops and restarts all movement; both ends go on believing.
func (c *cable) pinch(on bool) {
	c.mu.Lock()
	c.pinched = on
	c.mu.Unlock()
	c.cond.Broadcast()
}

// sever cuts all connections, and refuses new ones until it is mended.
func (c *cable) sever(on bool) {
	c.mu.Lock()
	c.cut = on
	c.mu.Unlock()
	if on {
		c.drop()
	}
}

// drop cuts what is connected now.
func (c *cable) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.ends {
		_ = conn.Close()
	}
}
