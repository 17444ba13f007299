package stage

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Resolver asks a name server of its own, that runs until the test ends. It answers
// every question for an IPv4 address with the next of the answers, and with the last
// one from then on.
func Resolver(tb testing.TB, answers ...string) *net.Resolver {
	tb.Helper()
	n := &nameServer{}
	for _, a := range answers {
		n.answers = append(n.answers, netip.MustParseAddr(a))
	}
	var err error
	if n.socket, err = new(net.ListenConfig).ListenPacket(tb.Context(), "udp", "127.0.0.1:0"); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = n.socket.Close() })
	go n.serve()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", n.socket.LocalAddr().String())
	}}
}

type nameServer struct {
	socket net.PacketConn

	mu      sync.Mutex
	answers []netip.Addr
}

func (n *nameServer) serve() {
	b := make([]byte, 1500)
	for {
		size, from, err := n.socket.ReadFrom(b)
		if err != nil {
			return
		}
		if answer := n.answer(b[:size]); answer != nil {
			_, _ = n.socket.WriteTo(answer, from)
		}
	}
}

func (n *nameServer) answer(question []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body:   &dnsmessage.AResource{A: n.next().As4()},
		}}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func (n *nameServer) next() netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.answers[0]
	if len(n.answers) > 1 {
		n.answers = n.answers[1:]
	}
	return a
}
