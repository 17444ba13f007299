package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

const (
	// maxRelays keeps the relay within its own limit of descriptors; further
	// connections wait in the listener's queue.
	maxRelays   = 512
	acceptPause = 10 * time.Millisecond
)

// forward listens on a loopback port and carries every connection to the unix
// socket, both ways, until the process ends.
func forward(port int, socket string) error {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("open the way to the gateway: %w", err)
	}
	go acceptAll(listener, socket)
	return nil
}

func acceptAll(listener net.Listener, socket string) {
	slots := make(chan struct{}, maxRelays)
	for {
		slots <- struct{}{}
		inner, err := listener.Accept()
		if err != nil {
			<-slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(acceptPause)
			continue
		}
		go func() {
			defer func() { <-slots }()
			relay(inner, socket)
		}()
	}
}

// relay carries one connection. Each direction is closed by itself, so that a
// request that has ended still gets its answer.
func relay(inner net.Conn, socket string) {
	defer func() { _ = inner.Close() }()
	outer, err := (&net.Dialer{}).DialContext(context.Background(), "unix", socket)
	if err != nil {
		return // the process inside sees its connection closed
	}
	defer func() { _ = outer.Close() }()
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(inner, outer)
		closeWrite(inner)
	}()
	_, _ = io.Copy(outer, inner)
	closeWrite(outer)
	<-back
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
