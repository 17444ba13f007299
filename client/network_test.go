package client

import (
	"context"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// network connects clients and servers of one bubble of testing/synctest without
// the machine's network. There the clock stands still while anybody is at work,
// so who is slow there is slow by intention, however busy the machine is.
type network struct {
	mu    sync.Mutex
	hosts map[string]*local
}

// local is a listener in a network.
type local struct {
	name   string
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func (l *local) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *local) Close() error   { l.close(); return nil }
func (l *local) Addr() net.Addr { return &net.UnixAddr{Name: l.name} }

// serve starts a server and returns its address.
func (n *network) serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[string]*local{}
	}
	l := &local{name: "server-" + strconv.Itoa(len(n.hosts)) + ":80", conns: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	n.hosts[l.name] = l
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + l.name
}

// client carries requests over the network.
func (n *network) client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		n.mu.Lock()
		l := n.hosts[address]
		n.mu.Unlock()
		here, there := net.Pipe()
		select {
		case l.conns <- there:
			return here, nil
		case <-l.closed:
			return nil, syscall.ECONNREFUSED
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// unheard is an address where nobody listens, and nobody else can, until listen
// is called.
func unheard(t *testing.T) (address string, listen func() net.Listener) {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(socket)
	f := os.NewFile(uintptr(socket), "socket")
	t.Cleanup(func() { _ = f.Close() })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	address = net.JoinHostPort("127.0.0.1", strconv.Itoa(at.(*syscall.SockaddrInet4).Port))
	return address, func() net.Listener {
		if err := syscall.Listen(socket, 16); err != nil {
			t.Error(err)
		}
		l, err := net.FileListener(f)
		if err != nil {
			t.Error(err)
		}
		return l
	}
}

// nobody is the URL of an address where nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	address, _ := unheard(t)
	return "http://" + address
}
